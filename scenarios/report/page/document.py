"""Puts a page together: template, style, script and data in one file that loads nothing from elsewhere.

The Content-Security-Policy allows the style and the script of this file by their digests, and nothing else. Where the
texts stand in a folder beside the page, `strict-dynamic` lets the script of the page, and nothing else, add scripts:
a browser refuses to fetch a file beside a page that was opened from a disk. The page of a study shows those of its
classes in frames: where it was opened from a disk, not every browser counts files as of its own origin ('self').
"""

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path

import jinja2
import msgspec
from markupsafe import Markup

from scenarios.report.formatting import percent
from scenarios.report.page.chart_data import typeset

ASSETS = Path(__file__).with_name("assets")
DATA_ESCAPES = str.maketrans({"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"})


def document(
    template: str,
    data: object,
    *,
    scripts: Sequence[str] = (),
    adds_scripts: bool = False,
    frames: bool = False,
    **context: object,
) -> bytes:
    """The bytes of a page.

    Args:
        template: A file of assets/ that extends page.html.j2.
        data: What the script of the page reads, as JSON.
        scripts: Files of assets/ that follow page.js.
        adds_scripts: Whether it loads texts from the folder beside the page.
        frames: Whether it shows other pages of its folder in frames.
        context: What the template shows. All strings are escaped, whoever wrote them.
    """
    style, script = _read("page.css"), "".join(map(_read, ("page.js", *scripts)))
    allowed = f"'sha256-{_digest(script)}'" + (" 'strict-dynamic'" if adds_scripts else "")
    policy = (
        f"default-src 'none'; script-src {allowed}; style-src 'sha256-{_digest(style)}'; "
        "base-uri 'none'; form-action 'none'" + ("; frame-src 'self' file:" if frames else "")
    )
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(ASSETS),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": lambda share: typeset(percent(share)), "sentence": typeset}
    page = environment.get_template(template).render(
        policy=policy,
        # Files of this program, and JSON without a character that ends a script.
        style=Markup(style),  # noqa: S704
        script=Markup(script),  # noqa: S704
        data=Markup(as_data(data)),  # noqa: S704
        **context,
    )
    return page.encode("utf-8", "replace")


def as_data(data: object) -> str:
    """JSON that can stand in a script element: nothing in it ends the element or begins another."""
    text = msgspec.json.encode(data).decode("utf-8")
    return text.translate(DATA_ESCAPES)


def _read(name: str) -> str:
    return (ASSETS / name).read_text("utf-8")


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
