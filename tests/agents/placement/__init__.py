"""Tests of agents/placement."""
