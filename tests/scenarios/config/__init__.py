"""Tests of scenarios/config."""
