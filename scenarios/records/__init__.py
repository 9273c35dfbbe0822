"""Records of a class as plain data: made by levels, read by scores, reports and the monitor."""
