"""Tests of scenarios/report."""
