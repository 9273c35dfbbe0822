r"""The text form of a set of exemplars, in prompts and in what teachers write.

    Example 1
    Text: one or more lines: the whole item, in the layout of the task's items
    Reason: one line, or left out
    Answer: Yes

An empty line separates the numbered blocks. A new set continues the numbers of the old one, since a small model that
begins with `Example 1` again copies the old set. `Text:`, `Reason:` and `Answer:` begin their lines, and no line of a
text begins with one of them or with `Example `, so the form needs no quoting. scenarios/ parses what a teacher writes;
docs/protocol.md has the rules.
"""

from broker.work_messages import AnswerForm, Exemplar

MARKS = ("Answer:", "Example ", "Reason:", "Text:")
"""Line beginnings with a meaning; their first letters differ."""


def begun(first: int) -> str:
    """Return the beginning of a set whose first number is `first`."""
    return f"Example {first}\nText:"


def show(exemplars: tuple[Exemplar, ...], first: int = 1) -> str:
    """Format a set, numbered from `first` on."""
    return "\n\n".join(
        f"{begun(number)} {one.problem.strip()}\n{_why(one)}" for number, one in enumerate(exemplars, first)
    )


def _why(one: Exemplar) -> str:
    """Format the lines `Reason: ...`, if there is one, and `Answer: ...`. A TR is shown as it was written."""
    if not one.answer:
        return one.solution.strip()
    reason = " ".join(one.rationale.split())
    return f"Reason: {reason}\nAnswer: {one.answer}" if reason else f"Answer: {one.answer}"


def answers(count: int, form: AnswerForm) -> tuple[str, ...]:
    """Return the answers that `count` new exemplars must have; empty strings leave them to the teacher.

    Yes and no alternate, since no model miscounts that. Shuffle the set before you teach with it, or it teaches
    students to alternate too.
    """
    return tuple(("" if form != "yes_no" else "No" if number % 2 else "Yes") for number in range(count))


def structure(wanted: tuple[str, ...], first: int) -> str:
    """Return a regular expression for a set with these answers, after `begun(first)`."""
    blocks = (rf" [^\n]+(\n{FREE_LINE})*\nAnswer: {answer or FREE}" for answer in wanted)
    whole = "".join(rf"\n\nExample {number}\nText:{block}" for number, block in enumerate(blocks, first))
    return whole.removeprefix(rf"\n\nExample {first}\nText:")


def _free_line() -> str:
    """Return a regular expression, without look-ahead, for a line that begins with none of MARKS; it may be empty."""
    first = "".join(mark[0] for mark in MARKS)
    parts = [rf"{mark[:end]}([^{mark[end]}\n][^\n]*)?" for mark in MARKS for end in range(1, len(mark))]
    return rf"([^{first}\n][^\n]*|{'|'.join(parts)})?"


FREE = r"[^\n]+"
FREE_LINE = _free_line()
