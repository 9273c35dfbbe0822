"""Prints what `show` found: tables fit the terminal, and the texts of models keep their lines, however long.

Every text is data: control characters are removed (broker/printable.py), and nothing in it becomes markup.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import zip_longest

from rich.console import Console, RenderableType
from rich.text import Text

from broker.printable import printable_lines
from scenarios.report.exams import invention
from scenarios.report.formatting import figure, many
from scenarios.report.layout import Ruled, Sentences, Trimmed
from scenarios.report.show import (
    RULES,
    ClassListing,
    ProblemLine,
    ProblemView,
    RationaleLine,
    RationaleView,
    Shown,
    StudentView,
)
from scenarios.report.show_exams import ExamView, RepairView
from scenarios.report.show_sets import SetLine, SetView
from scenarios.store.prompts import Parts, in_common

INDENT = "  "
ID_DIGITS = 12
"""How many digits of the ids of requests and sets are printed: enough to name one."""
DROPPED = "exams ended early, since other rationales did better (exam.allocation)"
MARKS = {True: "+", False: "-", None: "x"}
ROLES = {
    "system": "instructions",
    "user": "asked",
    "assistant": "answered",
    "begun": "the answer begins with",
    "scored": "solution that is scored",
}
Piece = RenderableType | Text


def print_shown(console: Console, shown: Shown, run: str) -> None:
    """Print what `show.find` found; `run` is the run's folder as the user would type it."""
    for piece in _pieces(shown, run):
        # Lines of texts are not broken here: a terminal does so, and a pipe gets them whole.
        console.print(piece, soft_wrap=isinstance(piece, Text))


def _pieces(shown: Shown, run: str) -> Iterator[Piece]:
    match shown:
        case ClassListing():
            yield from _listing(shown, run)
        case ProblemView():
            yield from _problem(shown)
            for ep in shown.exam_problems if shown.invented else ():
                heading = f"{ep.id.removeprefix(f'{shown.tp}/ep/')}, gold answer {ep.shown}"
                yield from (_heading(heading), _data(ep.text), Text())
            if not shown.rationales:
                yield Sentences("It has no rationales yet.")
                return
            yield Trimmed(_rationales(shown))
            yield _data(f"One of them, with its prompt and exams: python run.py show {run} {shown.number} REPEAT", "")
        case RationaleView():
            yield from _rationale(shown, run)
        case StudentView():
            yield from _student(shown)
        case SetView():
            yield from _set(shown)


def _listing(shown: ClassListing, run: str) -> Iterator[Piece]:
    yield _title(f"{shown.scenario}, {shown.status}")
    if shown.problems:
        yield Text()
        yield Trimmed(_problems(shown.problems))
        yield _data(f"One of them: python run.py show {run} NUMBER", "")
    if shown.sets:
        yield Text()
        yield Trimmed(_sets(shown.sets))
        yield _data(f"One of them: python run.py show {run} SET", "")
    if not shown.problems and not shown.sets:
        yield Sentences("No exemplar set is scored yet.")


def _problems(lines: Sequence[ProblemLine]) -> Ruled:
    table = Ruled(
        many(len(lines), "teaching problem"),
        "answers: those of the rationales, with their number; SC, MAX and SUM: what each chooses; + right.",
    )
    table.add_column("number", right=True)
    table.add_columns("id", "gold", "answers", *RULES, right=False, fold=True)
    for line in lines:
        answers = [f"{one.answer} x{one.votes}{' +' * one.right}" for one in line.answers]
        answers += [f"none x{line.without_answer}"] * bool(line.without_answer)
        due = "exam problems are being written" if line.writing else f"{many(line.awaited, 'request')} due"
        answers += [f"({due})"] * bool(line.writing or line.awaited)
        chosen = [line.chosen.get(rule) for rule in RULES]
        named = ["-" if c is None or c.answer is None else f"{c.answer}{' +' * c.correct}" for c in chosen]
        table.add_row(str(line.number), line.tp, line.gold, ", ".join(answers), *named)
    return table


def _sets(lines: Sequence[SetLine]) -> Ruled:
    table = Ruled(
        "Exemplar sets by round", "F1 of the teacher's own answers with the set; held out: only of sets that were best."
    )
    table.add_column("set")
    table.add_columns("arm", "run", "round", "from", right=False)
    table.add_columns("F1\ntraining", "F1\nheld out")
    table.add_column("kept")
    for line in lines:
        where = (line.arm, str(line.run), str(line.round), line.origin)
        f1 = (figure(line.f1_train, ".3f"), figure(line.f1_held_out, ".3f"))
        table.add_row(line.key[:ID_DIGITS], *where, *f1, "kept" if line.kept else "")
    return table


