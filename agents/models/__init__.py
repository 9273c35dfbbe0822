"""Model folders: names, downloads, conversions, digests, and the weights that trainings make."""
