"""Tests of scenarios/tasks."""
