"""Phrases that readers stumble over stand nowhere in the product's code and documents.

To ban another phrase, add it to BANNED and rewrite the sentences that hold it.
"""

import re
from pathlib import Path

import pytest

from tests import classes

BANNED = (
    "what is told",  # the configuration, the message
    "who is there",  # which agents are connected
    "taken for dead",  # considered dead
    "(is|are|was|were) born",  # starts, is created
    "the door to",  # the entry point of
    "let in",  # admitted, accepted
    "hears of",  # is told about, receives
    "is away",  # is stopped, is missing
    "what comes of",  # the result of
)

SUFFIXES = {".py", ".md", ".yaml", ".sql"}
FOLDERS = ("agents", "broker", "scenarios", "docs")
FILES = [path for folder in FOLDERS for path in sorted((classes.ROOT / folder).rglob("*")) if path.suffix in SUFFIXES]
FILES += [classes.ROOT / "run.py", *sorted(classes.ROOT.glob("*.md"))]


def phrases(text: str) -> list[str]:
    """The banned phrases in `text`, also those that a line break divides."""
    words = re.sub(r"\s+(#\s+)?", " ", text)
    return [found[0] for phrase in BANNED for found in re.finditer(rf"\b{phrase}\b", words, re.IGNORECASE)]


def test_a_phrase_is_found_across_a_line_break() -> None:
    assert phrases("    # This is what\n    # is told to it.") == ["what is told"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(classes.ROOT)))
def test_no_banned_phrase_stands_in_code_or_documents(path: Path) -> None:
    assert not phrases(path.read_text("utf-8"))
