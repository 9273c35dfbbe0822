"""Runs programs that a model wrote, apart from everything else on this machine (docs/sandbox.md)."""
