"""Tests of scenarios/levels."""
