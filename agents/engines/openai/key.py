"""The key that is sent to a server, and the variables of the environment that are not."""

import contextlib
import os
from collections.abc import Iterator

from agents.engines.base import EngineStartError
from agents.engines.openai.options import ServerOptions


def read_key(options: ServerOptions) -> str:
    """The key; empty where none is wanted.

    Raises:
        EngineStartError: its variable is not set, or holds no key.
    """
    if not options.key_env:
        return ""
    key = os.environ.get(options.key_env, "").strip()
    if not key:
        raise EngineStartError(f"the environment variable {options.key_env} with the server's key (key_env) is not set")
    if not key.isascii() or not key.isprintable() or " " in key:
        raise EngineStartError(f"what the environment variable {options.key_env} holds is no key")
    return key


@contextlib.contextmanager
def without_library_variables() -> Iterator[None]:
    """Hide the variables that the library would read: it sends an organization, headers and a key from them."""
    hidden = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith("OPENAI_")}
    try:
        yield
    finally:
        os.environ.update(hidden)
