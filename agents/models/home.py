"""A home folder and a name for agents whose user has none, as in containers that run under a random user id.

Libraries ask for both: torch, vLLM and Triton keep caches below the home folder, or in one that has the user's name.
"""

import getpass
import os

from agents.models.weights import cache_folder


def home_env() -> dict[str, str]:
    """The environment of a process that loads a model: where models are kept, and what the user lacks.

    Raises:
        ModelError: there is no folder for models either.
    """
    cache = cache_folder()
    # In full: a child has another current folder.
    env = {"LBT_CACHE": str(cache)}
    try:
        getpass.getuser()
    except (KeyError, OSError):
        env["USER"] = f"uid{os.getuid()}"
    home = os.path.expanduser("~")
    if not (os.path.isabs(home) and os.access(home, os.W_OK)):
        env["HOME"] = str(cache)
    return env
