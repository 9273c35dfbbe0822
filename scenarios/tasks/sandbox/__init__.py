"""Runs programs that a model wrote, apart from everything else on this machine (docs/sandbox.md)."""

from scenarios.tasks.sandbox.outcome import CallOutcome as Outcome
from scenarios.tasks.sandbox.outcome import ProgramLimits as Limits
from scenarios.tasks.sandbox.outcome import SandboxError
from scenarios.tasks.sandbox.pool import Sandbox, available

__all__ = ["Limits", "Outcome", "Sandbox", "SandboxError", "available"]
