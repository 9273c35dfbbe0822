"""The environment of child processes: this process's own, without the secrets in it.

A secret is a variable whose name says so (`OPENAI_API_KEY`, `HF_TOKEN`), that belongs to a service that no child calls
(`AWS_PROFILE`), or whose value is an address with a password. Other variables are passed on: drivers, compilers and
libraries read far more of them than a list could name. A child gets a secret only where its start names it.
"""

import os
import re
from collections.abc import Collection, Mapping

SECRET_NAME = re.compile(
    r"(KEYS?|TOKEN|PASS|AUTH|BEARER|COOKIE|JWT|_PAT|_PWD|_DSN)(_?ID|_?\d+)?$"
    r"|SECRET|PASSW|PASSPHRASE|CREDENTIAL|^(AWS|OPENAI|AZURE_OPENAI)_|^SSH_AUTH_SOCK$",
    re.IGNORECASE,
)
PASSWORD_IN_ADDRESS = re.compile(r"://[^/\s@]*:[^/\s@]+@")
PROXY_NAME = re.compile(r"_proxy$", re.IGNORECASE)
"""Proxies may need a password, and every child that calls a server needs the proxy."""


def is_secret(name: str, value: str = "") -> bool:
    """Whether no child gets this variable unless its start names it."""
    if PROXY_NAME.search(name):
        return False
    return bool(SECRET_NAME.search(name) or PASSWORD_IN_ADDRESS.search(value))


def child_environment(added: Mapping[str, str], secrets: Collection[str] = ()) -> dict[str, str]:
    """The environment of a child process.

    Args:
        added: set in the child, whatever this process has.
        secrets: names of those secrets of this process that the child needs.
    """
    passed_on = {name: value for name, value in os.environ.items() if name in secrets or not is_secret(name, value)}
    return passed_on | dict(added)
