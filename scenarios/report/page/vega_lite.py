"""Vega-Lite specifications of the charts, for a wide and for a narrow screen."""

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

from scenarios.report.page.chart_data import FAINT, GRID, INK, Dot, Point, Span, colours

ROW, NARROW_ROW = 28, 24
"""Height of a row of a dot plot, in pixels."""
WIDE, NARROW = 1090, 170
"""Width of a wide drawing, and of the plot itself in a narrow one, in pixels."""
CHARACTER = 7.5
"""Width of a character of a label, estimated."""
BESIDE = 420
"""Width of the plot of a line chart; two stand side by side."""
LINES = 180
"""Height of a line chart."""
TICKS = 12
"""A line chart with no more values of x has a tick at each."""
COLUMN = 90
"""Least width of a column of text right of a dot plot."""
LABEL = 190
NARROW_LABEL = 125
PADDING = {"left": 20, "right": 8, "top": 4, "bottom": 4}
"""vl-convert does not know the reader's font, in which labels may be longer."""
CONFIG: dict[str, Any] = {
    "view": {"stroke": None},
    "axis": {
        "labelColor": INK, "titleColor": FAINT, "titleFontWeight": "normal", "gridColor": GRID, "domainColor": FAINT,
        "tickColor": FAINT, "labelFontSize": 13, "titleFontSize": 13,
    },
    "legend": {"labelColor": INK, "titleColor": FAINT, "labelFontSize": 13},
    "text": {"color": INK, "fontSize": 13},
}  # fmt: skip


def _axis(unit: str, *, wide: bool) -> dict[str, Any]:
    expressions = {
        "%": "format(100 * datum.value, '.0f') + ' %'",
        "points": "datum.value == 0 ? '0' : format(100 * datum.value, '+.0f')",
    }
    title = {"%": None, "points": "percentage points"}.get(unit, unit)
    axis: dict[str, Any] = {"title": title, "tickCount": 5 if wide else 3}
    return axis | ({"labelExpr": expressions[unit]} if unit in expressions else {})


def _left_over(dots: Sequence[Dot], headings: Sequence[str]) -> int:
    """The width of the plot of a wide dot plot: what its labels and columns of text leave."""
    longest = max((len(dot.label) for dot in dots), default=0)
    return round(WIDE - min(LABEL, CHARACTER * longest) - sum(map(_column, headings)))


def _column(heading: str) -> int:
    """The width of a column of text."""
    return max(COLUMN, round(CHARACTER * len(heading)) + 20)


def dot_spec(
    dots: Sequence[Dot],
    domain: tuple[float, float],
    reference: float | None,
    headings: Sequence[str],
    unit: str,
    bars: bool,
    *,
    wide: bool,
) -> dict[str, Any]:
    """The rows of a dot plot, with columns of text where it is wide, and with bars from 0 where these are wanted."""
    width, row = (_left_over(dots, headings), ROW) if wide else (NARROW, NARROW_ROW)
    values = [
        {
            "label": dot.label, "value": dot.value, "low": dot.ci95[0] if dot.ci95 else None,
            "high": dot.ci95[1] if dot.ci95 else None, "hover": dot.hover, "colour": dot.colour,
            **{f"column{number}": text for number, text in enumerate(dot.columns or [""] * len(headings))},
        }
        for dot in dots
    ]  # fmt: skip
    groups = [dot.label for dot in dots if dot.heading]
    bold = {"condition": {"test": {"field": "value", "oneOf": groups}, "value": "bold"}, "value": "normal"}
    y = {
        "field": "label", "type": "nominal", "title": None, "scale": {"domain": [dot.label for dot in dots]},
        "axis": {
            "labelLimit": LABEL if wide else NARROW_LABEL, "domain": False, "ticks": False, "labelPadding": 8,
            **({"labelFontWeight": bold} if groups else {}),
        },
    }  # fmt: skip
    colour = {"field": "colour", "type": "nominal", "scale": None}
    scale = {"domain": list(domain), "nice": False}
    hover = {"field": "hover", "type": "nominal"}

    def x(field: str) -> dict[str, Any]:
        return {"field": field, "type": "quantitative", "scale": scale, "axis": _axis(unit, wide=wide)}

    bar = {
        "mark": {"type": "bar", "height": 14, "opacity": 0.35},
        "transform": [{"filter": "datum.value != null"}],
        "encoding": {"x": x("value"), "x2": {"datum": 0}, "color": colour},
    }
    layers: list[dict[str, Any]] = [
        *([bar] if bars else []),
        {
            "mark": {"type": "rule", "strokeWidth": 2},
            "transform": [{"filter": "datum.low != null"}],
            "encoding": {"x": x("low"), "x2": {"field": "high"}, "color": colour, "description": hover},
        },
        {
            "mark": {"type": "point", "filled": True, "size": 80, "opacity": 1},
            "transform": [{"filter": "datum.value != null"}],
            "encoding": {"x": x("value"), "color": colour, "description": hover},
        },
    ]
    if reference is not None:
        line = {"mark": {"type": "rule", "color": FAINT, "strokeWidth": 1}, "data": {"values": [{}]}}
        layers.insert(0, line | {"encoding": {"x": {"datum": reference, "type": "quantitative"}, "y": None}})
    ends = [*accumulate(map(_column, headings), initial=width)][1:]
    for number, (heading, right) in enumerate(zip(headings, ends, strict=True) if wide else ()):
        place = {"x": {"value": right}}
        layers += [
            {
                "mark": {"type": "text", "align": "right"},
                "encoding": place | {"text": {"field": f"column{number}", "type": "nominal"}},
            },
            {
                "mark": {"type": "text", "align": "right", "color": FAINT},
                "data": {"values": [{"heading": heading}]},
                "encoding": place | {"text": {"field": "heading", "type": "nominal"}, "y": {"value": -10}},
            },
        ]
    return {
        "width": width, "height": row * max(len(dots), 1), "data": {"values": values}, "layer": layers,
        "encoding": {"y": y},
    }  # fmt: skip


