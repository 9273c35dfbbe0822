"""A class as its records tell it: what reports, `show` and `export` are made from."""

import sqlite3
from collections.abc import Set
from typing import NamedTuple

from broker.errors import LbtError
from scenarios.config.schema import Scenario
from scenarios.levels.base import Outcome, Request
from scenarios.report.run_info import RunFacts
from scenarios.scoring.lbt import Same
from scenarios.store.sqlite import Store
from scenarios.tasks.problems import Bank

UNREADABLE = (LbtError, OSError, sqlite3.Error)
"""What is raised where the records of a class are damaged, of another version, or closed to this user."""


class RecordedClass(NamedTuple):
    """The recorded results of a run, fed to a new level."""

    scenario: Scenario
    bank: Bank
    store: Store
    """Open for reading."""
    outcome: Outcome
    due: tuple[Request, ...]
    """What has no result yet."""
    facts: RunFacts
    same: Same
    """Whether two answers are equivalent."""
    asked: Set[str]
    """Request ids of the results that are used. The store may have more: after `--retry-failed` a repair or an invented
    exam problem may take the place of what was examined before."""
