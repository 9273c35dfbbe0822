"""Static charts: Vega-Lite specifications that vl-convert draws as SVG while the page is written.

The browser gets no chart library. Colours are CSS variables of page.css, so one drawing serves light and dark. Every
chart is drawn twice, for a wide and for a narrow screen, and carries the table of its numbers.
"""

import html
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from markupsafe import Markup

from scenarios.report.page import vega_lite
from scenarios.report.page.chart_data import THIN, Chart, Dot, PageTable, Point, Span, typeset

HOVER = re.compile(r'(<(?:path|line|rect|text)\b[^>]*?) aria-label="([^"]*)"([^>]*?)(/>|>)')
UNUSED = re.compile(r' (?:role|aria-roledescription|aria-label|aria-hidden|font-family)="[^"]*"')
EMPTY_PATH = re.compile(r'<path class="(?:background|foreground)"[^>]*/>')
FOREIGN = ' xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" version="1.1"'


def dot_plot(
    title: str,
    dots: Sequence[Dot],
    table: PageTable,
    *,
    domain: tuple[float, float] = (0.0, 1.0),
    reference: float | None = None,
    headings: Sequence[str] = (),
    unit: str = "%",
    bars: bool = False,
    note: str = "",
) -> Chart:
    """A horizontal dot plot with 95 % intervals, one row for each dot.

    Args:
        title: What it shows.
        dots: From top to bottom.
        table: The same numbers.
        domain: Ends of the x axis.
        reference: A thin vertical line, such as no difference.
        headings: Of the columns of text.
        unit: "%": values are shares. "points": differences of shares. Else: the plain number, of this unit.
        bars: Whether a bar leads from 0 to each dot.
        note: Sentences below.
    """
    return _chart(title, partial(vega_lite.dot_spec, dots, domain, reference, headings, unit, bars), table, note)


def line_chart(
    title: str,
    points: Sequence[Point],
    table: PageTable,
    *,
    x: str,
    y: str,
    share: bool = False,
    log: bool = False,
    palette: Mapping[str, str] | None = None,
    note: str = "",
) -> Chart:
    """Lines over steps, rounds or sizes, each with its name at its end, and its intervals where there are any.

    Args:
        title: What it shows.
        points: Of all lines.
        table: The same numbers.
        x: Title of the x axis.
        y: Title of the y axis.
        share: Whether y is a share.
        log: Whether the x axis is logarithmic; then all x are above 0.
        palette: By line, its colour; then intervals are bands, else bars.
        note: Sentences below.
    """
    return _chart(title, partial(vega_lite.line_spec, points, x, y, share, log, palette), table, note)


def time_line(title: str, spans: Sequence[Span], table: PageTable, states: Mapping[str, str], note: str = "") -> Chart:
    """Bars over time in seconds, a row for each agent; `states` has the colour of each state."""
    return _chart(title, partial(vega_lite.span_spec, spans, states), table, note)


def _chart(title: str, spec: Callable[..., dict[str, Any]], table: PageTable, note: str = "") -> Chart:
    return Chart(title, draw(spec(wide=True), title), draw(spec(wide=False), title), table, note)


def draw(spec: Mapping[str, Any], title: str) -> Markup:
    """Draw a Vega-Lite specification. A mark's `description` is shown when the pointer rests on it."""
    import vl_convert

    svg = str(
        vl_convert.vegalite_to_svg(
            {**spec, "config": vega_lite.CONFIG, "background": None, "padding": vega_lite.PADDING}, vl_version="6.1"
        )
    )
    # Nothing but the description of marks is left to assistive technology: the table has the numbers.
    svg = HOVER.sub(_titled, EMPTY_PATH.sub("", svg))
    svg = UNUSED.sub("", svg).replace(FOREIGN, "", 1)
    svg = svg.replace(" %", f"{THIN}%")
    # vl-convert has escaped what is in the drawing.
    return Markup(svg.replace("<svg", f'<svg role="img" aria-label="{html.escape(title)}"', 1))  # noqa: S704


def _titled(mark: re.Match[str]) -> str:
    """A mark with its description as its title; axes have descriptions, too, and `g` for their element."""
    begin, said, rest, end = mark.groups()
    name = begin[1:].split(" ", 1)[0]
    if 'role="graphics-symbol"' not in begin + rest:
        return f"{begin}{rest}{end}"
    close = f"</{name}>" if end == "/>" else ""
    return f"{begin}{rest}><title>{typeset(said)}</title>{close}"
