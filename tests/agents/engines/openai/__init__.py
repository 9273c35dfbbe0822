"""Tests of agents/engines/openai."""
