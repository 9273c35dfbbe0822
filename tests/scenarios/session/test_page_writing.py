"""A page that cannot be written costs nothing else."""

from pathlib import Path

import pytest

from scenarios.report.page import write
from scenarios.session.page_writing import write_run_page
from tests.scenarios.report.page.played import play, written


def test_an_error_in_the_page_is_said_in_a_line_and_leaves_the_last_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = play(tmp_path / "run")
    page = written(folder)
    before = page.read_bytes()

    def fails(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device", str(page))

    monkeypatch.setattr(write, "write_class_page", fails)
    scenario = folder.scenario()
    said = write_run_page(folder, scenario, folder.rebuild(scenario))
    assert "report.html is not written" in said and "No space left" in said and f"report {folder}" in said
    assert len(said.splitlines()) == 2
    assert page.read_bytes() == before
    assert "Traceback" in (folder.logs / "run.log").read_text()


def test_the_same_records_make_the_same_page(tmp_path: Path) -> None:
    folder = play(tmp_path / "run")
    assert written(folder).read_bytes() == written(folder).read_bytes()
