"""The problems of a class in class.db, so that neither `resume` nor `report` needs their source again.

They are written once; a class that is extended gets more of them.
"""

import sqlite3
from collections.abc import Sequence

from broker.work_messages import Exemplar
from scenarios.tasks.problems import Bank, Labelled, Problem, ProblemGroup

TAUGHT = "taught"
"""The part of the problems that are TPs with their EPs; the others are held_out, train, dev and test."""
LABELLED = ("train", "dev", "test")
COLUMNS = Problem.__struct_fields__


def write(db: sqlite3.Connection, bank: Bank) -> None:
    """Insert the problems that are not there yet; the caller holds the transaction."""
    begun = db.execute("SELECT 1 FROM source").fetchone() is not None
    groups: list[tuple[str, int, Sequence[Problem]]] = [
        (TAUGHT, item, (one.tp, *one.eps)) for item, one in enumerate(bank.items)
    ]
    single = {"held_out": bank.held_out}
    if bank.labelled:
        single |= {part: getattr(bank.labelled, part) for part in LABELLED}
        if db.execute("SELECT 1 FROM labelled").fetchone() is None:
            db.execute("INSERT INTO labelled VALUES (?, ?)", (bank.labelled.source, bank.labelled.description))
    groups += [(part, item, (one,)) for part, problems in single.items() for item, one in enumerate(problems)]
    if not begun:
        db.execute("INSERT INTO source VALUES (?)", (bank.source,))
    db.executemany(
        "INSERT INTO problem VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT(id) DO NOTHING",
        [
            (p.id, item, position, p.text, p.answer, p.form, p.solution, part, p.level, p.subject, p.program)
            for part, item, problems in groups
            for position, p in enumerate(problems)
        ],
    )
    if any(one.similarities for one in bank.items):  # a class.db of an earlier version lacks the table
        db.executemany(
            "INSERT INTO exam_similarity VALUES (?, ?, ?) ON CONFLICT(tp, rank) DO NOTHING",
            [(one.tp.id, rank, similarity) for one in bank.items for rank, similarity in enumerate(one.similarities)],
        )
    if db.execute("SELECT 1 FROM demonstration").fetchone() is None:
        db.executemany(
            "INSERT INTO demonstration(problem, rationale) VALUES (?, ?)",
            [(d.problem, d.rationale) for d in bank.demonstrations],
        )


def read(db: sqlite3.Connection, columns: Sequence[str]) -> Bank | None:
    """The problems; None: there are none yet. `columns`: SQL for COLUMNS, some of which an old class.db lacks."""
    source = db.execute("SELECT text FROM source").fetchone()
    if source is None:
        return None
    parts: dict[str, dict[int, list[Problem]]] = {}
    for part, item, *problem in db.execute(
        f"SELECT part, item, {', '.join(columns)} FROM problem ORDER BY item, position"  # noqa: S608 - our own names
    ):
        parts.setdefault(part, {}).setdefault(item, []).append(Problem(*problem))
    single = {part: tuple(one for (one,) in items.values()) for part, items in parts.items() if part != TAUGHT}
    labelled = db.execute("SELECT source, description FROM labelled").fetchone()
    near = _similarities(db)
    demonstrations = db.execute("SELECT problem, rationale FROM demonstration ORDER BY seq")
    return Bank(
        source=source[0],
        items=tuple(
            ProblemGroup(tp, tuple(eps), tuple(near.get(tp.id, ()))) for tp, *eps in parts.get(TAUGHT, {}).values()
        ),
        demonstrations=tuple(Exemplar(*row) for row in demonstrations),
        held_out=single.get("held_out", ()),
        labelled=Labelled(*labelled, *(single.get(part, ()) for part in LABELLED)) if labelled else None,
    )


def _similarities(db: sqlite3.Connection) -> dict[str, list[float]]:
    """By TP, the similarities of its retrieved EPs."""
    if db.execute("SELECT 1 FROM sqlite_schema WHERE name = 'exam_similarity'").fetchone() is None:
        return {}  # a class.db of an earlier version
    found: dict[str, list[float]] = {}
    for tp, similarity in db.execute("SELECT tp, similarity FROM exam_similarity ORDER BY tp, rank"):
        found.setdefault(tp, []).append(similarity)
    return found
