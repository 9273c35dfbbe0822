"""The environment of child processes: the variables of this process, without secrets.

A variable is a secret if its name marks it as one (`OPENAI_API_KEY`, `HF_TOKEN`), if it belongs to a service that no
child calls (`AWS_PROFILE`), or if its value is an address with a password. All other variables are passed on, since
drivers, compilers and libraries read more of them than a list could name. A child gets only the secrets
that its start names.
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
"""Proxies are passed on even with a password: every child that calls a server needs them."""


def is_secret(name: str, value: str = "") -> bool:
    """Whether a variable is a secret, so a child gets it only if its start names it."""
    if PROXY_NAME.search(name):
        return False
    return bool(SECRET_NAME.search(name) or PASSWORD_IN_ADDRESS.search(value))


def child_environment(added: Mapping[str, str], secrets: Collection[str] = ()) -> dict[str, str]:
    """The environment of a child process.

    Args:
        added: variables to set; they replace those of this process.
        secrets: names of the secrets that the child needs.
    """
    passed_on = {name: value for name, value in os.environ.items() if name in secrets or not is_secret(name, value)}
    return passed_on | dict(added)
