"""The simulated engine: an item response model in place of a language model."""
