"""report.html: one file that shows a class to a reader, made from its records alone."""

PAGE = "report.html"
"""Name of the page in the folder of a class or of a study."""
