import logging
from pathlib import Path

from broker.logs import BURST, MAX_WINDOW_S, WINDOW_S, RepeatFilter


class Log:
    """A log file with a clock that a test sets."""

    def __init__(self, path: Path) -> None:
        self.now = 0.0
        self._path = path
        self._log = logging.Logger("test")
        self.handler = logging.FileHandler(path)
        self.handler.addFilter(RepeatFilter(lambda: self.now))
        self._log.addHandler(self.handler)

    def repeat(self, times: int) -> None:
        for number in range(times):
            self._log.warning("the peer says %d", number)

    def once(self) -> None:
        self._log.warning("something else")

    def lines(self) -> list[str]:
        return self._path.read_text().splitlines()


def test_a_line_that_repeats_is_cut_short_and_others_are_not(tmp_path: Path) -> None:
    log = Log(tmp_path / "log")
    log.repeat(10 * BURST)
    log.once()
    *_, last, other = log.lines()
    assert len(log.lines()) == BURST + 1
    assert last == f"the peer says {BURST - 1} (more like this are left out for {WINDOW_S:.0f} s)"
    assert other == "something else"
    log.now += WINDOW_S
    log.repeat(1)
    assert log.lines()[-1] == f"the peer says 0 ({9 * BURST} more like this were left out before)"
    log.handler.close()


def test_a_log_hardly_grows_while_a_line_repeats_for_days(tmp_path: Path) -> None:
    log = Log(tmp_path / "log")
    for _ in range(2 * 24 * 60):
        log.repeat(2 * BURST)
        log.now += 60
    assert len(log.lines()) <= BURST * (2 * 24 * 3600 / MAX_WINDOW_S + 7)
    log.now += MAX_WINDOW_S
    log.repeat(1)
    log.now += MAX_WINDOW_S
    before = len(log.lines())
    log.repeat(BURST)
    log.now += WINDOW_S
    log.repeat(1)
    assert len(log.lines()) == before + BURST + 1, "after a quiet hour the window is short again"
    log.handler.close()
