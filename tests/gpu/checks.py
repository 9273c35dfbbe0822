"""What a phase reports: one line per check, which `python -m tests.gpu` reads from the phase's standard output."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

MARK = "CHECK "
"""Begins each line with a check; other lines on standard output are those of libraries."""


class Setting(NamedTuple):
    """What a phase gets."""

    device: str
    """`cuda` or `cpu`."""
    folder: Path
    """An empty folder of this phase; what it writes is removed afterwards."""

    @property
    def cuda(self) -> bool:
        return self.device == "cuda"


def check(name: str, ok: bool, figure: float = 0.0, unit: str = "", bound: str = "", note: str = "") -> None:
    """Report a check that passes or fails. `bound` says in words which figures pass."""
    _say("PASS" if ok else "FAIL", name, figure, unit, bound, note)


def info(name: str, figure: float = 0.0, unit: str = "", note: str = "") -> None:
    """Report a figure without a bound."""
    _say("INFO", name, figure, unit, "", note)


def skip(name: str, why: str) -> None:
    """Report a check that cannot be made here."""
    _say("SKIP", name, 0.0, "", "", why)


def _say(state: str, name: str, figure: float, unit: str, bound: str, note: str) -> None:
    told = {"name": name, "ok": state != "FAIL", "figure": round(float(figure), 6), "state": state}
    print(MARK + json.dumps(told | {"unit": unit, "bound": bound, "note": note}), flush=True)


def phase(run: Callable[[Setting], None]) -> None:
    """Run a phase as `python -m tests.gpu.NAME DEVICE FOLDER`."""
    run(Setting(sys.argv[1], Path(sys.argv[2])))
