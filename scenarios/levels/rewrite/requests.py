"""The requests with which rationales are rewritten, and the messages that they stand for.

Ids are made of a TR's text and not of its request, since several requests may draw the same text. When something is
asked is decided in level.py.
"""

from collections.abc import Sequence
from typing import NamedTuple

from broker.protocol import digest
from broker.work_messages import Exemplar, Reflect, Revise
from scenarios.levels.asker import Asker
from scenarios.levels.base import Request, Setup, TextOf
from scenarios.levels.iterate.requests import LEVEL, RUN, RejectedText, WritingRequests
from scenarios.records.iterate import FailureCase
from scenarios.tasks.problems import Problem

TASK = "Solve problems of the kind that the example shows."
"""Describes the exams to the teacher, whatever their problems are."""


class Original(NamedTuple):
    """A TR that is rewritten."""

    tp: Problem
    id: str
    """Its request id."""
    key: str
    """Digest of its text."""


class RewriteRequests(WritingRequests):
    """The requests of a class that rewrites rationales.

    Args:
        setup: what the level is made from.
    """

    def __init__(self, setup: Setup) -> None:
        scenario, bank = setup.scenario, setup.bank
        teacher, settings = scenario.teacher.name, scenario.iterate
        texts = {problem.id: problem.text for problem in bank.problems}
        super().__init__(Asker(setup, LEVEL), settings, teacher, TASK, texts)
        self._demonstrations = bank.demonstrations
        parts = (setup.answerer(teacher), settings.writing, scenario.seed, TASK, bank.demonstrations)
        self._keys = {kind: digest(kind, "rationale", *parts) for kind in ("Reflect", "Revise")}

    def reflect(
        self, original: Original, failures: Sequence[FailureCase], rejected: RejectedText | None = None
    ) -> Request:
        """Ask what misled the student of these failures."""
        reasons = self._settings.reasons
        key = digest(self._keys["Reflect"], *_parts(original, failures), reasons, rejected)
        return self._write_about(Reflect, key, original, failures, rejected, 0, reasons=reasons)

    def revise(
        self, original: Original, failures: Sequence[FailureCase], reasons: tuple[str, ...], repeat: int
    ) -> Request:
        """Ask for a solution that does not mislead the student of these failures."""
        key = digest(self._keys["Revise"], *_parts(original, failures), reasons)
        problem, shown = original.tp.text, self._demonstrations
        return self._write_about(
            Revise, key, original, failures, None, repeat, reasons=reasons, problem=problem, demonstrations=shown
        )

    def _write_about(
        self,
        message_type: type[Reflect] | type[Revise],
        key: str,
        original: Original,
        failures: Sequence[FailureCase],
        rejected: RejectedText | None,
        repeat: int,
        **fields: object,
    ) -> Request:
        def material(text_of: TextOf) -> tuple[Exemplar, ...]:
            return (Exemplar(original.tp.text, text_of(original.id)),)

        return self._write(
            message_type,
            key,
            original.tp.form,
            material,
            failures,
            rejected,
            fields,
            tp=original.tp.id,
            tr=original.id,
            round=1,
            repeat=repeat,
            step=RUN,  # a retried request takes no other slot's repeat
        )


def _parts(original: Original, failures: Sequence[FailureCase]) -> tuple[object, ...]:
    return original.tp.text, original.tp.form, original.key, tuple(failure.exam for failure in failures)
