"""Tests of scenarios/scoring."""