def _apart(last: Mapping[str, Point], low: float, high: float) -> dict[str, float]:
    """Where the name at the end of each line stands: at its last value, or below where names would overlap."""
    gap = (high - low) * 16 / LINES
    at: dict[str, float] = {}
    limits: dict[float, float] = {}
    """By the x of the last point: names at other places do not overlap."""
    for name, point in sorted(last.items(), key=lambda item: -item[1].y):
        at[name] = min(point.y, limits.get(point.x, high))
        limits[point.x] = at[name] - gap
    return at


def line_spec(
    points: Sequence[Point],
    x: str,
    y: str,
    share: bool,
    log: bool,
    palette: Mapping[str, str] | None,
    *,
    wide: bool,
) -> dict[str, Any]:
    """Lines with the name of each series at its end; with a palette, intervals are bands."""
    bands = palette is not None
    palette = palette or colours([point.series for point in points])
    last = {point.series: point for point in points}
    ends = [end for point in points for end in (point.y, *(point.ci95 or ()))]
    low, high = (0.0, 1.0) if share else (min(0.0, *ends), max(0.0, *ends))
    names = _apart(last, low, high if high > low else low + 1)
    at = sorted({point.x for point in points})
    values = [
        {
            "x": point.x, "y": point.y, "series": point.series, "colour": palette[point.series],
            "low": point.ci95[0] if point.ci95 else None, "high": point.ci95[1] if point.ci95 else None,
            "last": point is last[point.series], "name": names[point.series],
            "hover": f"{point.series}, {x} {point.x:g}: {100 * point.y:.1f} %" if share
            else f"{point.series}, {x} {point.x:g}: {point.y:.4g}",
        }
        for point in points
    ]  # fmt: skip
    scale: dict[str, Any] = {"domain": [low, high], "nice": not share}
    axis: dict[str, Any] = {"title": x, "grid": False, "tickCount": 6}
    if len(at) <= (TICKS if wide else TICKS // 2):
        axis |= {"values": at, "format": "d"}
    across: dict[str, Any] = {"field": "x", "type": "quantitative", "axis": axis}
    if log:
        across["scale"] = {"type": "log", "base": 2, "domain": [at[0], max(at[-1], 2 * at[0])], "nice": False}
    up = {
        "field": "y", "type": "quantitative", "scale": scale,
        "axis": _axis("%", wide=wide) | {"title": y} if share else {"title": y, "tickCount": 5},
    }  # fmt: skip
    colour = {"field": "colour", "type": "nominal", "scale": None}
    series = {"field": "series", "type": "nominal"}
    hover = {"field": "hover", "type": "nominal"}
    return {
        "width": BESIDE if wide else NARROW + 20,
        "height": LINES,
        "data": {"values": values},
        "encoding": {"x": across, "y": up, "color": colour},
        "layer": [
            {"mark": {"type": "line", "strokeWidth": 2}, "encoding": {"detail": series}},
            {
                "mark": {"type": "area", "opacity": 0.13} if bands else {"type": "rule"},
                "transform": [{"filter": "datum.low != null"}],
                "encoding": {"y": up | {"field": "low"}, "y2": {"field": "high"}, "detail": series},
            },
            {"mark": {"type": "point", "filled": True, "size": 40, "opacity": 1}, "encoding": {"description": hover}},
            {
                "mark": {"type": "text", "align": "left", "dx": 7},
                "transform": [{"filter": "datum.last"}],
                "encoding": {"text": series, "color": {"value": INK}, "y": up | {"field": "name"}},
            },
        ],
    }


def span_spec(spans: Sequence[Span], states: Mapping[str, str], *, wide: bool) -> dict[str, Any]:
    """Bars over time, a row for each process."""
    values = [
        {"row": one.row, "begin": one.begin, "end": one.end, "state": one.state, "hover": one.hover} for one in spans
    ]
    rows = list(dict.fromkeys(one.row for one in spans))
    present = [state for state in states if any(one.state == state for one in spans)]
    return {
        "width": round(WIDE - min(LABEL, CHARACTER * max(map(len, rows), default=0))) if wide else NARROW + 20,
        "height": ROW * max(len(rows), 1),
        "data": {"values": values},
        "mark": {"type": "bar", "height": 14},
        "encoding": {
            "y": {
                "field": "row", "type": "nominal", "sort": rows, "title": None,
                "axis": {"labelLimit": LABEL if wide else NARROW_LABEL, "domain": False, "ticks": False},
            },
            "x": {
                "field": "begin", "type": "quantitative",
                "axis": {"title": "seconds", "grid": False, "tickCount": 8 if wide else 4},
            },
            "x2": {"field": "end"},
            "color": {
                "field": "state", "type": "nominal",
                "scale": {"domain": present, "range": [states[state] for state in present]},
                "legend": {"orient": "top", "title": None, "columns": 5 if wide else 2},
            },
            "description": {"field": "hover", "type": "nominal"},
        },
    }  # fmt: skip
