"""The cases of the code families that the project ships, made from slow references.

`python -m tests.code_cases` writes scenarios/tasks/code/*.jsonl anew: every value of a case comes from the reference.
"""

import sys

import msgspec

from scenarios.tasks.sources.code_files import OwnLine
from tests import classes
from tests.code_families import CodeProblem, bitmasking, game_theory, one_dimension

FOLDER = classes.ROOT / "scenarios" / "tasks" / "code"
FAMILIES = {
    "game_theory": game_theory.PROBLEMS,
    "bitmasking": bitmasking.PROBLEMS,
    "one_dimension": one_dimension.PROBLEMS,
}


def lines(problems: list[CodeProblem]) -> bytes:
    """A family as JSON lines."""
    return b"".join(msgspec.json.encode(_line(problem)) + b"\n" for problem in problems)


def _line(problem: CodeProblem) -> dict[str, object]:
    seen = [*problem.visible]
    hidden = [args for n, args in enumerate(problem.hidden) if args not in seen and args not in problem.hidden[:n]]
    line: dict[str, object] = {
        "id": problem.id,
        "statement": problem.statement,
        "signature": problem.solution.partition("\n")[0].removesuffix(":"),
        "visible": [{"args": args, "value": problem.slow(*args)} for args in problem.visible],
        "hidden": [{"args": args, "value": problem.slow(*args)} for args in hidden],
        "solution": problem.solution,
    }
    msgspec.convert(line, OwnLine)
    return line


if __name__ == "__main__":
    for name, problems in FAMILIES.items():
        sys.stdout.write(f"{FOLDER / name}.jsonl\n")
        (FOLDER / f"{name}.jsonl").write_bytes(lines(problems))
