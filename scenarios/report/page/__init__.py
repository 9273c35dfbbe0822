"""report.html: one file that shows a class to a reader, made from its records alone."""
