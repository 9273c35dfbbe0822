"""Scenario files: schema, loading, validation and reference."""
