"""Scenario files: their schema, how they are read and checked, and their reference."""
