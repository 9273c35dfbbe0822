"""The few names that the engine imports of vLLM while it runs, for tests without vLLM."""

import sys
from types import ModuleType
from typing import Any

import pytest


class Dead(Exception):
    """The core has died."""


def install(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Put modules in vLLM's place; return the one that starts it."""
    modules: dict[str, dict[str, Any]] = {
        "vllm": {},
        "vllm.lora": {},
        "vllm.lora.request": {"LoRARequest": lambda *args: args},
        "vllm.exceptions": {"VLLMClientError": type("Refused", (Exception,), {})},
        "vllm.v1": {},
        "vllm.v1.engine": {},
        "vllm.v1.engine.exceptions": {"EngineDeadError": Dead, "EngineGenerateError": type("Failed", (Exception,), {})},
        "vllm.v1.engine.async_llm": {"AsyncLLM": None},
        "vllm.engine": {},
        "vllm.engine.arg_utils": {"AsyncEngineArgs": lambda **args: args},
    }
    for name, content in modules.items():
        made = ModuleType(name)
        vars(made).update(content)
        monkeypatch.setitem(sys.modules, name, made)
    return sys.modules["vllm.v1.engine.async_llm"]
