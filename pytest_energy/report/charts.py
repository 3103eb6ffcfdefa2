"""The charts of the page, as Vega-Lite specifications: what is drawn from which fields, and no values.

The values come from the page's data by the name of each chart's ``data``; page.js puts them in.
"""

from __future__ import annotations

from typing import Any

Spec = dict[str, Any]


def quadrant(low: float, high: float) -> Spec:
    """Speedup and Greenup as crosses of their intervals, over the regions of the eight GPS-UP categories.

    ``low`` and ``high`` bound both axes, below and above 1.
    """
    x: Spec = {
        "field": "speedup",
        "type": "quantitative",
        "scale": _log(low, high),
        "title": "Speedup (right of 1: faster)",
    }
    y: Spec = {
        "field": "greenup",
        "type": "quantitative",
        "scale": _log(low, high),
        "title": "Greenup (above 1: less energy)",
    }
    return {
        **_base("comparisons", "Speedup and Greenup of each benchmark against its baseline, with intervals, in the eight GPS-UP categories"),
        "height": 420,
        "layer": [
            {"data": {"values": [{"at": 1}]}, "mark": {"type": "rule", "opacity": 0.6, "aria": False}, "encoding": {"x": {"field": "at", "type": "quantitative", "scale": _log(low, high)}}},
            {"data": {"values": [{"at": 1}]}, "mark": {"type": "rule", "opacity": 0.6, "aria": False}, "encoding": {"y": {"field": "at", "type": "quantitative", "scale": _log(low, high)}}},
            {
                "data": {"values": [{"speedup": low, "greenup": low}, {"speedup": high, "greenup": high}]},
                "mark": {"type": "line", "strokeDash": [4, 4], "opacity": 0.6, "aria": False},
                "encoding": {"x": x, "y": y},
            },
            {
                "data": {"values": regions(low, high)},
                "mark": {"type": "text", "opacity": 0.75, "fontSize": 11, "lineBreak": "\n", "aria": False},
                "encoding": {"x": x, "y": y, "text": {"field": "label"}},
            },
            {"mark": {"type": "rule", "opacity": 0.55, "aria": False}, "encoding": {"x": {**x, "field": "speedup_low"}, "x2": {"field": "speedup_high"}, "y": y, "color": _group()}},
            {"mark": {"type": "rule", "opacity": 0.55, "aria": False}, "encoding": {"x": x, "y": {**y, "field": "greenup_low"}, "y2": {"field": "greenup_high"}, "color": _group()}},
            {
                "name": "points",
                "mark": {"type": "point", "filled": True, "size": 70},
                "encoding": {"x": x, "y": y, "color": _group(), "shape": {"field": "group", "type": "nominal", "legend": None}, "tooltip": _tooltip("name", "speedup_text", "greenup_text", "powerup_text", "category_text", "verdicts_text")},
            },
        ],
    }  # fmt: skip


def regions(low: float, high: float) -> list[Spec]:
    """Where each category's name stands: in the middle of its region, of which the diagonal's two are lines."""
    up, down = high, low

    def between(first: float, second: float, share: float) -> float:
        return float(first * (second / first) ** share)

    places = (
        ("1: faster, less power", between(1, up, 0.3), between(1, up, 0.86)),
        ("2: faster, same power", between(1, up, 0.9), between(1, up, 0.96)),
        ("3: faster, more power, greener", between(1, up, 0.72), between(1, up, 0.3)),
        ("4: slower, less power,\ngreener", between(1, down, 0.5), between(1, up, 0.5)),
        ("5: faster, more power,\nnot greener", between(1, up, 0.5), between(1, down, 0.5)),
        ("6: slower, less power,\nnot greener", between(1, down, 0.68), between(1, down, 0.25)),
        ("7: slower,\nsame power", between(1, down, 0.88), between(1, down, 0.86)),
        ("8: slower, more power", between(1, down, 0.4), between(1, down, 0.9)),
    )
    return [{"label": label, "speedup": x, "greenup": y} for label, x, y in places]


