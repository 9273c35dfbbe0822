from pathlib import Path

from scenarios.report.spend import spent_in


def test_each_process_keeps_what_it_spent_in_a_file_of_its_own(tmp_path: Path) -> None:
    for name, text in (("ada", "0.5"), ("ada.2", "1e-05"), ("ada.new", "9"), ("bob", "much"), ("cy", "nan"), ("d", "")):
        (tmp_path / f"spent-{name}").write_text(text)
    assert spent_in(tmp_path) == {"ada": 0.5, "ada.2": 1e-05}
    assert spent_in(tmp_path / "nowhere") == {}
