"""Reads and draws problems from a JSON-lines file of the user, or from a folder with a JSON file for each problem.

All objects of a file or folder have one shape of scenarios/tasks/sources/shapes.py, or of code_files.py beside it. EPs
are the variants of a functional line; the problems with the TP's id in `task.exam_files`; or else other problems of the
file of the same form, and of the same group (in MATH: subject) where the TP has one, drawn by the seed. (So it is with
`exam.maker: variants`; scenarios/tasks/exam_makers.py has the other makers.) Every error names file and line.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from broker.errors import Key, TaskError
from broker.work_messages import AnswerForm
from scenarios.config.schema import Exam, Task
from scenarios.tasks.problems import CHARACTERS_PER_TOKEN, Problem, ProblemGroup, folded, same_text
from scenarios.tasks.sources import code_files, jsonlines
from scenarios.tasks.sources.gym import number
from scenarios.tasks.sources.shapes import SHAPES, Entry, named

FILE: Key = ("task", "file")
SPLITS = ("train", "test")
"""Folders of MATH that are part of the ids of its problems."""
READERS = code_files.SHAPES | SHAPES
"""All shapes; an object has the first one whose key is in it."""
SHOWN = 3
"""Most ids that an error names."""


def read(path: Path, key: Key = FILE, unnamed: str = "line-") -> list[Entry]:
    """All problems of a file or folder.

    Args:
        path: the file or folder.
        key: the scenario's entry that names it.
        unnamed: before the number of a line in the id of a problem without one. A problem in a folder is named by its
            path: `test/algebra/10`.

    Raises:
        TaskError: the file or a line cannot be used.
    """
    entries: list[Entry] = []
    shape: str | None = None
    places: dict[str, str] = {}
    for where, default_id, data in _objects(path, key, unnamed):
        shape = shape or shape_of(data, where)
        if shape not in data:
            others = "files" if path.is_dir() else "lines"
            raise TaskError(f"{where}: no `{shape}`, which the {others} before it have")
        entry = READERS[shape](data, default_id, where)
        if entry.tp.id in places:
            raise TaskError(f"{where}: the id {entry.tp.id!r} is already in {places[entry.tp.id]}")
        places[entry.tp.id] = where.removeprefix(str(path)).lstrip(", /")
        entries.append(entry)
    if not entries:
        raise TaskError(f"{path} holds no problems", key=key)
    return entries


def shape_of(data: dict[str, Any], where: str) -> str:
    """The shape of an object: a key of `READERS`.

    Raises:
        TaskError: it has none.
    """
    for shape in READERS:
        if shape in data:
            return shape
    raise TaskError(
        f"{where}: neither `variants` (functional problems) nor `problem` and `solution` (MATH) nor `question` and "
        "`answer` (plain ones) nor `statement` and `signature` (code problems)"
    )


def _objects(path: Path, key: Key, unnamed: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Place, id by place, and content of every object."""
    if not path.is_dir():
        for n, where, data in jsonlines.objects(path, key):
            yield where, f"{unnamed}{n}", data
        return
    root = next((part.parent for part in (path, path.parent) if part.name in SPLITS), path)
    for file, data in jsonlines.folder(path, key):
        yield str(file), named(file.relative_to(root).as_posix()), data


