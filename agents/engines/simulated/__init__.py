"""The simulated engine: a model of a class, not of a language."""
