"""Specs of agents for tests."""

from typing import Any

import msgspec

from agents.spec import AgentSpec

BASE = "b" * 64
"""Digest of the base weights."""
SPEC = AgentSpec(
    name="ada",
    pool="ada",
    role="teacher",
    endpoint="",
    model="m",
    weights=BASE,
    engine="voice",
    seed=0,
    device="",
    prompts="1",
)


def agent_spec(**changes: Any) -> AgentSpec:
    return msgspec.structs.replace(SPEC, **changes)
