"""What the gradebook holds of trainings besides their results."""

from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from scenarios.store.sqlite import Store


class TrainingRecords(NamedTuple):
    """By the request of each training."""

    curves: Mapping[str, list[dict[str, float]]]
    """Its figures by step."""
    seconds: Mapping[str, float]
    """How long it took."""


def training_records(store: Store) -> TrainingRecords:
    """Read them. Of a step that was taken again after a crash, the last figures count."""
    steps: dict[str, dict[int, dict[str, float]]] = {}
    for event in store.events(kinds=["progress"]):
        request, step, _, figures = msgspec.json.decode(
            event.detail, type=tuple[str, int, int, dict[str, float | None]]
        )
        # A figure that is not a number, such as the loss of a training that diverged, is null.
        known = {name: value for name, value in figures.items() if value is not None}
        steps.setdefault(request, {})[step] = {"step": step, **known}
    rows = store.query("SELECT request_id, seconds FROM result WHERE kind = 'Train' AND failed = ''")
    return TrainingRecords(
        curves={request: [known for _, known in sorted(taken.items())] for request, taken in steps.items()},
        seconds=msgspec.convert(dict(rows), dict[str, float]),  # type: ignore[arg-type]
    )
