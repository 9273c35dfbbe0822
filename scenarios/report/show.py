"""What `show` finds in a class: its teaching problems, one of them, one of its TRs, and the exams of one student.

Everything is read from the records. docs/results.md explains the figures; show_text.py prints what is found here.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from fractions import Fraction

import msgspec

from broker.errors import ScenarioError
from broker.work_messages import AnswerForm
from scenarios.config.schema import Scenario
from scenarios.levels.observe.invention import AGREE, INVENT
from scenarios.levels.observe.self_debug import REPAIRS
from scenarios.records.observe import InventedExam, Rationale, TeachingProblemRecord
from scenarios.report import steering
from scenarios.report.named import near, pick
from scenarios.report.recorded import RecordedClass
from scenarios.report.run_info import Status
from scenarios.report.show_exams import ExamView, RepairView, exam_views, makes_own_prompts, repair_of
from scenarios.report.show_sets import SetLine, SetView, find_set, set_lines
from scenarios.scoring.lbt import ChosenAnswer, Rule, Sheet, lbt_scores
from scenarios.store import prompts
from scenarios.store.prompts import Parts
from scenarios.tasks.problems import Bank, Problem

RULES: dict[str, Rule] = {"SC": "sc", "MAX": "max", "SUM": "sum"}
GREEDY = "greedy"
LEVEL_1 = frozenset({INVENT, AGREE, "greedy", "teach", "ask", "explain", "exam", "grade", *REPAIRS.values()})
"""Stages of the requests that a teaching problem waits for."""


class AnswerVotes(msgspec.Struct, frozen=True):
    """An answer to a TP, and how many TRs give it."""

    answer: str
    votes: int
    right: bool


class ProblemLine(msgspec.Struct, frozen=True):
    """A TP in the list of all."""

    number: int
    """From 1, in the order of the class."""
    tp: str
    gold: str
    answers: list[AnswerVotes]
    without_answer: int
    """TRs in which no answer was found."""
    chosen: dict[str, ChosenAnswer]
    """By rule; empty: there are no TRs yet."""
    awaited: int
    """Requests that are due and have no result."""
    writing: bool
    """Whether exam problems of the class are still being written, before any TP is taught (`exam.maker: invented`)."""


class ClassListing(msgspec.Struct, frozen=True):
    """What a class has: TPs at levels 1 and 2, sets of exemplars at level 3."""

    scenario: str
    status: Status
    changes: list[str]
    """What was changed while it ran, a sentence each."""
    problems: list[ProblemLine]
    sets: list[SetLine]


class ExamTally(msgspec.Struct, frozen=True):
    """How many of some exam answers are right."""

    right: int
    n: int


class RationaleLine(msgspec.Struct, frozen=True):
    """A TR in the list of its TP."""

    id: str
    repeat: int | None
    """None: the greedy one."""
    origin: str
    """Empty: level 1 or the first round of level 2. Else the round, or who wrote it."""
    answer: str | None
    right: bool
    lbt_score: float | None
    """None: it was not examined, or its exams cannot be compared."""
    exams: dict[str, ExamTally]
    """By student."""
    completion_tokens: int
    cut_off: bool
    same_as: str
    """Id of the first TR of this TP with the same text, whose exams it shares; empty: it is the first."""
    dropped: bool
    """Its exams ended early, since others did better; then no rule of exams chooses it (`exam.allocation`)."""


class ProblemView(msgspec.Struct, frozen=True):
    """A TP with its TRs."""

    number: int
    tp: str
    text: str
    gold: str
    form: AnswerForm
    exam_problems: list[Problem]
    similarities: list[float]
    """Of retrieved exam problems; without exam problems, of those that were not near enough."""
    invented: InventedExam | None
    students: list[str]
    rationales: list[RationaleLine]


class RationaleView(msgspec.Struct, frozen=True):
    """A TR with the answers of all its exams."""

    problem: ProblemView
    rationale: RationaleLine
    text: str
    prompt: Parts
    own_prompt: bool
    repair: RepairView | None
    """None: there was nothing to repair."""
    exams: list[ExamView]


class StudentView(msgspec.Struct, frozen=True):
    """The exams of one student under one TR."""

    problem: ProblemView
    rationale: RationaleLine
    student: str
    exams: list[ExamView]


Shown = ClassListing | ProblemView | RationaleView | StudentView | SetView


def needed(scenario: Scenario, names: Sequence[str], bank: Bank) -> Bank:
    """The problems whose results `find` needs for these names: at level 1 a TP depends on no other.

    Raises:
        ScenarioError: no problem has this name.
    """
    if not names or scenario.levels != (1,):
        return bank
    name = _named(bank, [], names[0])
    return msgspec.structs.replace(bank, items=tuple(item for item in bank.items if item.tp.id == name))


def _named(bank: Bank, sets: Sequence[str], wanted: str) -> str:
    """The id of the TP, or the key of the exemplar set, that is wanted."""
    problems = [item.tp.id for item in bank.items]
    if wanted.isdecimal() and wanted not in problems and 1 <= int(wanted) <= len(problems):
        return problems[int(wanted) - 1]
    noun = "exemplar set" if not problems else "teaching problem or exemplar set" if sets else "teaching problem"
    return pick(noun, wanted, [*problems, *sets], f"there are {len(problems)}, numbered from 1" if problems else "")


def find(one: RecordedClass, names: Sequence[str]) -> Shown:
    """What the names of a command stand for: none, TP, TP and TR, or TP, TR and student; or an exemplar set.

    A TP is named by its number or by a unique beginning of its id, a TR by its repeat, `greedy` or its id.

    Raises:
        ScenarioError: nothing in this class has such a name.
    """
    if not names:
        status, sets_of_class = one.facts.status, set_lines(one.outcome.iteration)
        changed = steering.sentences(one.facts.changes, status)
        return ClassListing(one.scenario.name, status, changed, _problem_lines(one), sets_of_class)
    sets = sorted({line.key for line in set_lines(one.outcome.iteration)})
    first, *others = names
    name = _named(one.bank, sets, first)
    if name in sets:
        if others:
            raise ScenarioError(f"{name} is an exemplar set: nothing can be named after it")
        return find_set(one, name)
    view = _problem(one, name)
    if not others:
        return view
    rationale = _pick_rationale(view, others[0])
    twins = _twins(view, rationale)
    exams = exam_views(one, twins, view.exam_problems)
    if len(others) == 1:
        (record,) = one.store.results("request_id = ?", rationale.id)
        own, prompt = makes_own_prompts(one, record), prompts.read(one.store.query, record.prompt)
        return RationaleView(view, rationale, record.text, prompt, own, repair_of(one, record, twins), exams)
    student = near("student", others[1], view.students)
    return StudentView(view, rationale, student, [e for e in exams if e.student == student])


def _problem_lines(one: RecordedClass) -> list[ProblemLine]:
    students = tuple(student.name for student in one.scenario.students)
    lessons = {lesson.tp: lesson for lesson in one.outcome.lessons}
    due = Counter(request.tp for request in one.due if request.stage in LEVEL_1)
    writing = any(request.stage in (INVENT, AGREE) for request in one.due)
    lines = []
    for number, item in enumerate(one.bank.items, 1):
        tp = item.tp
        sheet = Sheet(lessons[tp.id], one.same) if tp.id in lessons and lessons[tp.id].rationales else None
        groups = sorted(sheet.groups, key=lambda group: -len(group.members)) if sheet else []
        lines.append(
            ProblemLine(
                number=number,
                tp=tp.id,
                gold=tp.shown,
                answers=[AnswerVotes(g.representative.shown or "", len(g.members), g.correct) for g in groups],
                without_answer=sum(r.answer is None for r in sheet.lesson.rationales) if sheet else 0,
                chosen={n: sheet.choose(rule, students, one.scenario.scoring) for n, rule in RULES.items() if sheet},
                awaited=due[tp.id],
                writing=writing,
            )
        )
    return lines


def _lessons(one: RecordedClass, tp: str) -> list[tuple[str, TeachingProblemRecord]]:
    """All records of a TP, with their origin for people; the first is that of level 1."""
    found = [("", one.outcome.lessons)]
    if one.outcome.rewriting:
        found.append(("rewritten", tuple(rewritten.lesson for rewritten in one.outcome.rewriting.lessons)))
    for learnt in one.outcome.learnt:
        if learnt.number > 1:
            found.append((f"round {learnt.number}", learnt.lessons))
        for measured in learnt.measured:
            teacher = f"teacher {measured.weights[:12]}" if measured.weights else "original teacher"
            found.append((f"round {learnt.number}, {teacher}, measured", measured.taught))
    return [(origin, lesson) for origin, lessons in found for lesson in lessons if lesson.tp == tp]


def _problem(one: RecordedClass, tp: str) -> ProblemView:
    ((number, item),) = [(n, item) for n, item in enumerate(one.bank.items, 1) if item.tp.id == tp]
    students = [student.name for student in one.scenario.students]
    lines: dict[str, RationaleLine] = {}
    texts: dict[str, str] = {}
    for origin, lesson in _lessons(one, tp):
        if lesson.greedy and not origin:
            lines[lesson.greedy.id] = _line(lesson.greedy, "", {}, "")
        scores = lbt_scores(lesson.rationales, students, one.scenario.scoring.merge)
        for rationale in lesson.rationales:
            first = texts.setdefault(rationale.material or rationale.id, rationale.id)
            line = _line(rationale, origin, scores, "" if first == rationale.id else first)
            lines.setdefault(rationale.id, line)
    return ProblemView(
        number=number,
        tp=tp,
        text=item.tp.text,
        gold=item.tp.answer,
        form=item.tp.form,
        exam_problems=list(item.eps),
        similarities=list(item.similarities),
        invented=item.invented,
        students=students,
        rationales=list(lines.values()),
    )


def _line(rationale: Rationale, origin: str, scores: Mapping[str, Fraction], same_as: str) -> RationaleLine:
    asked, right = Counter[str](), Counter[str]()
    for exam in rationale.exams:
        asked[exam.student] += 1
        right[exam.student] += exam.correct
    return RationaleLine(
        id=rationale.id,
        repeat=rationale.repeat if rationale.repeat >= 0 else None,
        origin=origin,
        answer=rationale.shown,
        right=rationale.correct,
        lbt_score=float(scores[rationale.id]) if rationale.id in scores else None,
        exams={name: ExamTally(right[name], n) for name, n in asked.items()},
        completion_tokens=rationale.completion_tokens,
        cut_off=not rationale.ended,
        same_as=same_as,
        dropped=rationale.dropped,
    )


def _pick_rationale(view: ProblemView, wanted: str) -> RationaleLine:
    """By repeat (of level 1), `greedy`, or the beginning of the id."""
    by_name: dict[str, RationaleLine] = {}
    for line in view.rationales:
        by_name[line.id] = line
        if not line.origin:
            by_name.setdefault(GREEDY if line.repeat is None else str(line.repeat), line)
    if wanted in by_name:
        return by_name[wanted]
    repeats = [line.repeat for line in view.rationales if line.repeat is not None and not line.origin]
    range_of = f"its repeats are {min(repeats)} to {max(repeats)}" if repeats else "it has none yet"
    return by_name[pick(f"rationale of {view.tp}", wanted, list(by_name), range_of)]


def _twins(view: ProblemView, rationale: RationaleLine) -> list[str]:
    """The ids of the TRs with the same text, which share their exams."""
    first = rationale.same_as or rationale.id
    return [line.id for line in view.rationales if first in (line.id, line.same_as)]