def pareto(quality: str) -> Spec:
    """A quality such as accuracy against joules per call, with the front of those that no other beats in both."""
    x: Spec = {
        "field": "joules",
        "type": "quantitative",
        "scale": {"type": "log"},
        "title": "joules per call",
    }
    y: Spec = {
        "field": "quality",
        "type": "quantitative",
        "scale": {"zero": False},
        "title": quality,
    }
    return {
        **_base("qualities", f"{quality} against joules per call, and the Pareto front of each group"),
        "height": 320,
        "layer": [
            {"transform": [{"filter": "datum.front"}], "mark": {"type": "line", "interpolate": "step-after", "opacity": 0.6, "aria": False}, "encoding": {"x": x, "y": y, "color": _group()}},
            {
                "name": "points",
                "mark": {"type": "point", "filled": True, "size": 70},
                "encoding": {"x": x, "y": y, "color": _group(), "shape": {"field": "group", "type": "nominal", "legend": None}, "tooltip": _tooltip("name", "quality_text", "joules_text", "front_text")},
            },
        ],
    }  # fmt: skip


def figures_chart() -> Spec:
    """Joules, watts and seconds of each benchmark with their intervals; which of them is `metric`, chosen above the chart."""
    x: Spec = {"field": "value", "type": "quantitative", "scale": {"type": "log"}, "title": None}
    y: Spec = {
        "field": "label",
        "type": "nominal",
        "sort": None,
        "title": None,
        "axis": {"labelLimit": 360},
    }
    return {
        **_base("figures", "The chosen figure of each benchmark, with its interval"),
        "layer": [
            {
                "mark": {"type": "rule", "strokeWidth": 2, "opacity": 0.6, "aria": False},
                "encoding": {
                    "x": {**x, "field": "low"},
                    "x2": {"field": "high"},
                    "y": y,
                    "color": _group(),
                },
            },
            {
                "name": "points",
                "mark": {"type": "point", "filled": True, "size": 50},
                "encoding": {
                    "x": x,
                    "y": y,
                    "color": _group(),
                    "tooltip": _tooltip("name", "text"),
                },
            },
        ],
    }


def windows_chart(field: str) -> Spec:
    """The windows of one benchmark in the order in which they were measured: drift is a slope, an outlier stands apart."""
    return {
        **_base("windows", f"Each window's {field} per call, in the order of measuring"),
        "height": 130,
        "name": "points",
        "mark": {"type": "point", "filled": True, "size": 28},
        "encoding": {
            "x": {
                "field": "window",
                "type": "quantitative",
                "title": "window, in the order of measuring",
                "axis": {"tickMinStep": 1},
            },
            "y": {
                "field": field,
                "type": "quantitative",
                "scale": {"zero": False},
                "title": f"{field} per call",
            },
            "tooltip": _tooltip("window", field),
        },
    }


def trend_chart() -> Spec:
    """One benchmark over saved runs of one machine and meter."""
    return {
        **_base("trend", "The chosen benchmark's joules per call over saved runs"),
        "height": 220,
        "mark": {"type": "line", "point": True},
        "encoding": {
            "x": {"field": "run", "type": "ordinal", "title": "run, oldest first", "axis": {"labelOverlap": True, "labelExpr": "datum.label"}},
            "y": {"field": "value", "type": "quantitative", "scale": {"zero": False}, "title": "joules per call"},
            "color": {"field": "machine", "type": "nominal", "title": "machine and meter", "legend": {"orient": "bottom", "labelLimit": 500, "columns": 1}},
            "tooltip": _tooltip("run", "commit", "at", "text", "machine"),
        },
    }  # fmt: skip


def _base(data: str, description: str) -> Spec:
    return {
        "description": description,
        "data": {"name": data, "values": []},
        "width": "container",
        "autosize": {"type": "fit-x", "contains": "padding"},
    }


def _log(low: float, high: float) -> Spec:
    return {"type": "log", "domain": [low, high], "nice": False}


def _group() -> Spec:
    return {
        "field": "group",
        "type": "nominal",
        "title": None,
        "legend": {"orient": "bottom", "labelLimit": 500},
    }


def _tooltip(*fields: str) -> list[Spec]:
    return [
        {"field": field, "title": field.removesuffix("_text").replace("_", " ")} for field in fields
    ]
