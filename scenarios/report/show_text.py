"""Prints what `show` found: tables fit the terminal, and the texts of models keep their lines, however long.

Every text is data: control characters are removed (broker/printable.py), and nothing in it becomes markup.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import zip_longest

from rich.console import Console
from rich.text import Text

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
from scenarios.report.show_pieces import Piece, data, heading, prompt_pieces, title
from scenarios.report.show_sets import SetLine, SetView
from scenarios.store.prompts import Parts, common_start

ID_DIGITS = 12
"""How many digits of the ids of requests and sets are printed: enough to name one."""
DROPPED = "exams ended early, since other rationales did better (exam.allocation)"
MARKS = {True: "+", False: "-", None: "x"}


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
                name = ep.id.removeprefix(f"{shown.tp}/ep/")
                yield from (heading(f"{name}, gold answer {ep.shown}"), data(ep.text), Text())
            if not shown.rationales:
                yield Sentences("It has no rationales yet.")
                return
            yield Trimmed(_rationales(shown))
            yield data(f"One of them, with its prompt and exams: python run.py show {run} {shown.number} REPEAT", "")
        case RationaleView():
            yield from _rationale(shown, run)
        case StudentView():
            yield from _student(shown)
        case SetView():
            yield from _set(shown)


def _listing(shown: ClassListing, run: str) -> Iterator[Piece]:
    yield title(f"{shown.scenario}, {shown.status}")
    for sentence in shown.changes:
        yield Sentences(sentence, style="yellow")
    if shown.problems:
        yield Text()
        yield Trimmed(_problems(shown.problems))
        yield data(f"One of them: python run.py show {run} NUMBER", "")
    if shown.sets:
        yield Text()
        yield Trimmed(_sets(shown.sets))
        yield data(f"One of them: python run.py show {run} SET", "")
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
    yield title(f"Teaching problem {shown.number}: {shown.tp}")
    yield data(shown.text)
    yield Text()
    yield data(f"Gold answer: {shown.gold}", "")
    near = [f" (similarity {similarity:.2f})" for similarity in shown.similarities]
    if shown.invented:
        near = [f" ({shown.invented.mark(one.ep)})" for one in shown.invented.problems]
    if shown.exam_problems:
        named = zip_longest((ep.id for ep in shown.exam_problems), near, fillvalue="")
        yield data(f"Exam problems: {', '.join(id + how for id, how in named)}", "")
    elif shown.invented:
        yield data(f"No usable exam problem of {invention(shown.invented)}: SC chooses the answer.", "")
    elif shown.similarities:
        yield data(f"No exam problem is near enough{''.join(near[:1])}: SC chooses the answer.", "")
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
    yield title("The teacher's prompt")
    yield from prompt_pieces(shown.prompt, shown.own_prompt)
    yield Text()
    yield title(_name(shown.rationale))
    yield data(shown.text)
    yield Text()
    yield from _repair(shown.repair, shown.prompt)
    yield from _verdict_lines(shown.rationale, shown.problem)
    if not shown.exams:
        yield Sentences("It has no exams.")
        return
    yield Text()
    yield Trimmed(_exam_table(shown))
    names = f"{shown.problem.number} {_short(shown.rationale)}"
    yield data(f"The texts of a student: python run.py show {run} {names} STUDENT", "")


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
    yield title(f"{_name(shown.rationale)}: the exams of {shown.student}")
    yield from _verdict_lines(shown.rationale, shown.problem)
    if not shown.exams:
        yield Sentences(f"{shown.student} has no exams under this rationale.")
        return
    before: Parts = ()
    for number, exam in enumerate(shown.exams, 1):
        yield Text()
        yield title(f"{number} of {len(shown.exams)}: {exam.ep}, repeat {exam.repeat}")
        same = common_start(before, exam.prompt)
        yield from prompt_pieces(exam.prompt, exam.own_prompt, same)
        before = exam.prompt
        if not exam.prompt:
            yield heading("exam problem")
            yield data(exam.problem)
        yield from _answer(exam, shown.problem.form == "code")


def _answer(exam: ExamView, code: bool) -> Iterator[Piece]:
    if exam.failed:
        yield data(f"It failed ({exam.failed}): {exam.detail}", "")
        return
    if exam.kind == "Grade":
        yield data(f"Mean log-probability of the solution: {figure(exam.logprob, '.4f')} nats per token", "")
    else:
        yield heading(f"{exam.student} answered")
        yield data(exam.text)
        yield from _repair(exam.repair, exam.prompt)
        program = "its repaired program" if exam.repair and exam.repair.kept else "its program"
        yield _graded(program if code and exam.answer else exam.answer, "" if code else exam.gold, bool(exam.right))
        if code:
            yield heading("gold answer")
            yield data(exam.gold)
    yield data(f"Tokens: {exam.prompt_tokens:,} of the prompt, {exam.completion_tokens:,} of the answer", "")


def _repair(repair: RepairView | None, before: Parts) -> Iterator[Piece]:
    """The repair of a program; `before` is the prompt of the first one."""
    if repair is None:
        return
    yield heading("its program fails visible cases")
    yield data(repair.cases)
    if repair.failed:
        yield data(f"Its repair failed ({repair.failed}): {repair.detail}", "")
        return
    if repair.prompt:
        yield from prompt_pieces(repair.prompt, own=False, same=common_start(before, repair.prompt))
    yield heading(f"repaired: {_verdict(bool(repair.right))}, {'kept' if repair.kept else 'not better, so not kept'}")
    yield data(repair.text)
    yield data(f"Tokens: {repair.prompt_tokens:,} of the prompt, {repair.completion_tokens:,} of the answer", "")
    yield Text()


def _set(shown: SetView) -> Iterator[Piece]:
    yield title(f"Exemplar set {shown.key}")
    for number, exemplar in enumerate(shown.exemplars, 1):
        yield heading(f"{number}, answer {exemplar.answer}")
        yield data(exemplar.text)
        if exemplar.reason:
            yield data(f"Reason: {exemplar.reason}")
    yield Text()
    yield Trimmed(_sets(shown.rounds))
    for made in shown.made_by:
        yield Text()
        of = f" from set {made.parent[:ID_DIGITS]}" if made.parent else ""
        told = f", shown {many(made.mistakes, 'mistake')}" if made.mistakes else ""
        yield title(f"Written in round {made.round} ({made.arm}, run {made.run}){of}{told}")
        for reason in made.reasons:
            yield data(f"- {reason}")
        yield from prompt_pieces(made.prompt, own=False)
        yield heading("the teacher wrote")
        yield data(made.text)
    if shown.exams:
        yield Text()
        table = Ruled("Its exams")
        table.add_columns("student", "arm", "run", "round", right=False)
        table.add_columns("right", "F1")
        for exam in shown.exams:
            where = (exam.student, exam.arm, str(exam.run), str(exam.round))
            table.add_row(*where, f"{exam.right}/{exam.n}", figure(exam.f1, ".3f"))
        yield Trimmed(table)


def _verdict_lines(line: RationaleLine, problem: ProblemView) -> Iterator[Piece]:
    # The gold program of a code problem stands above, with its lines.
    yield _graded(line.answer, "" if problem.form == "code" else problem.gold, line.right)
    tokens = f"{line.completion_tokens:,}{', cut off' * line.cut_off}"
    yield data(f"LbT score: {figure(line.lbt_score, '.3f')}; tokens: {tokens}", "")
    if line.dropped:
        yield Sentences(f"Dropped: {DROPPED}.")


def _graded(answer: str | None, gold: str, right: bool) -> Piece:
    parts = f"Answer: {'none' if answer is None else answer}", f"gold: {gold}" * bool(gold), _verdict(right)
    return data("; ".join(filter(None, parts)), "")


def _name(line: RationaleLine) -> str:
    origin = f", {line.origin}" if line.origin else ""
    return f"{'Greedy answer' if line.repeat is None else f'Rationale, repeat {line.repeat}'} ({line.id}){origin}"


def _short(line: RationaleLine) -> str:
    if line.origin:
        return line.id[:ID_DIGITS]
    return "greedy" if line.repeat is None else str(line.repeat)


def _verdict(right: bool) -> str:
    return "right" if right else "wrong"
