"""Prints reports for tests."""

import io

from rich.console import Console, Group, RenderableType


def printed(*parts: RenderableType, width: int = 80) -> str:
    """What a report prints, without colours."""
    file = io.StringIO()
    Console(file=file, width=width).print(Group(*parts))
    return file.getvalue()