def check(
    task: Task, exam: Exam, held_out: int = 0, *, folder: Path, never: Collection[str] = frozenset()
) -> list[Entry]:
    """Read the file of a task, and refuse it if it has fewer problems than the task asks for.

    Args:
        task: it names a file, relative to `folder` like all that it names.
        exam: its number of problems counts.
        held_out: problems that are held out of the same file.
        folder: of the scenario.
        never: ids of problems that are not taught.

    Raises:
        TaskError: a file or a line cannot be used; the file has too few problems, a line too few variants or a group
            too few other problems.
    """
    path = code_files.located(folder / (task.file or ""))
    entries = read(path)
    there = f"{path} has {len(entries):,}"
    if task.only is not None:
        entries = _listed(entries, path, folder / task.only)
        there = f"task.only leaves {len(entries):,} of {path}"
    if left_out := {entry.tp.id for entry in entries} & set(never):
        entries = [entry for entry in entries if entry.tp.id not in left_out]
        there += f", {len(entries):,} of them not in learn.held_out_file"
    if task.exam_files:
        all_of_them = entries
        entries = _examined(entries, [folder / name for name in task.exam_files], exam)
        without = {entry.tp.id for entry in all_of_them} - {entry.tp.id for entry in entries}
        there += f"; {len(entries):,} have {exam.problems:,} exam problems in task.exam_files"
        there += f" (not {_some(sorted(without))})" if without else ""
    if task.problems > len(entries):
        raise TaskError(f"{task.problems} are asked for, and {there}", key=("task", "problems"))
    if task.problems + held_out > len(entries):
        raise TaskError(
            f"{held_out} problems besides the {task.problems} of task.problems are asked for, and {there}",
            key=("learn", "held_out"),
        )
    if exam.maker != "variants":
        return entries
    if _has_exams(entries):
        for entry in entries:
            _enough(len(entry.problems) - 1, exam, entry.where, "variants besides the first")
        return entries
    groups = Counter(_kin(entry) for entry in entries)
    for entry in entries:
        _enough(groups[_kin(entry)] - 1, exam, entry.where, _others(entry))
    return entries


def draw(
    entries: list[Entry], task: Task, exam: Exam, seed: int, held_out: int = 0
) -> tuple[tuple[ProblemGroup, ...], tuple[Problem, ...]]:
    """Draw problems from entries that `check` accepted, without replacement.

    Returns:
        The groups that are taught, and `held_out` other problems. These are the last in the order of drawing, so that
        classes with more or fewer TPs are measured on the same ones.

    Raises:
        TaskError: too few other problems differ from a TP in their text.
    """
    left, alone = _split(entries, seed, held_out)
    chosen = left[: task.problems]
    if _has_exams(entries):
        return tuple(ProblemGroup(e.tp, e.problems[1 : exam.problems + 1]) for e in chosen), alone
    return tuple(_with_others(entry, left, exam, seed) for entry in chosen), alone


def hold_out(path: Path, count: int, seed: int) -> tuple[tuple[Problem, ...], frozenset[str]]:
    """Draw the held-out problems of a class from a file of their own.

    Args:
        path: the file or folder.
        count: how many.
        seed: of the class.

    Returns:
        The problems, and the ids of all in the file: a class that is measured on more of them has the same TPs.

    Raises:
        TaskError: the file cannot be used, or has fewer.
    """
    entries = read(path, ("learn", "held_out_file"), unnamed="held-out-line-")
    if count > len(entries):
        raise TaskError(f"{count} are asked for, and {path} has {len(entries):,}", key=("learn", "held_out"))
    drawn = tuple(entry.tp for entry in _drawn(entries, seed, "held out")[:count])
    return drawn, frozenset(entry.tp.id for entry in entries)


def draw_apart(
    entries: list[Entry], task: Task, seed: int, held_out: int = 0
) -> tuple[list[Problem], list[Problem], tuple[Problem, ...]]:
    """Draw the same TPs as `draw`, without EPs.

    Returns:
        The TPs; all problems that are not held out, the TPs last, of which EPs may be chosen; the held-out problems.
    """
    left, alone = _split(entries, seed, held_out)
    problems = [entry.tp for entry in left]
    return problems[: task.problems], problems[::-1], alone


def bank(path: Path, seed: int) -> list[Problem]:
    """The problems of a bank of EPs in an order drawn by the seed; of a line with variants, the first.

    Raises:
        TaskError: the file or a line cannot be used.
    """
    return [entry.tp for entry in _drawn(read(path, ("exam", "bank")), seed, "bank")]


def refuse_mixed(problems: Sequence[Problem], tp_form: AnswerForm, source: object, key: Key) -> None:
    """Refuse code problems beside TPs of another form, and others beside code: a TR is no example for them.

    Raises:
        TaskError: with the first such problem.
    """
    for one in problems:
        if (one.form == "code") != (tp_form == "code"):
            what = "asks for a program, and the teaching problems do not"
            if one.form != "code":
                what = "does not ask for a program, and the teaching problems do"
            raise TaskError(f"{source}: {one.id} {what}; name a file of problems like those", key=key)


