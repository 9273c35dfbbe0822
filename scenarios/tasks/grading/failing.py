"""Says which visible cases a program fails and what it did on them, one line a case, for self-debugging.

Values and errors come from programs of models: they are data, cut to a bounded length. A case whose call the text of
its problem does not show (the tests of HumanEval) is not shown here either: neither its arguments nor its value.
"""

from typing import NamedTuple

from broker.printable import printable
from scenarios.tasks.problems import Problem
from scenarios.tasks.programs import program_task
from scenarios.tasks.sandbox.outcome import CallOutcome

CALL = 300
"""Characters of a call."""
VALUE = 150
"""Characters of a value, an error, or what else became of a call."""
NOT_RUN = "was not run, since the call before it ran out of time"
LOOSE = str.maketrans({"'": '"', "(": "[", ")": "]", " ": None, "\n": None})
"""Makes texts equal that write the same values with other quotes, brackets and blanks."""


class FailedCase(NamedTuple):
    """A visible case that a program fails."""

    number: int | None
    """Its place among the visible cases; None: a check program failed."""
    happened: str
    """What the program did."""


def happened(outcome: CallOutcome) -> str:
    """What became of a call that does not pass, in words."""
    match outcome.error:
        case "":
            return f"returned {_cut(repr(outcome.value), VALUE)}"
        case "exception":
            return f"raised {_cut(outcome.detail, VALUE)}"
        case "timeout":
            return "ran out of time"
    return f"failed ({_cut(': '.join(filter(None, (outcome.error, outcome.detail))), VALUE)})"


def failing_case(problem: Problem, failed: FailedCase) -> str:
    """A line on a case that a program fails."""
    task = program_task(problem.program)
    if failed.number is not None:
        case = task.visible[failed.number]
        call = f"{task.called}({', '.join(map(repr, case.args))})"
        if call.translate(LOOSE) in problem.text.translate(LOOSE):
            return f"{_cut(call, CALL)} {failed.happened}; right is {_cut(repr(case.value), VALUE)}"
    if failed.happened.startswith("returned "):
        return "a test that is not shown fails"
    # The text of an error may repeat the arguments.
    return f"a test that is not shown {failed.happened.partition(':')[0]}"


def _cut(text: str, most: int) -> str:
    text = printable(text)
    return text if len(text) <= most else f"{text[:most]}..."
