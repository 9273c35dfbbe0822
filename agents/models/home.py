"""Home folder and user name for processes of a user without them, as in containers with a random user id.

torch, vLLM and Triton keep caches in the home folder, or in a folder with the user's name.
"""

import getpass
import os

from agents.models.weights import cache_folder


def home_env() -> dict[str, str]:
    """Return the environment of a process that loads a model: the model cache, and what the user lacks.

    Raises:
        ModelError: there is no folder for models.
    """
    cache = cache_folder()
    # An absolute path, since a child has another current folder.
    env = {"LBT_CACHE": str(cache)}
    try:
        getpass.getuser()
    except (KeyError, OSError):
        env["USER"] = f"uid{os.getuid()}"
    home = os.path.expanduser("~")
    if not (os.path.isabs(home) and os.access(home, os.W_OK)):
        env["HOME"] = str(cache)
    return env
