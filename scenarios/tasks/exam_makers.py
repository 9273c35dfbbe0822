"""Chooses exam problems (EPs) from other problems: the same for every teaching problem (`fixed`), or the nearest ones.

The sources in scenarios/tasks/sources draw the EPs of `exam.maker: variants` themselves. `retrieval` takes the problems
nearest to the TP by sentence embedding (arXiv 2406.14629 retrieves EPs so, too). Near duplicates of the TP are left out
(`_copies`). Equal similarities stand in the order of the problems' ids, so the seed and the texts decide everything.
With `invented` a TP has none when the class begins: an agent writes them (scenarios/levels/observe/invention.py).
"""

from collections.abc import Iterable, Sequence

import msgspec

from broker.errors import TaskError
from broker.work_messages import AnswerForm
from scenarios.config.schema import Exam
from scenarios.tasks import embedding
from scenarios.tasks.grading.answers import normal
from scenarios.tasks.problems import Problem, ProblemGroup, folded

DUPLICATE = 0.95
"""Problems at least as similar to the TP, with its answer, are taken for the TP itself.

A student who copies the TA would be right on them, and the exam would reward right TAs instead of TRs that teach. A
missing word, a typo, other punctuation, or a sentence before or behind left 90 problems of gsm_symbolic at 0.96 or more
by wordllama. Another draw of a template is often as near, but has another answer, and is as good an EP as any.
"""
DIGITS = 6
"""Of similarities: further ones depend on the processor."""


def check(tps: Sequence[Problem], others: Iterable[Problem], source: str, exam: Exam) -> tuple[ProblemGroup, ...]:
    """Refuse an exam that cannot be made, as far as that is known without an embedding; see `make`.

    Returns:
        The TPs without EPs.

    Raises:
        TaskError: too few problems differ from a TP in their text, or a package is missing.
    """
    if exam.maker == "invented":
        return _unexamined(tps)
    if exam.maker == "retrieval":
        embedding.check(exam.embedding)
    texts = {folded(problem.text) for problem in others}
    taught = {folded(tp.text) for tp in tps}
    if exam.maker == "fixed" or not tps:
        _enough(len(texts - taught), exam, source)
    else:
        for tp in tps:
            _enough(len(texts - {folded(tp.text)}), exam, source, tp)
    return tuple(ProblemGroup(tp, ()) for tp in tps)


def make(tps: Sequence[Problem], others: Iterable[Problem], source: str, exam: Exam) -> tuple[ProblemGroup, ...]:
    """The TPs with their EPs.

    Args:
        tps: the teaching problems.
        others: the problems to choose from. `fixed` takes the first, and no more of an endless iterator than it needs.
        source: of `others`, for messages.
        exam: the maker, and the number of EPs.

    Raises:
        TaskError: there are too few problems, or the embedding cannot be computed.
    """
    if exam.maker == "invented":
        return _unexamined(tps)
    return _fixed(tps, others, source, exam) if exam.maker == "fixed" else _nearest(tps, [*others], source, exam)


def refuse_form(form: AnswerForm) -> None:
    """Refuse TPs whose form of answers `exam.maker: invented` cannot be used with.

    Raises:
        TaskError: their answers are programs, or Yes and No.
    """
    why = {
        "code": "programs have no answer to agree on",
        "yes_no": "of two answers one is always given by more than half, so agreement says little",
    }
    if form in why:
        raise TaskError(f"invented goes with numbers, words and LaTeX; {why[form]}", key=("exam", "maker"))


def _unexamined(tps: Sequence[Problem]) -> tuple[ProblemGroup, ...]:
    for tp in tps:
        refuse_form(tp.form)
    return tuple(ProblemGroup(tp, ()) for tp in tps)


def _fixed(tps: Sequence[Problem], others: Iterable[Problem], source: str, exam: Exam) -> tuple[ProblemGroup, ...]:
    taken = {folded(tp.text) for tp in tps}
    chosen: list[Problem] = []
    for problem in others:
        if len(chosen) == exam.problems:
            break
        if (text := folded(problem.text)) not in taken:
            taken.add(text)
            chosen.append(problem)
    _enough(len(chosen), exam, source)
    return tuple(ProblemGroup(tp, _as_eps(tp, chosen)) for tp in tps)


def _nearest(tps: Sequence[Problem], others: Sequence[Problem], source: str, exam: Exam) -> tuple[ProblemGroup, ...]:
    # Of problems with one text the one with the smallest id.
    by_text = {folded(one.text): one for one in sorted(others, key=lambda one: one.id, reverse=True)}
    bank = sorted(by_text.values(), key=lambda one: one.id)
    check(tps, bank, source, exam)
    vectors = embedding.embed(exam.embedding, [one.text for one in (*tps, *bank)])
    of_bank = vectors[len(tps) :]
    groups = []
    for tp, vector in zip(tps, vectors[: len(tps)], strict=True):
        similarities = (of_bank @ vector).round(DIGITS).tolist()
        ranked = sorted(zip(similarities, bank, strict=True), key=lambda pair: (-pair[0], pair[1].id))
        usable = [(similarity, one) for similarity, one in ranked if not _copies(one, tp, similarity)]
        _enough(len(usable), exam, source, tp)
        chosen = usable[: exam.problems]
        near_enough = exam.abstain_below is None or chosen[0][0] >= exam.abstain_below
        eps = _as_eps(tp, [one for _, one in chosen]) if near_enough else ()
        groups.append(ProblemGroup(tp, eps, tuple(similarity for similarity, _ in chosen)))
    return tuple(groups)


def _copies(one: Problem, tp: Problem, similarity: float) -> bool:
    """Whether a problem is the TP itself, or a near duplicate of it."""
    if folded(one.text) == folded(tp.text):
        return True
    if one.form != tp.form or similarity < DUPLICATE:
        return False
    if tp.form == "code":  # solutions are many; a problem has the same cases
        return one.program == tp.program
    return normal(one.answer, one.form) == normal(tp.answer, tp.form)


def _as_eps(tp: Problem, chosen: Sequence[Problem]) -> tuple[Problem, ...]:
    return tuple(msgspec.structs.replace(one, id=f"{tp.id}/ep/{one.id}") for one in chosen)


def _enough(there: int, exam: Exam, source: str, tp: Problem | None = None) -> None:
    if there >= exam.problems:
        return
    what = f"that are neither {tp.id} nor a near duplicate of it" if tp else "besides the teaching problems"
    raise TaskError(f"{exam.problems} are asked for, and {source} has {there} {what}", key=("exam", "problems"))
