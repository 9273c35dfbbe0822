from pathlib import Path

from scenarios.report.spend import merged_in, spent_in


def test_each_process_keeps_what_it_spent_in_its_file_and_broken_files_are_left_out(tmp_path: Path) -> None:
    for name, text in (("ada", "0.5"), ("ada.2", "1e-05"), ("bob", "much"), ("cy", "nan"), ("d", "")):
        (tmp_path / f"spent-{name}").write_text(text)
    (tmp_path / ".spent-eve.99.partial").write_text("9")
    assert spent_in(tmp_path) == {"ada": 0.5, "ada.2": 1e-05}
    assert spent_in(tmp_path / "nowhere") == {}


def test_each_merged_adapter_has_a_file_with_the_dtype_of_the_weights(tmp_path: Path) -> None:
    assert merged_in(tmp_path) == {}
    (tmp_path / "weights" / "ab").mkdir(parents=True)
    (tmp_path / "weights" / "ab.merged").write_text("bfloat16")
    assert merged_in(tmp_path) == {"ab": "bfloat16"}
