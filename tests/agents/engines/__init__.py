"""Tests of agents/engines."""
