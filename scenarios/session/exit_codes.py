"""Exit codes of run.py, which scripts rely on."""

COMPLETE = 0
FAILED = 1
"""A class or a command failed; a class can be resumed."""
WRONG = 2
"""The scenario or the command is wrong; nothing was started."""
PARTLY = 3
"""The class is complete, but with failed requests or with an agent that gave only empty answers."""
INTERRUPTED = 130
