"""Reads a study file and makes its classes: one for every combination of crossed factors and seed.

Every entry of the study is put into the tree of the base scenario together with its line, so that scenarios/config
checks each class as if it were a file, and an error names the line of the study that it comes from.
"""

import itertools
import os
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from broker.errors import ScenarioError
from scenarios.config import load
from scenarios.config.overrides import Edit, Source, beside, override, source_of
from scenarios.config.schema import Scenario
from scenarios.config.validate import ScenarioMistake
from scenarios.config.yaml_tree import shown
from scenarios.scoring.drawn_students import MOST
from scenarios.session.running import holds_study
from scenarios.studies.schema import Study
from scenarios.studies.terms import label, named_lineups, primary_terms

SHORT = {"teacher": "model", "task": "family"}
"""Factors that are sections: the entry that a plain value is for."""
MOST_CELLS = 200


class Cell(NamedTuple):
    """One class of a study, named by its factors and its seed."""

    name: str
    """The name of its folder in `runs/`."""
    factors: Mapping[str, Any]
    seed: int

    @property
    def label(self) -> str:
        """Its factors and its seed in words."""
        return label({**self.factors, "seed": self.seed})


class CellClass(NamedTuple):
    """A cell with its scenario; `source` has the lines that the entries of the scenario come from."""

    cell: Cell
    scenario: Scenario
    source: Source


def is_study(path: Path) -> bool:
    """Whether `path` is a study file, or the folder of a study; False for anything that cannot be read, too."""
    if holds_study(path):
        return True
    try:
        return "study" in source_of(path, ()).tree.value
    except ScenarioError:
        return False


def read(path: Path, overrides: Sequence[str] = ()) -> tuple[Study, list[CellClass]]:
    """Read the study in `path`: its description, with the base and the seeds filled in, and its classes.

    Args:
        path: the study file.
        overrides: each KEY.PATH=VALUE, for entries of the study such as `seeds=[1, 2]` or `set.task.problems=4`.

    Raises:
        ScenarioError: the file, the base scenario or a cell is wrong.
    """
    _refuse_entries_of_classes(overrides)
    source = source_of(path, overrides)
    load.refuse_nameless(path, source)
    if "study" not in source.tree.value and "teacher" in source.tree.value:
        raise ScenarioError(f"{path} is a scenario, not a study: python run.py {path}")
    try:
        study = load.convert(source.tree, Study)
        if study.extended:
            hint = "name the folder of the study; for a new study put the numbers into the section set"
            raise ScenarioMistake(("extended",), f"only `extend` writes this: {hint}")
        study = _with_base(study, path)
        cells = list(grid(study))
        classes = [_cell_class(study, cell, source) for cell in cells]
        for one in classes:
            _check(study, one)
    except ScenarioMistake as mistake:
        raise source.error(mistake.key, mistake.message) from None
    return study, classes


def _refuse_entries_of_classes(overrides: Sequence[str]) -> None:
    """Raises ScenarioError for an override of an entry that the classes have, and the study in its section `set`."""
    for one in overrides:
        path, _, value = one.partition("=")
        first = path.partition(".")[0]
        if first in {*Scenario.__struct_encode_fields__} - {*Study.__struct_encode_fields__}:
            written = f"seeds=[{value}]" if path == "seed" else f"set.{one}"
            raise ScenarioError(
                f"--set {path}: this is an entry of the classes, not of the study\n"
                f"For all its classes: --set {shlex.quote(written)}"
            )


def _with_base(study: Study, path: Path) -> Study:
    """The study with the path of its base and its seeds filled in.

    Raises:
        ScenarioMistake: there is no base.
        ScenarioError: the base cannot be read.
    """
    base = Path(os.path.normpath(beside(path, study.base)))
    if not base.is_file():
        raise ScenarioMistake(("base",), f"{base}: no such file; name a scenario, relative to this study")
    tree = source_of(base, ()).tree.value
    if "study" in tree:
        raise ScenarioMistake(("base",), f"{base} is a study; the base is a scenario")
    seed = tree.get("seed", 0)
    return msgspec.structs.replace(study, base=str(base), seeds=study.seeds or (seed if isinstance(seed, int) else 0,))


def grid(study: Study) -> Iterator[Cell]:
    """The cells of a study, seeds fastest.

    Raises:
        ScenarioMistake: a factor has no values, or a value is there twice.
    """
    for factor, values in study.cross.items():
        key = ("cross", factor)
        if not isinstance(values, list | tuple):
            raise ScenarioMistake(key, f"needs a list of values, has {shown(values)}")
        if not values:
            raise ScenarioMistake(key, "has no values, so the study has no class; name some, or take the factor out")
        if any(value in values[:index] for index, value in enumerate(values)):
            raise ScenarioMistake(key, "has a value twice")
        if factor == "seed":
            raise ScenarioMistake(key, "seeds are in the entry seeds, not in cross")
    seeds = study.seeds or (0,)
    if len(set(seeds)) < len(seeds):
        raise ScenarioMistake(("seeds",), "names a seed twice")
    taken = set[str]()
    for *values, seed in itertools.product(*study.cross.values(), seeds):
        factors = dict(zip(study.cross, values, strict=True))
        name = _folder_name({**factors, "seed": seed})
        numbered = (f"{name}.{number}" if number > 1 else name for number in itertools.count(1))
        unique = next(one for one in numbered if one not in taken)
        taken.add(unique)
        yield Cell(unique, factors, seed)


def _folder_name(factors: Mapping[str, Any]) -> str:
    words = re.sub(r"[^A-Za-z0-9_.=-]+", "-", label(factors).replace(", ", "_")).strip("-.")
    return words if len(words) <= 80 else f"{words[:60]}...{words[-17:]}"


