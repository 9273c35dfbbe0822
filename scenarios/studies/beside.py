"""Two classes of a study side by side on its page: common problems, and who is right."""

from collections.abc import Sequence
from urllib.parse import quote

import msgspec

from scenarios.report.page import PAGE
from scenarios.report.page.gradebook import BEGINNING
from scenarios.report.tables import LABELS
from scenarios.studies.answers import ClassAnswers
from scenarios.studies.folder import StudyFolder
from scenarios.studies.load import Cell

SHOWN = ("m1_max", "m1_sum", "sc", "greedy")
"""Methods, of which the page of a class marks the rationales that they chose."""


class ClassBeside(msgspec.Struct, frozen=True):
    """One class, in the order of its problems."""

    cell: str
    name: str
    page: str
    """The address of its page, relative."""
    problems: list[int]
    """Numbers of its teaching problems."""
    right: dict[str, list[int]]
    """By method: 1 where its answer is right, else 0."""


class BesideData(msgspec.Struct, frozen=True):
    """What the script of a study's page reads."""

    methods: dict[str, str]
    """Their labels, by name."""
    problems: list[tuple[str, str]]
    """Id and beginning of the text."""
    classes: list[ClassBeside]


def beside(folder: StudyFolder, classes: Sequence[tuple[Cell, ClassAnswers]]) -> BesideData:
    """The complete classes that have a page and share a problem with another one."""
    numbers: dict[tuple[str, str], int] = {}
    found = [
        ClassBeside(
            cell=cell.name,
            name=cell.label,
            page=quote(f"runs/{cell.name}/{PAGE}"),
            problems=[numbers.setdefault((one.id, one.text), len(numbers)) for one in answers.taught],
            right={name: list(map(int, answers.right[name])) for name in SHOWN if name in answers.right},
        )
        for cell, answers in classes
        if (folder.run(cell).path / PAGE).is_file()
    ]
    shared = [one for one in found if any(one is not other and {*one.problems} & {*other.problems} for other in found)]
    methods = {name: LABELS[name] for name in SHOWN if all(name in one.right for one in shared)}
    return BesideData(methods, [(id, text[:BEGINNING]) for id, text in numbers], shared)
