"""Measurements: python -m tests.benchmarks NAME."""