def typical_tokens(entries: Sequence[Entry]) -> int:
    """The estimated tokens of a problem of median length."""
    lengths = sorted(len(entry.tp.text) for entry in entries)
    return lengths[len(lengths) // 2] // CHARACTERS_PER_TOKEN + 1


def _listed(entries: Sequence[Entry], path: Path, listing: Path) -> list[Entry]:
    """The entries whose ids are in a file, one on each line; `#` begins a comment."""
    key, places = ("task", "only"), dict[str, int]()
    for n, where, raw in jsonlines.lines(listing, key):
        id = named(jsonlines.decoded(raw, where).strip())
        if id.startswith("#") or not id:
            continue
        if id in places:
            raise TaskError(f"{where}: {id} is already in line {places[id]}")
        places[id] = n
    if missing := [id for id in places if id not in {entry.tp.id for entry in entries}]:
        raise TaskError(
            f"{listing} names {len(missing):,} of {len(places):,} problems that {path} does not have: {_some(missing)}",
            key=key,
        )
    if not places:
        raise TaskError(f"{listing} names no problem", key=key)
    return [entry for entry in entries if entry.tp.id in places]


def _examined(entries: Sequence[Entry], exam_files: Sequence[Path], exam: Exam) -> list[Entry]:
    """The entries that have enough problems of their id in these files, with these as EPs, in the order of the files.

    Problems with the text of the TP, or of another EP, are left out.
    """
    others: dict[str, list[Problem]] = {}
    key: Key = ("task", "exam_files")
    for n, path in enumerate(exam_files):
        for entry in read(path, key, unnamed=f"exam-file-{n}-line-"):
            refuse_mixed(entry.problems, entries[0].tp.form, path, key)
            others.setdefault(entry.tp.id, []).extend(entry.problems)
    found = []
    for entry in entries:
        tp = entry.tp
        distinct = {folded(one.text): one for one in reversed((tp, *others.get(tp.id, ())))}
        eps = [one for text, one in reversed(distinct.items()) if text != folded(tp.text)]
        if len(eps) >= exam.problems:
            renamed = (msgspec.structs.replace(ep, id=f"{tp.id}/ep{k}") for k, ep in enumerate(eps, 1))
            found.append(msgspec.structs.replace(entry, problems=(tp, *renamed)))
    return found


def _some(ids: Sequence[str]) -> str:
    return ", ".join(ids[:SHOWN]) + (", ..." if len(ids) > SHOWN else "")


def _has_exams(entries: Sequence[Entry]) -> bool:
    """Whether the entries have EPs already."""
    return len(entries[0].problems) > 1


def _kin(entry: Entry) -> tuple[str | None, AnswerForm]:
    return entry.group, entry.tp.form


def _others(entry: Entry) -> str:
    group = f" and of its group {entry.group!r}" if entry.group is not None else ""
    return f"other problems of its form ({entry.tp.form}){group}"


def _enough(there: int, exam: Exam, where: str, what: str) -> None:
    if there < exam.problems:
        raise TaskError(
            f"{where}: {there} {what}, and exam.problems asks for {exam.problems}", key=("exam", "problems")
        )


def _split(entries: Sequence[Entry], seed: int, held_out: int) -> tuple[list[Entry], tuple[Problem, ...]]:
    """The entries in the order of drawing without the last ones, and the problems of these: they are held out."""
    drawn = _drawn(entries, seed, "tp")
    left = drawn[: len(drawn) - held_out]
    return left, tuple(entry.tp for entry in drawn[len(left) :][::-1])


def _drawn(entries: Sequence[Entry], seed: int, *why: str) -> list[Entry]:
    """`entries` in an order drawn by the seed; it stays the same in a longer file or a larger task."""
    return sorted(entries, key=lambda entry: number(seed, *why, entry.tp.id))


def _with_others(entry: Entry, entries: Sequence[Entry], exam: Exam, seed: int) -> ProblemGroup:
    tp = entry.tp
    kin = [e for e in entries if _kin(e) == _kin(entry) and not same_text(e.tp.text, tp.text)]
    _enough(len(kin), exam, entry.where, _others(entry) + " with another text")
    eps = [e.tp for e in _drawn(kin, seed, "ep", tp.id)[: exam.problems]]
    return ProblemGroup(tp, tuple(msgspec.structs.replace(ep, id=f"{tp.id}/ep/{ep.id}") for ep in eps))
