"""Words of the command line: the first one, and what an option stands for."""

import difflib
import shlex
from collections.abc import Sequence
from pathlib import Path

from broker.errors import ScenarioError


def check_command(words: Sequence[str], commands: Sequence[str]) -> None:
    """Refuse a first word that is no command, no option and no file."""
    first, *rest = words
    if first in commands or first.startswith("-"):
        return
    if Path(first, "scenario.yaml").is_file():
        raise ScenarioError(f"{first} is the folder of a run: python run.py resume|report|watch {shlex.quote(first)}")
    if Path(first).suffix or Path(first).is_file():
        return
    if first == "run":
        raise ScenarioError(f"there is no command `run`: leave it out, python run.py {' '.join(rest)}".strip())
    near = difflib.get_close_matches(first, commands, n=1)
    hint = f"did you mean {near[0]}?" if near else "python run.py --help lists the commands"
    raise ScenarioError(f"{first}: no such file, and no command of this name; {hint}")


def with_seed(overrides: Sequence[str], seed: str | None) -> tuple[str, ...]:
    """`overrides` plus the one for `--seed`."""
    return (*overrides,) if seed is None else (*overrides, f"seed={seed}")
