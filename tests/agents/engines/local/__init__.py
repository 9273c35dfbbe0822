"""Tests of agents/engines/local."""
