"""Golden results: the request ids and the summary of each smoke scenario, as recorded in tests/process/golden.

`python -m tests.golden` records them again: for a change that is meant to change results, after the differences that
`git diff` shows were read.
"""

import json
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

from scenarios.store.sqlite import Store
from tests import classes

FOLDER = Path(__file__).parent / "process" / "golden"
VARIES = re.compile("seconds$|^cach")
SMOKE = sorted(classes.ROOT.glob("scenarios/smoke*.yaml"))


def results(scenario: Path, out: Path) -> dict[str, str]:
    """Run a class; its golden files by name.

    Times are left out, and so is what prefix caches hold, which depends on the order of arrival. Floats keep nine
    digits: the last ones depend on the processor's vector instructions.
    """
    classes.finish(classes.start(out, scenario=scenario))
    with Store(out) as store:
        ids = "".join(sorted(f"{row[0]}\n" for row in store.query("SELECT request_id FROM result")))
    summary = (out / "summary.json").read_text("utf-8")
    return {
        f"{scenario.stem}.requests.txt": ids,
        f"{scenario.stem}.summary.json": json.dumps(_comparable(json.loads(summary)), indent=2) + "\n",
    }


def _comparable(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: 0 if VARIES.search(key) else _comparable(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_comparable(one) for one in value]
    return round(value, 9) if isinstance(value, float) else value


if __name__ == "__main__":
    for path in SMOKE:
        with tempfile.TemporaryDirectory() as folder:
            for name, text in results(path, Path(folder) / "run").items():
                sys.stdout.write(f"{FOLDER / name}\n")
                (FOLDER / name).write_text(text, "utf-8")
