"""Tests of scenarios/monitor."""
