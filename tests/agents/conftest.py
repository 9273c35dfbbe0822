from collections.abc import Iterator

import pytest

from tests.agents import openai_server


@pytest.fixture
def server() -> Iterator[openai_server.Server]:
    with openai_server.running() as told:
        yield told
