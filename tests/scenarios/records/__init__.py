"""Tests of scenarios/records."""
