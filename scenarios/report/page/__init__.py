"""report.html: one file that shows a class to a reader, made from its records alone."""

import os
from pathlib import Path

PAGE = "report.html"
"""Name of the page in the folder of a class or of a study."""


def is_page(path: Path) -> bool:
    """Whether this file begins and ends as a page does."""
    first, last = b"<!doctype html>", b"</html>"
    try:
        with path.open("rb") as file:
            begins = file.read(len(first)) == first
            file.seek(-min(len(last) + 1, file.seek(0, os.SEEK_END)), os.SEEK_END)
            return begins and file.read().rstrip().endswith(last)
    except OSError:
        return False
