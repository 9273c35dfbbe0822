"""What the live monitor costs beside a class of level 3 of the paper's size: its share of one core.

Beside the gradebook it follows the level itself, which tells what a round came to. Another process goes on playing
the class at the pace at which agents answer. Part of the benchmark `monitor`.
"""

import io
import multiprocessing
import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from unittest import mock

from rich.console import Console

from scenarios.config.schema import Scenario
from scenarios.monitor.monitor import Monitor
from scenarios.store.sqlite import Store
from scenarios.tasks.problems import Bank, Labelled
from tests.scenarios.levels import iterated
from tests.scenarios.levels.iterated import part
from tests.scenarios.monitor import monitored_course
from tests.scenarios.monitor.monitored import Source
from tests.scenarios.monitor.monitored_course import Played, course

RECORDS_PER_S = 150
GROUP = 30


def described() -> Scenario:
    """The paper's sizes: rounds of 4 sets x 64 items x 3 students, and 32 new sets x 200 items."""
    sizes = {"rounds": 5, "beam": 4, "minibatch": 64, "reflections": 4, "mistakes": 4, "revisions": 8}
    return course(3, ("ada", "bob", "carol"), **sizes, score_items=200)


def bank(_: Scenario) -> Bank:
    """300 items to learn from, 200 held out."""
    texts = Labelled("made up", "Is it so?", part("train", 300), part("dev", 100), part("test", 100))
    return Bank("made up", (), (), labelled=texts)


def unlike(draw: random.Random, _: int) -> str:
    """A set like hardly any other, so that there is as much to do as there can be."""
    texts = enumerate(draw.sample(range(10_000), 4), 1)
    return "\n\n".join(f"Example {n}\nText: made up {text}\nAnswer: {('Yes', 'No')[n % 2]}" for n, text in texts)


def play(folder: Path, there: int) -> None:
    """So many records at once, and then on and on."""
    with (
        mock.patch.object(iterated, "a_set", unlike),
        mock.patch.object(monitored_course, "bank", bank),
        Store(folder, write=True) as store,
    ):
        played = Played(store, described())
        played.play(there, group=200)
        (folder / "there").touch()
        while played.play(GROUP, group=GROUP):
            time.sleep(GROUP / RECORDS_PER_S)


def share(usage: Callable[[], tuple[float, float]], there: int, window: float) -> float:
    """Of one core, while the class goes on.

    Args:
        usage: seconds of the wall clock and of this process, so far.
        there: records at the beginning.
        window: seconds to measure for.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        writer = multiprocessing.get_context("spawn").Process(target=play, args=(folder, there), daemon=True)
        writer.start()
        console = Console(file=io.StringIO(), force_terminal=True, color_system="256", width=120, height=40)
        try:
            while not (folder / "there").exists():
                if not writer.is_alive():
                    raise RuntimeError("the class could not be played")
                time.sleep(0.2)
            with Monitor(folder, described(), Source(), "live", console=console):
                time.sleep(5)  # for the first reading
                wall, cpu = usage()
                time.sleep(window)
                wall, cpu = usage()[0] - wall, usage()[1] - cpu
        finally:
            writer.terminate()
            writer.join()
    return cpu / wall
