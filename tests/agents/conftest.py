import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.agents.engines.openai import openai_server


@pytest.fixture
def server() -> Iterator[openai_server.Server]:
    with openai_server.running() as told:
        yield told


@pytest.fixture(scope="session")
def smollm2() -> Path:
    if folder := os.environ.get("LBT_TEST_MODEL"):
        return Path(folder)
    from agents.models.catalogue import ensure

    folder_: Path = ensure("smollm2-135m-instruct").folder
    return folder_
