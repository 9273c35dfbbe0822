r"""The form in which a set of exemplars is written, by teachers and to them.

    Example 1
    Text: one or more lines: the whole item, laid out as the task's items are
    Reason: one line, or no such line
    Answer: Yes

Blocks are numbered, with an empty line between them; a new set goes on from the last number of the old one, since
a small model that is to begin with `Example 1` once more copies what it sees there. `Text:`, `Reason:` and `Answer:`
begin their lines, and no line of a text begins with one of them or with `Example `. So a model needs no quoting, and
a reader no guessing. Reading what came of it is the classroom's: docs/protocol.md has the rules.
"""

from broker.work_messages import AnswerForm, Exemplar

MARKS = ("Answer:", "Example ", "Reason:", "Text:")
"""Beginnings of lines that mean something; their first letters differ."""


def begun(first: int) -> str:
    """How the answer of whoever writes a set begins, whose first number is this."""
    return f"Example {first}\nText:"


def show(exemplars: tuple[Exemplar, ...], first: int = 1) -> str:
    """A set in this form, numbered from `first` on."""
    return "\n\n".join(
        f"{begun(number)} {one.problem.strip()}\n{_why(one.rationale)}" for number, one in enumerate(exemplars, first)
    )


def _why(rationale: str) -> str:
    """`Reason: ...` and `Answer: ...` of an exemplar's rationale; its lines before the last are the reason."""
    *reason, answer = rationale.strip().splitlines() or [""]
    words = " ".join(" ".join(reason).split()).removeprefix("Reason: ")
    return f"Reason: {words}\n{answer}" if words else answer


def answers(count: int, form: AnswerForm) -> tuple[str, ...]:
    """What the answers of `count` new exemplars are to be; empty strings: left to the teacher.

    Yes and no take turns: no model miscounts that. Whoever teaches with the set should shuffle it, or it teaches
    its students to take turns too.
    """
    return tuple(("" if form != "yes_no" else "No" if number % 2 else "Yes") for number in range(count))


def structure(wanted: tuple[str, ...], first: int) -> str:
    """A regular expression for a set with these answers, from behind `begun(first)` on."""
    blocks = (rf" [^\n]+(\n{FREE_LINE})*\nAnswer: {answer or FREE}" for answer in wanted)
    whole = "".join(rf"\n\nExample {number}\nText:{block}" for number, block in enumerate(blocks, first))
    return whole.removeprefix(rf"\n\nExample {first}\nText:")


def _free_line() -> str:
    """A regular expression for a line, maybe empty, that begins with none of MARKS; needs no look-ahead."""
    first = "".join(mark[0] for mark in MARKS)
    parts = [rf"{mark[:end]}([^{mark[end]}\n][^\n]*)?" for mark in MARKS for end in range(1, len(mark))]
    return rf"([^{first}\n][^\n]*|{'|'.join(parts)})?"


FREE = r"[^\n]+"
FREE_LINE = _free_line()
