"""The folders that Python imports from. Imports nothing that is not loaded already: run.py calls it first of all."""

import os
import sys


def drop_relative(keep: str) -> None:
    """Take the relative folders in PYTHONPATH out of `sys.path`, but not `keep`.

    A PYTHONPATH such as `:/lib`, from a variable that was empty, has Python import from the user's current folder: a
    math_verify.py there would be run. Child processes start in the project's folder.
    """
    named = os.environ["PYTHONPATH"].split(os.pathsep) if os.environ.get("PYTHONPATH") else []
    relative = {os.path.abspath(path) for path in named if not os.path.isabs(path)} - {keep, *named}
    sys.path[:] = [path for path in sys.path if path not in relative]
