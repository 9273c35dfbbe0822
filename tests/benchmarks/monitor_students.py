"""What a frame of the monitor costs in a class of 1,000 students: at 4 frames a second, its share of one core.

The class is played into a gradebook with made-up answers. After each group of results the monitor reads them and draws
a terminal of 140 x 45 cells, in this process; the processor time of reading and that of drawing are measured apart.
"""

import io
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from broker.protocol import Gauges, PeerGauge
from scenarios.config import load
from scenarios.config.schema import Scenario
from scenarios.monitor.monitor import FRAME_S
from scenarios.monitor.reader import Reader
from scenarios.monitor.terminal import LiveScreen
from scenarios.session.run_dir import RunFolder
from scenarios.store.sqlite import Store
from tests.benchmarks import students
from tests.benchmarks.analysis import play

GROUP = 1000
"""Results between two frames: 4,000 a second."""
FIRST = 3
"""Frames before those that count: the first ones load modules and lay out everything."""


def gauges(described: Scenario, n: int) -> Gauges:
    """Gauges that differ in every frame."""
    peers = tuple(
        PeerGauge(
            name=agent.name, role="student" if at else "teacher", pool=agent.name, model="simulated",
            engine="simulated", device="CPU, 1 thread", state="ready", credit=16, leases=(n + at) % 17, finished=20 * n,
            prompt_tokens=1000 * n, cached_tokens=600 * n, completion_tokens=(400 + at) * n, memory_mb=35.0,
        )
        for at, agent in enumerate(described.agents)
    )  # fmt: skip
    return Gauges(epoch="benchmark", peers=peers, queues={peer.pool: (n + 7 * peer.leases) % 50 for peer in peers})


def draw(screen: LiveScreen, reader: Reader, peers: Gauges, clock: float) -> None:
    """One frame."""
    screen.draw(reader.snapshot(peers, now=datetime.now(UTC), clock=clock, running=True))


def ms(action: Callable[[], object]) -> float:
    """Processor time of the action, in milliseconds."""
    begun = time.thread_time()
    action()
    return 1000 * (time.thread_time() - begun)


def run(quick: bool, seed: int) -> dict[str, Any]:
    reading: list[float] = []
    drawing: list[float] = []
    results = 0
    console = Console(
        file=io.StringIO(), force_terminal=True, color_system="256", width=students.WIDTH, height=students.HEIGHT
    )
    with tempfile.TemporaryDirectory() as name:
        described = load.read(students.scenario(Path(name), 50, 1 if quick else 5, 5, seed), ())
        folder = RunFolder(Path(name) / "run")
        groups = play(folder, described, GROUP)
        results += next(groups)
        with Store(folder.path) as store, LiveScreen(console, "q leaves; the class goes on") as screen:
            reader = Reader(store, described)
            for n, count in enumerate(groups):
                results += count
                reading.append(ms(reader.catch_up))
                drawing.append(ms(partial(draw, screen, reader, gauges(described, n), FRAME_S * n)))
    frame = statistics.median(drawing[FIRST:])
    return {
        "name": "monitor-students",
        "ratio": round(frame / 1000 / FRAME_S, 4),
        "goal": 0.1,
        "better": "lower",
        "detail": {
            "what": f"share of one core for {1 / FRAME_S:g} frames a second of a class of {len(described.students):,}",
            "frames": len(drawing),
            "cpu_ms_per_frame": round(frame, 2),
            "quartiles": [round(one, 2) for one in statistics.quantiles(drawing[FIRST:], n=4)],
            "most": round(max(drawing), 2),
            "reading_us_per_result": round(1000 * sum(reading) / results, 1),
        },
    }
