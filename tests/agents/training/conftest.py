from pathlib import Path

import pytest

from tests.agents.training.training_at_hand import model


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny model."""
    return model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def on_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LBT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("LBT_DEVICE", "cpu")
