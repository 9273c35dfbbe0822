"""The acceptance run on a GPU: python -m tests.gpu."""
