"""Corrects what results say that they are about and for; the caller holds the transaction."""

import sqlite3
from collections.abc import Mapping


def name_first_twins(db: sqlite3.Connection) -> None:
    """Make every result about one of several identical TRs of a TP name the first of them by repeat."""
    twins = db.execute(
        "SELECT first, request_id FROM ("
        "  SELECT request_id, first_value(request_id) OVER ("
        "    PARTITION BY tp, text ORDER BY level, round, stage = 'probe', repeat, request_id) AS first"
        "  FROM result WHERE kind IN ('Teach', 'Revise') AND stage IN ('teach', 'probe', 'write') AND tp <> ''"
        "  AND failed = '') WHERE first <> request_id"
    ).fetchall()
    # The index on tr leaves out rows without one.
    db.executemany("UPDATE result SET tr = ? WHERE tr = ? AND tr <> ''", twins)


def name_stages(db: sqlite3.Connection, stages: Mapping[str, str]) -> None:
    """Say what results are for now, by request id."""
    db.executemany("UPDATE result SET stage = ? WHERE request_id = ?", [(stage, id) for id, stage in stages.items()])
