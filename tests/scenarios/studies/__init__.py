"""Tests of scenarios/studies."""
