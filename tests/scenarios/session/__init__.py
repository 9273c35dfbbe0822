"""Tests of scenarios/session."""
