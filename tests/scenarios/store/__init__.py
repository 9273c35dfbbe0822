"""Tests of scenarios/store."""
