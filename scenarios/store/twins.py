"""Identical TRs of one TP: which of them the results about them name."""

import sqlite3


def name_first(db: sqlite3.Connection) -> None:
    """Make every result about one of several identical TRs of a TP name the first of them by repeat.

    Until then it names the one that arrived first, which differs from run to run. The caller holds the transaction.
    """
    twins = db.execute(
        "SELECT first, request_id FROM ("
        "  SELECT request_id, first_value(request_id) OVER ("
        "    PARTITION BY tp, text ORDER BY level, round, stage = 'probe', repeat, request_id) AS first"
        "  FROM result WHERE kind IN ('Teach', 'Revise') AND stage IN ('teach', 'probe', 'write') AND tp <> ''"
        "  AND failed = '') WHERE first <> request_id"
    ).fetchall()
    # The index on tr leaves out rows without one.
    db.executemany("UPDATE result SET tr = ? WHERE tr = ? AND tr <> ''", twins)
