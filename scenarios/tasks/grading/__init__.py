"""Finds answers in texts and decides whether they are right."""
