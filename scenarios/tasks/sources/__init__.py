"""Where problems come from: files, generators, data sets."""
