"""No change of the code may change a request id or a figure of the smoke scenarios unless it is meant to."""

from pathlib import Path

import pytest

from tests import golden


@pytest.mark.parametrize("scenario", golden.SMOKE, ids=lambda path: path.stem)
def test_a_smoke_scenario_asks_the_same_requests_and_has_the_same_summary_as_before(
    scenario: Path, tmp_path: Path
) -> None:
    for name, text in golden.results(scenario, tmp_path / "run").items():
        assert text == (golden.FOLDER / name).read_text("utf-8"), f"{name}: tests/golden.py says how to record it again"
