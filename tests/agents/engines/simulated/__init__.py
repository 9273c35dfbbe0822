"""Tests of agents/engines/simulated."""
