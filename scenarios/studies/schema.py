"""The schema of study files. docs/studies.md explains each entry; scenarios/studies/load.py reads files."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from scenarios.config.published import PublishedShares
from scenarios.config.schema import Name
from scenarios.config.section import Section


class Published(PublishedShares, frozen=True, kw_only=True):
    """One row of published results, which the report prints beside those of the study."""

    where: dict[str, Any] = msgspec.field(default_factory=dict)
    """The values of crossed factors in the row's cells, such as `{teacher: gpt-4o}`; of a section, its model or family.
    Default: all cells."""
    lineup: str
    """The name of a line-up."""


class Study(Section, frozen=True, kw_only=True):
    """The whole file."""

    study: Name
    """The name of the study, which names its folder."""
    base: str
    """The scenario that all classes begin with, relative to the study file."""
    set: dict[str, Any] = msgspec.field(default_factory=dict)
    """Entries of the scenario that differ from the base in every class, such as `task.problems: 60`."""
    students: Annotated[tuple[dict[str, Any], ...], Meta(min_length=1)] | None = None
    """The students of every class, as in a scenario: everyone who takes exams in any line-up. Default: those of the
    base."""
    lineups: Literal["all"] | dict[str, Any] = "all"
    """Named line-ups, each a list of students' names; `all`: every subset, named `a+b`."""
    cross: dict[str, Any] = msgspec.field(default_factory=dict)
    """Factors with their values. A factor is the path of an entry, such as `lesson.sampling.temperature`, or `teacher`
    (its model) or `task` (its family); a value may also be a section, such as `{model: ..., persona: ...}`."""
    seeds: Annotated[tuple[int, ...], Meta(min_length=1)] | None = None
    """The seeds; every combination of factors runs with each. Default: the seed of the base."""
    primary: tuple[str, ...] = ()
    """The comparisons that the study is for, such as `mixed - copies`, named before it runs: a line-up (its MAX, or
    `mixed.sum`) or a method of summary.json on each side. Their p-values are corrected together (Holm)."""
    extended: tuple[str, ...] = ()
    """What `extend` changed in all classes since the study began, each KEY.PATH=VALUE; only `extend` writes it."""
    published: tuple[Published, ...] = ()
    """Published results to print beside those of the study."""
