"""Sources of problems and texts: files, generators, data sets."""
