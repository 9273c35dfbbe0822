"""WHO: the processes that teach and learn."""