def stands_for(factor: str, name: Any, value: Any) -> bool:
    """Whether `name` is a value of a factor, or its short form: the model of a teacher, the family of a task."""
    return bool(name == value or (isinstance(value, dict) and factor in SHORT and value.get(SHORT[factor]) == name))


def refuse_many(cells: int) -> None:
    """Raises ScenarioError for more cells than a study may run."""
    if cells > MOST_CELLS:
        raise ScenarioError(
            f"this study has {cells:,} classes (factors times seeds); at most {MOST_CELLS} are run\n"
            "Leave out values of `cross` or seeds, or divide the study; `plan` shows what each class asks."
        )


def refuse_varied(study: Study, overrides: Sequence[str]) -> None:
    """Raises ScenarioError for an override of the seed or a factor: the entry, a part of it, or a section around it."""
    for one in overrides:
        path = one.partition("=")[0]
        for factor, values in {"seed": (), **study.cross}.items():
            short = factor in SHORT and not any(isinstance(value, dict) for value in values)
            entry = f"{factor}.{SHORT[factor]}" if short else factor
            if all(map(_same_step, path.split("."), entry.split("."))):
                raise ScenarioError(
                    f"--set {path}: the study varies {entry}, so `extend` cannot change it in all classes\n"
                    "For other values: a new study, python run.py study STUDY.yaml --set ..."
                )


def _same_step(one: str, other: str) -> bool:
    return "*" in (one, other) or one == other or (one.isdecimal() and other.isdecimal() and int(one) == int(other))


def outgrown(study: Study, cell: Cell, written: Path, ran: Path) -> list[str]:
    """What `extend` changed in a class, as KEY: OLD -> NEW.

    Args:
        study: the study.
        cell: of the class.
        written: the study file, which still has the old entries.
        ran: the scenario file of the class.

    Raises:
        ScenarioError: a file cannot be read.
    """
    source = source_of(ran, ())
    now = load.convert(source.tree, Scenario)
    _put(study, cell, source, source_of(written, ()))
    was = load.convert(source.tree, Scenario)
    lines = [line for line in load.difference(was, now) if load.GROWING.fullmatch(line.partition(": ")[0])]
    counts = len(was.students), len(now.students)
    return lines + [f"students: {counts[0]} -> {counts[1]}"] * (counts[0] < counts[1])


def _cell_class(study: Study, cell: Cell, written: Source) -> CellClass:
    """The class of a cell: the base with the entries of the study.

    Raises:
        ScenarioError, ScenarioMistake: an entry is wrong.
    """
    source = source_of(Path(study.base), ())
    _put(study, cell, source, written)
    return CellClass(cell, load.checked(source), source)


def _put(study: Study, cell: Cell, source: Source, written: Source) -> None:
    """Put the entries of a study into the scenario of one of its classes."""
    edit = Edit(source, written)
    edit.put(("name",), study.study, ("study",))
    for path, value in study.set.items():
        edit.put_path(path, value, ("set", path))
    if study.students is not None:
        edit.put(("students",), list(study.students), ("students",))
    for path, value in cell.factors.items():
        place = study.cross[path].index(value)
        short = SHORT.get(path) if not isinstance(value, dict) else None
        edit.put_path(f"{path}.{short}" if short else path, value, ("cross", path, place))
    edit.put(("seed",), cell.seed, ("seeds",))
    for change in study.extended:
        override(source, change)


def check_extended(study: Study, cell: Cell, written: Path, ran: Path, extended: Sequence[str]) -> Scenario:
    """The larger scenario of a class of a study.

    Args:
        study: the study.
        cell: of the class.
        written: the study file.
        ran: the scenario file of the class.
        extended: what `extend` changes in all classes.

    Raises:
        ScenarioError: it is wrong, or no longer has the values of its cell.
    """
    source = source_of(ran, extended)
    one = CellClass(cell, load.checked(source), source)
    factors = msgspec.structs.replace(study, set={}, students=None, extended=())
    if changed := outgrown(factors, cell, written, ran):
        raise ScenarioError(f"it was extended in what the study varies: {'; '.join(changed)}")
    try:
        _check(study, one)
    except ScenarioMistake as mistake:
        raise source_of(written, ()).error(mistake.key, mistake.message) from None
    return one.scenario


def _check(study: Study, one: CellClass) -> None:
    """Raises ScenarioMistake: the line-ups or comparisons of the study do not fit this class."""
    scenario = one.scenario
    if not scenario.solves:
        raise ScenarioMistake(("base",), "has level 3 alone; a study compares line-ups on the problems of level 1")
    if scenario.exam.allocation != "full":
        why = "a study compares line-ups and what each student adds, which needs every exam"
        raise ScenarioMistake(("base",), f"exam.allocation: {scenario.exam.allocation}: {why}; set it to full")
    if len(scenario.students) > MOST:
        where = "base" if study.students is None else "students"
        why = f"{len(scenario.students):,} students; a study has at most {MOST}, since it compares each with all others"
        raise ScenarioMistake((where,), f"{why}. Run a class of so many alone, or take students out")
    lineups = named_lineups(study, [student.name for student in scenario.students], scenario.seed)
    primary_terms(study, scenario, lineups)
    for index, row in enumerate(study.published):
        if row.lineup not in lineups:
            key = ("published", index, "lineup")
            raise ScenarioMistake(key, f"{shown(row.lineup)} is no line-up of this study")
        for factor, value in row.where.items():
            if not any(stands_for(factor, value, one) for one in study.cross.get(factor, ())):
                raise ScenarioMistake(("published", index, "where", factor), f"{shown(value)} is no value in cross")
