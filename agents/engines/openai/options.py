"""`engine_args` of an agent at an OpenAI-compatible server, and its key. Needs no heavy import."""

import ipaddress
import os
import re
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from agents.engines import arguments
from agents.engines.base import EngineStartError
from broker.environment import is_secret

Amount = Annotated[float, Meta(ge=0, le=1e9)]
Feature = Literal[
    "continuation",
    "prefill",
    "system",
    "top_k",
    "top_p",
    "temperature",
    "seed",
    "max_tokens",
    "stream",
    "stream_options",
]
"""Features that a server may lack; agents/engines/openai/capabilities.py has the substitutes."""
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class ServerOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`engine_args`. The budget limits what the agent asks, not what the server charges."""

    base_url: str
    """The server, up to and including /v1."""
    key_env: str = ""
    """Name of the environment variable with the key; empty: the server needs none."""
    allow_http: bool = False
    """Send the key unencrypted to a server on another machine."""
    max_parallel: Annotated[int, Meta(ge=1, le=1024)] = 8
    """Calls at once; `capacity` of the scenario can only lower it."""
    tokens_per_minute: Annotated[int, Meta(ge=0)] = 0
    """Prompt and completion tokens of this agent; 0: no limit."""
    timeout_s: Annotated[float, Meta(gt=0, le=86400)] = 120.0
    """A call is repeated if the server is silent for this long."""
    retries: Annotated[int, Meta(ge=0, le=100)] = 6
    """How often a failed call is repeated."""
    omit: tuple[Feature, ...] = ()
    """Features that are never sent, for servers that mishandle them without an error; refusals are detected anyway."""
    break_role_marks: bool = True
    """Put a space into role marks, such as <|im_end|>, in all texts; see role_marks.py."""
    price_per_million_prompt: Amount = 0.0
    """Price of a million prompt tokens, in any currency; cached tokens count in full."""
    price_per_million_completion: Amount = 0.0
    """Price of a million completion tokens, in the same currency."""
    budget: Amount = 0.0
    """Budget of this agent for the run, with resumed sessions, in that currency; 0: none."""
    ledger: str = ""
    """File with the amount spent; set by the run."""
    notes: str = ""
    """File with notes on the server for the summary; set by the run."""

    @property
    def host(self) -> str:
        """Host of the server, with the port if the address has one."""
        return urlsplit(self.base_url).netloc

    @property
    def priced(self) -> bool:
        """Whether calls have a price."""
        return self.price_per_million_prompt > 0 or self.price_per_million_completion > 0


def read_options(args: dict[str, Any]) -> ServerOptions:
    """Convert `engine_args` to options.

    Raises:
        EngineStartError: an unknown name, a value out of bounds, or an invalid address.
    """
    options = arguments.read(args, ServerOptions, set_by_run=("ledger", "notes"))
    if wrong := _mistake(options):
        name, message = wrong
        raise EngineStartError(message, key=("engine_args", name))
    return options


def read_key(options: ServerOptions) -> str:
    """Return the key of the server; empty if it needs none.

    Raises:
        EngineStartError: the variable is not set, or holds no key.
    """
    if not options.key_env:
        return ""
    key = os.environ.get(options.key_env, "").strip()
    if not key:
        raise EngineStartError(f"the environment variable {options.key_env} with the server's key (key_env) is not set")
    if not key.isascii() or not key.isprintable() or " " in key:
        raise EngineStartError(f"what the environment variable {options.key_env} holds is no key")
    return key


def _mistake(options: ServerOptions) -> tuple[str, str] | None:
    """Return the first wrong option, and why it is wrong."""
    try:
        url = urlsplit(options.base_url)
        port_is_wrong = url.port == 0
    except ValueError:
        return "base_url", "no address of a server; an example is http://127.0.0.1:8000/v1"
    if url.scheme not in ("http", "https") or not url.hostname or port_is_wrong or re.search(r"\s", options.base_url):
        return "base_url", "no address of a server; an example is http://127.0.0.1:8000/v1"
    if url.username is not None or url.query or url.fragment:
        # The scenario is copied into the run's folder, with any password or key in the address.
        return "base_url", "holds more than an address (user, password, ? or #); a key goes into key_env's variable"
    if options.key_env and not NAME.fullmatch(options.key_env):
        return "key_env", "needs the name of an environment variable, such as OPENAI_API_KEY; the key itself goes there"
    if options.key_env and not is_secret(options.key_env):
        # Secrets are recognised by name and kept from processes that do not need them.
        return "key_env", f"{options.key_env}: the name must end in KEY or TOKEN, so that no other process gets the key"
    if options.key_env and url.scheme == "http" and not options.allow_http and not is_loopback(url.hostname):
        return "base_url", (
            f"would send the key in {options.key_env} unencrypted to {options.host}: take https, or set "
            "allow_http: true if you trust the network on the way"
        )
    if options.budget and not options.priced:
        return "budget", "needs price_per_million_prompt or price_per_million_completion"
    return None


def is_loopback(host: str) -> bool:
    """Whether a host is this machine."""
    name = host.removesuffix(".")
    if name in ("localhost", "localhost.localdomain", "ip6-localhost") or name.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    # Servers report that they listen at 0.0.0.0, which as a target means this machine.
    mapped = getattr(address, "ipv4_mapped", None) or address
    return bool(mapped.is_loopback or mapped.is_unspecified)
