"""Models: names, downloads, conversions, digests, and trained weights."""
