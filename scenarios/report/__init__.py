"""The summary of a run, and the tables and sentences that are printed of it."""
