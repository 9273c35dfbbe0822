"""The texts of a class for the page: problem, rationales, exams and prompts, packed by teaching problem.

A pack is JSON, compressed, in base 64: the prompts under one rationale share most of their text. Packs stand in the
page while they are small; those of a large class stand in a folder beside it, a script each, and are loaded on click.
"""

import base64
import shutil
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path

import msgspec

from scenarios.records.observe import TeachingProblemRecord
from scenarios.report.page.gradebook import GREEDY
from scenarios.scoring.lbt import material
from scenarios.store.sqlite import Store
from scenarios.tasks.problems import Bank, ProblemGroup

FOLDER = "report-texts"
INLINE_BYTES = 3_500_000
"""Packs of more than so many characters go to the folder: the page stays below 5 MB."""
PromptOf = Callable[[str], str | None]
"""The exact prompt of a request; None: it was not kept."""


class ExamText(msgspec.Struct, frozen=True, array_like=True):
    """One exam answer in a pack."""

    material: int
    """Number of its rationale's text."""
    student: str
    ep: int
    """Number of its problem."""
    repeat: int
    correct: bool | None
    """None: it was not graded."""
    answer: str | None
    text: str
    failed: str
    """Kind and reason of the failure; empty: it succeeded."""
    prompt: str | None


class RationaleText(msgspec.Struct, frozen=True, array_like=True):
    """One rationale in a pack."""

    repeat: int
    material: int
    """Equal for identical texts, which share their exams."""
    text: str
    prompt: str | None


class TextPack(msgspec.Struct, frozen=True):
    """All texts of one teaching problem."""

    problem: str
    gold: str
    eps: tuple[tuple[str, str, str], ...]
    """Id, text and gold answer of each exam problem."""
    rationales: tuple[RationaleText, ...]
    exams: tuple[ExamText, ...]


class Packs(msgspec.Struct, frozen=True):
    """The packs of a page, by the number of the problem."""

    inline: tuple[str, ...] = ()
    """Empty where they stand in the folder."""
    folder: str = ""
    """Its name; empty: they stand in the page."""


def keep_packs(
    run: Path,
    store: Store,
    lessons: Sequence[TeachingProblemRecord],
    bank: Bank,
    prompt_of: PromptOf,
    more: Iterable[TextPack] = (),
) -> Packs:
    """Pack the texts, followed by `more`, and write them beside the page if they are many.

    An older folder of texts is replaced.

    Raises:
        OSError: the folder cannot be written.
    """
    partial, folder = run / f".{FOLDER}.partial", run / FOLDER
    shutil.rmtree(partial, ignore_errors=True)
    waiting: list[str] = []
    size = written = 0
    for found in chain(_packs(store, lessons, bank, prompt_of), more):
        pack = _packed(found)
        waiting.append(pack)
        size += len(pack)
        if size > INLINE_BYTES:
            partial.mkdir(exist_ok=True)
            for one in waiting:
                (partial / f"{written}.js").write_text(f'reportTexts({written}, "{one}");\n', "ascii")
                written += 1
            waiting = []
    shutil.rmtree(folder, ignore_errors=True)
    if not written:
        return Packs(inline=tuple(waiting))
    partial.rename(folder)
    return Packs(folder=FOLDER)


def _packs(
    store: Store, lessons: Sequence[TeachingProblemRecord], bank: Bank, prompt_of: PromptOf
) -> Iterator[TextPack]:
    groups = {item.tp.id: item for item in bank.items}
    given_up = store.given_up()
    return (_pack(store, lesson, groups[lesson.tp], prompt_of, given_up) for lesson in lessons)


def _packed(pack: TextPack) -> str:
    compress = zlib.compressobj(level=6, wbits=31)  # with the header of gzip, which browsers read
    packed = compress.compress(msgspec.json.encode(pack)) + compress.flush()
    return base64.b64encode(packed).decode()


def _pack(
    store: Store, lesson: TeachingProblemRecord, group: ProblemGroup, prompt_of: PromptOf, given_up: frozenset[str]
) -> TextPack:
    rationales = [*([lesson.greedy] if lesson.greedy else []), *lesson.rationales]
    numbers: dict[str, int] = {}
    ids: dict[str, int] = {}
    texts = []
    for one in rationales:
        ids[one.id] = numbers.setdefault(material(one), len(numbers))
        repeat = GREEDY if one is lesson.greedy else one.repeat
        texts.append(RationaleText(repeat, ids[one.id], store.text(one.id), prompt_of(one.id)))
    return TextPack(
        problem=group.tp.text,
        gold=group.tp.answer,
        eps=tuple((ep.id, ep.text, ep.answer) for ep in group.eps),
        rationales=tuple(texts),
        exams=tuple(_exams(store, ids, {ep.id: number for number, ep in enumerate(group.eps)}, prompt_of, given_up)),
    )


def _exams(
    store: Store, ids: Mapping[str, int], eps: Mapping[str, int], prompt_of: PromptOf, given_up: frozenset[str]
) -> Iterator[ExamText]:
    """The exam answers under these rationales; one that failed and was asked again is left out."""
    for id, number in ids.items():
        rows = store.query(
            "SELECT request_id, agent, ep, repeat, "
            # Not the view latest_grade: joined to so few rows, it is made anew of all grades every time.
            "(SELECT value FROM grade g WHERE g.request_id = r.request_id ORDER BY seq DESC LIMIT 1), "
            "answer, text, failed, detail FROM result r "
            # The index on tr leaves out rows without one.
            "WHERE tr = ? AND tr <> '' AND kind = 'Examine' ORDER BY agent, ep, repeat",
            id,
        )
        for request, agent, ep, repeat, value, answer, text, failed, detail in rows:
            if request in given_up or ep not in eps:
                continue
            yield ExamText(
                material=number,
                student=str(agent),
                ep=eps[str(ep)],
                repeat=int(str(repeat)),
                correct=None if value is None else bool(value),
                answer=None if answer is None else str(answer),
                text=str(text),
                failed=f"{failed}: {detail}" if failed else "",
                prompt=prompt_of(str(request)),
            )
