"""Tests of agents/training."""
