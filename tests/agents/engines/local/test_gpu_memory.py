"""An agent's share of a GPU; torch's view of the memory is faked, since no test may need a GPU."""

import pytest
import torch

from agents.engines.arguments import TransformersOptions
from agents.engines.local import gpu_memory
from agents.engines.local.engine import cache_sizes
from agents.engines.local.gpu_memory import take_share

CUDA = torch.device("cuda:0")


@pytest.fixture
def shares(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    taken: list[float] = []
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", lambda share, device: taken.append(share))
    monkeypatch.setattr(gpu_memory, "POLL_S", 0.0)
    return taken


def test_an_agent_waits_until_its_share_is_free_and_takes_no_more(
    shares: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    free = iter([10, 40, 60])
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (next(free), 100))
    take_share(CUDA, 0.5)
    assert shares == [0.5]
    assert next(free, None) is None


def test_memory_that_stays_taken_is_said_and_the_agent_goes_on(
    shares: list[float], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(gpu_memory, "WAIT_S", -1.0)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (10 * 10**9, 100 * 10**9))
    take_share(CUDA, 0.5)
    assert "10.0 GB are free on cuda:0, and 50.0 GB are this agent's" in caplog.text


def test_other_devices_and_an_undecided_share_are_left_alone(shares: list[float]) -> None:
    take_share(torch.device("cpu"), 0.5)
    take_share(CUDA, 0.0)
    assert shares == []


@pytest.mark.parametrize(("share", "sizes"), [(0.0, (24, 6)), (0.3, (4, 1)), (0.1, (0, 0))])
def test_caches_without_a_plan_fit_into_the_share(
    share: float, sizes: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A GPU of 100 MB has 60 free, and the model takes 20."""
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (60 * 10**6, 100 * 10**6))
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 20 * 10**6)
    assert cache_sizes(CUDA, 0, TransformersOptions(), share) == sizes