def _problem(shown: ProblemView) -> Iterator[Piece]:
    yield _title(f"Teaching problem {shown.number}: {shown.tp}")
    yield _data(shown.text)
    yield Text()
    yield _data(f"Gold answer: {shown.gold}", "")
    near = [f" (similarity {similarity:.2f})" for similarity in shown.similarities]
    if shown.invented:
        near = [f" ({shown.invented.mark(one.ep)})" for one in shown.invented.problems]
    if shown.exam_problems:
        named = zip_longest((ep.id for ep in shown.exam_problems), near, fillvalue="")
        yield _data(f"Exam problems: {', '.join(id + how for id, how in named)}", "")
    elif shown.invented:
        yield _data(f"No usable exam problem of {invention(shown.invented)}: SC chooses the answer.", "")
    elif shown.similarities:
        yield _data(f"No exam problem is near enough{''.join(near[:1])}: SC chooses the answer.", "")
    else:
        yield Sentences("Its exam problems are not known yet.")
    yield Text()


def _rationales(shown: ProblemView) -> Ruled:
    greedy = sum(line.repeat is None for line in shown.rationales)
    table = Ruled(
        f"{many(len(shown.rationales) - greedy, 'rationale')}{' and a greedy answer' * bool(greedy)}",
        "By student: right exam answers of all. Rationales with the same text share their exams."
        + f" Dropped: {DROPPED}." * any(line.dropped for line in shown.rationales),
    )
    table.add_columns("id", "repeat", right=False)
    table.add_column("answer", fold=True)
    table.add_columns("", "LbT\nscore", *shown.students, "tokens", right=False)
    table.add_column("", fold=True)
    for line in shown.rationales:
        exams = [f"{of.right}/{of.n}" if (of := line.exams.get(name)) else "-" for name in shown.students]
        about = [line.origin, "cut off" * line.cut_off, "dropped" * line.dropped]
        about += [f"same text as {line.same_as[:ID_DIGITS]}"] * bool(line.same_as)
        table.add_row(
            line.id[:ID_DIGITS],
            "greedy" if line.repeat is None else str(line.repeat),
            "none" if line.answer is None else line.answer,
            _verdict(line.right),
            figure(line.lbt_score, ".3f"),
            *exams,
            f"{line.completion_tokens:,}",
            ", ".join(filter(None, about)),
        )
    return table


def _rationale(shown: RationaleView, run: str) -> Iterator[Piece]:
    yield from _problem(shown.problem)
    yield _title("The teacher's prompt")
    yield from _prompt(shown.prompt, shown.own_prompt)
    yield Text()
    yield _title(_name(shown.rationale))
    yield _data(shown.text)
    yield Text()
    yield from _repair(shown.repair, shown.prompt)
    yield from _verdict_lines(shown.rationale, shown.problem.gold)
    if not shown.exams:
        yield Sentences("It has no exams.")
        return
    yield Text()
    yield Trimmed(_exam_table(shown))
    names = f"{shown.problem.number} {_short(shown.rationale)}"
    yield _data(f"The texts of a student: python run.py show {run} {names} STUDENT", "")


def _exam_table(shown: RationaleView) -> Ruled:
    table = Ruled(
        "Its exams: student by exam problem, one mark for each repeat", "+ right, - wrong, x failed: it counts nowhere."
    )
    table.add_column("student", fold=True)
    table.add_columns(*(ep.id.removeprefix(f"{shown.problem.tp}/") for ep in shown.problem.exam_problems), right=False)
    table.add_column("right", right=True)
    marks: dict[tuple[str, str], list[bool | None]] = defaultdict(list)
    for exam in shown.exams:
        if exam.kind == "Examine":
            marks[exam.student, exam.ep].append(exam.right)
    for student in shown.problem.students:
        by_ep = [marks.get((student, ep.id), []) for ep in shown.problem.exam_problems]
        known = [mark for of in by_ep for mark in of if mark is not None]
        cells = [" ".join(MARKS[mark] for mark in of) or "-" for of in by_ep]
        table.add_row(student, *cells, f"{sum(known)}/{len(known)}")
    return table


def _student(shown: StudentView) -> Iterator[Piece]:
    yield from _problem(shown.problem)
    yield _title(f"{_name(shown.rationale)}: the exams of {shown.student}")
    yield from _verdict_lines(shown.rationale, shown.problem.gold)
    if not shown.exams:
        yield Sentences(f"{shown.student} has no exams under this rationale.")
        return
    before: Parts = ()
    for number, exam in enumerate(shown.exams, 1):
        yield Text()
        yield _title(f"{number} of {len(shown.exams)}: {exam.ep}, repeat {exam.repeat}")
        same = in_common(before, exam.prompt)
        yield from _prompt(exam.prompt, exam.own_prompt, same)
        before = exam.prompt
        if not exam.prompt:
            yield _heading("exam problem")
            yield _data(exam.problem)
        yield from _answer(exam)


