"""The levels of learning by teaching, as state machines."""
