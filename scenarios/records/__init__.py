"""What a class knows, as plain data: made by levels, read by scores, reports and the monitor."""
