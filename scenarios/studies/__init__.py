"""Many classes from one file, and one comparison at the end."""