def _answer(exam: ExamView) -> Iterator[Piece]:
    if exam.failed:
        yield _data(f"It failed ({exam.failed}): {exam.detail}", "")
        return
    if exam.kind == "Grade":
        yield _data(f"Mean log-probability of the solution: {figure(exam.logprob, '.4f')} nats per token", "")
    else:
        yield _heading(f"{exam.student} answered")
        yield _data(exam.text)
        yield from _repair(exam.repair, exam.prompt)
        answer = "none" if exam.answer is None else exam.answer
        yield _data(f"Answer: {answer}; gold: {exam.gold}; {_verdict(bool(exam.right))}", "")
    yield _data(f"Tokens: {exam.prompt_tokens:,} of the prompt, {exam.completion_tokens:,} of the answer", "")


def _repair(repair: RepairView | None, before: Parts) -> Iterator[Piece]:
    """The repair of a program; `before` is the prompt of the first one."""
    if repair is None:
        return
    yield _heading("its program fails visible cases")
    yield _data(repair.cases)
    if repair.failed:
        yield _data(f"Its repair failed ({repair.failed}): {repair.detail}", "")
        return
    yield from _prompt(repair.prompt, own=False, same=in_common(before, repair.prompt)) if repair.prompt else ()
    yield _heading(f"repaired: {_verdict(bool(repair.right))}, {'kept' if repair.kept else 'not better, so not kept'}")
    yield _data(repair.text)
    yield _data(f"Tokens: {repair.prompt_tokens:,} of the prompt, {repair.completion_tokens:,} of the answer", "")
    yield Text()


def _set(shown: SetView) -> Iterator[Piece]:
    yield _title(f"Exemplar set {shown.key}")
    for number, exemplar in enumerate(shown.exemplars, 1):
        yield _heading(f"{number}, answer {exemplar.answer}")
        yield _data(exemplar.text)
        if exemplar.reason:
            yield _data(f"Reason: {exemplar.reason}")
    yield Text()
    yield Trimmed(_sets(shown.rounds))
    for made in shown.made_by:
        yield Text()
        of = f" from set {made.parent[:ID_DIGITS]}" if made.parent else ""
        told = f", shown {many(made.mistakes, 'mistake')}" if made.mistakes else ""
        yield _title(f"Written in round {made.round} ({made.arm}, run {made.run}){of}{told}")
        for reason in made.reasons:
            yield _data(f"- {reason}")
        yield from _prompt(made.prompt, own=False)
        yield _heading("the teacher wrote")
        yield _data(made.text)
    if shown.exams:
        yield Text()
        table = Ruled("Its exams")
        table.add_columns("student", "arm", "run", "round", right=False)
        table.add_columns("right", "F1")
        for exam in shown.exams:
            where = (exam.student, exam.arm, str(exam.run), str(exam.round))
            table.add_row(*where, f"{exam.right}/{exam.n}", figure(exam.f1, ".3f"))
        yield Trimmed(table)


def _prompt(parts: Parts, own: bool, same: int = 0) -> Iterator[Piece]:
    """The parts of a prompt, without the first `same` ones, which were printed before."""
    if not parts:
        why = (
            "the agent is a program of yours, which makes its own prompts."
            if own
            else "an earlier version of this program asked for it."
        )
        yield Sentences(f"The prompt was not kept: {why}")
        return
    (_, begun), *turns = parts
    if same:
        yield Sentences(f"The prompt begins with the first {many(same - 1, 'part')} of the one above, then:")
    for role, text in turns[max(same - 1, 0) :]:
        if role == "scored":
            continue
        yield _heading(ROLES.get(role, role))
        yield _data(text)
    yield _heading(ROLES["begun"])
    yield _data(begun)
    for role, text in turns[-1:]:
        if role == "scored":
            yield _heading(ROLES[role])
            yield _data(text.strip())


def _verdict_lines(line: RationaleLine, gold: str) -> Iterator[Piece]:
    answer = "none" if line.answer is None else line.answer
    yield _data(f"Answer: {answer}; gold: {gold}; {_verdict(line.right)}", "")
    tokens = f"{line.completion_tokens:,}{', cut off' * line.cut_off}"
    yield _data(f"LbT score: {figure(line.lbt_score, '.3f')}; tokens: {tokens}", "")
    if line.dropped:
        yield Sentences(f"Dropped: {DROPPED}.")


def _name(line: RationaleLine) -> str:
    origin = f", {line.origin}" if line.origin else ""
    return f"{'Greedy answer' if line.repeat is None else f'Rationale, repeat {line.repeat}'} ({line.id}){origin}"


def _short(line: RationaleLine) -> str:
    if line.origin:
        return line.id[:ID_DIGITS]
    return "greedy" if line.repeat is None else str(line.repeat)


def _verdict(right: bool) -> str:
    return "right" if right else "wrong"


def _title(text: str) -> Text:
    return Text(printable_lines(text), style="bold")


def _heading(text: str) -> Text:
    return Text(printable_lines(f"[{text}]"), style="cyan")


def _data(text: str, indent: str = INDENT) -> Text:
    """A text of a model or of a task with its lines, each set in."""
    return Text(indent + printable_lines(text, indent))
