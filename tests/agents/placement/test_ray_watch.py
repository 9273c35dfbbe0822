"""A cluster is lost once one of its processes has not answered for too long."""

import socket
from itertools import count

from agents.placement.ray_watch import ClusterWatch


class Head:
    """The head of a cluster, and a clock."""

    def __init__(self) -> None:
        self.now = 0.0
        self.answers = True
        self.watch = ClusterWatch({"its head": "h:1"}, 60.0, probe=self._probe, clock=lambda: self.now)

    def _probe(self, endpoint: str, until: float) -> str:
        return "" if self.answers else f"{endpoint} refuses"

    def look(self, now: float, *, answers: bool) -> bool:
        """Let the watch look at this time; returns whether the cluster is lost."""
        self.now, self.answers = now, answers
        self.watch.look()
        return self.watch.lost.is_set()


def test_a_cluster_is_lost_once_its_head_has_not_answered_for_too_long() -> None:
    head = Head()
    assert not head.look(10.0, answers=True)
    assert not head.look(69.0, answers=False)
    assert head.look(70.0, answers=False)
    assert head.watch.why == "its head (h:1) has not answered for 60 s"


def test_a_short_silence_is_no_loss() -> None:
    head = Head()
    assert not head.look(59.0, answers=False)
    assert head.watch.silent() == "its head (h:1)"
    assert not head.look(61.0, answers=True)
    assert not head.look(120.0, answers=False)


def test_who_waits_for_a_silent_cluster_learns_whether_it_answers_again_or_is_lost() -> None:
    said, now = ["refused", "refused", ""], count(0.0, 10.0)
    watch = ClusterWatch({"its head": "h:1"}, 60.0, probe=lambda *_: said.pop(0), clock=lambda: next(now))
    assert watch.answers() and not said
    said = ["refused"] * 60
    assert not watch.answers() and watch.lost.is_set()
    left = len(said)
    assert 50 < left < 60
    assert not watch.answers() and len(said) == left, "what is lost is not asked again"


def test_a_process_that_listens_is_not_silent() -> None:
    with socket.create_server(("127.0.0.1", 0)) as head:
        assert ClusterWatch({"its head": f"127.0.0.1:{head.getsockname()[1]}"}).silent() == ""
