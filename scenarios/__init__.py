"""The classroom: what is asked in a class and in which order, how answers are graded, and what is recorded."""
