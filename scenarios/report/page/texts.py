"""The texts of a class for the page: problem, rationales, exams and prompts, packed by teaching problem.

A pack is JSON, compressed, in base 64. Packs stand in the page while they are small; those of a large class stand in a
folder beside it, a script each, and are loaded on click.
"""

import base64
import shutil
import zlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import msgspec

from scenarios.levels.observe.self_debug import EXAM_REPAIR, REPAIR
from scenarios.records.observe import TeachingProblemRecord
from scenarios.report.page.gradebook import GREEDY
from scenarios.report.page.prompt_turns import PackedPrompts, PackedTurn, prompt_ids
from scenarios.scoring.lbt import material
from scenarios.store.sqlite import LATEST_GRADE, Store
from scenarios.tasks.problems import Bank, ProblemGroup

FOLDER = "report-texts"
REPAIRED = "\n\n[repaired, after its program failed visible cases]\n"
"""Before the text of a repair."""
INLINE_BYTES = 3_500_000
"""Packs of more than so many characters go to the folder: the page stays below 5 MB."""


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
    prompt: int | None
    """Number of the last turn of its prompt; None: it was not kept."""


class RationaleText(msgspec.Struct, frozen=True, array_like=True):
    """One rationale in a pack."""

    repeat: int
    material: int
    """Equal for identical texts, which share their exams."""
    text: str
    prompt: int | None
    """As that of an exam."""


class TextPack(msgspec.Struct, frozen=True):
    """All texts of one teaching problem."""

    problem: str
    gold: str
    eps: tuple[tuple[str, str, str, str], ...]
    """Id, text and gold answer of each exam problem, and who wrote it, if an agent did."""
    rationales: tuple[RationaleText, ...]
    exams: tuple[ExamText, ...]
    turns: tuple[PackedTurn, ...]
    """Of all prompts."""
    parts: tuple[str, ...]
    """The texts of the turns."""


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
    asked: Collection[str],
    more: Iterable[TextPack] = (),
    *,
    students: Collection[str] | None = None,
) -> Packs:
    """Pack the texts, followed by `more`, and write them beside the page if they are many.

    `asked` has the request ids of the results that are used (`RecordedClass.asked`), `students` those whose exams are
    packed (None: all). An older folder of texts is replaced.

    Raises:
        OSError: the folder cannot be written.
    """
    partial, folder = run / f".{FOLDER}.partial", run / FOLDER
    shutil.rmtree(partial, ignore_errors=True)
    waiting: list[str] = []
    size = written = 0
    for found in chain(_packs(store, lessons, bank, asked, students), more):
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
    store: Store,
    lessons: Sequence[TeachingProblemRecord],
    bank: Bank,
    asked: Collection[str],
    students: Collection[str] | None,
) -> Iterator[TextPack]:
    groups = {item.tp.id: item for item in bank.items}
    names = None if students is None else frozenset(students)
    return (_pack(store, lesson, groups[lesson.tp], asked, names) for lesson in lessons)


def _packed(pack: TextPack) -> str:
    compress = zlib.compressobj(level=6, wbits=31)  # with the header of gzip, which browsers read
    packed = compress.compress(msgspec.json.encode(pack)) + compress.flush()
    return base64.b64encode(packed).decode()


def _pack(
    store: Store,
    lesson: TeachingProblemRecord,
    group: ProblemGroup,
    asked: Collection[str],
    students: Collection[str] | None,
) -> TextPack:
    rationales = [*([lesson.greedy] if lesson.greedy else []), *lesson.rationales]
    numbers: dict[str, int] = {}
    ids = {one.id: numbers.setdefault(material(one), len(numbers)) for one in rationales}
    exams = [row for id, number in ids.items() for row in _exams(store, id, number, asked, students)]
    of_rationales = prompt_ids(store, ids)
    prompts = PackedPrompts(store, [*of_rationales.values(), *(row[-1] for row in exams)])
    eps = {ep.id: number for number, ep in enumerate(group.eps)}
    repairs = {number: repair for id, number in ids.items() if (repair := _repairs(store, id))}  # twins share one
    invented = group.invented
    return TextPack(
        problem=group.tp.text,
        gold=group.tp.answer,
        eps=tuple((ep.id, ep.text, ep.answer, invented.mark(ep.id) if invented else "") for ep in group.eps),
        rationales=tuple(
            RationaleText(
                repeat=GREEDY if one is lesson.greedy else one.repeat,
                material=ids[one.id],
                text=store.text(one.id) + repairs.get(ids[one.id], ""),
                prompt=prompts.number(of_rationales.get(one.id)),
            )
            for one in rationales
        ),
        exams=tuple(
            ExamText(
                material=number,
                student=agent,
                ep=eps[ep],
                repeat=repeat,
                correct=None if value is None else bool(value),
                answer=answer,
                text=text,
                failed=f"{failed}: {detail}" if failed else "",
                prompt=prompts.number(prompt),
            )
            for number, agent, ep, repeat, value, answer, text, failed, detail, prompt in exams
            if ep in eps
        ),
        turns=prompts.turns,
        parts=prompts.texts,
    )


OF_STUDENTS = "(? OR agent IN (SELECT value FROM json_each(?)))"
# The index on tr leaves out rows without one.
ABOUT = "FROM result r WHERE tr = ? AND tr <> ''"


def _repairs(store: Store, id: str) -> str:
    """The repair of a rationale, to stand below its text; empty: there is none."""
    repairs = store.rows(f"SELECT text {ABOUT} AND stage = ? AND failed = ''", id, REPAIR)
    return "".join(f"{REPAIRED}{text}" for (text,) in repairs)


def _exams(
    store: Store, id: str, number: int, asked: Collection[str], students: Collection[str] | None
) -> Iterator[tuple[Any, ...]]:
    """The recorded exams under one rationale, each with the number of its text; the id of its prompt comes last.

    A repair stands below the answer that it repairs, which was wrong before.
    """
    found = store.rows(
        f"SELECT request_id, agent, ep, repeat, text, {LATEST_GRADE} {ABOUT} AND stage = ? AND failed = ''",
        id,
        EXAM_REPAIR,
    )
    repairs = {tuple(place): (f"{REPAIRED}{text}", value) for one, *place, text, value in found if one in asked}
    rows = store.rows(
        f"SELECT request_id, agent, ep, repeat, {LATEST_GRADE}, answer, text, failed, detail, {store.column('prompt')} "
        f"{ABOUT} AND kind = 'Examine' AND stage <> ? AND {OF_STUDENTS} ORDER BY agent, ep, repeat",
        id,
        EXAM_REPAIR,
        students is None,
        msgspec.json.encode(sorted(students or ())).decode(),
    )
    for request, agent, ep, repeat, value, answer, text, *rest in rows:
        if request in asked:  # one that failed and was asked again is left out
            repair, then = repairs.get((agent, ep, repeat), ("", value))
            yield number, agent, ep, repeat, then, answer, text + repair, *rest
