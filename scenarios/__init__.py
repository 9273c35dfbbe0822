"""WHAT HAPPENS in a class."""
