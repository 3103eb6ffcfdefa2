"""The charts of the page as Vega-Lite specifications: which fields are drawn, and no values.

The values come from the page's data by the name of each chart's ``data``; page.js puts them in.
"""

from __future__ import annotations

from typing import Any

Spec = dict[str, Any]


def ranked(factors: bool) -> Spec:
    """The change of each benchmark with its interval, the worst at the top.

    ``factors``: the speedup on a log scale, in place of the change in per cent.
    """
    title = "speedup (left of 1: slower)" if factors else "change (right of 0: more)"
    scale: Spec = {"type": "log", "nice": False} if factors else {"zero": True}
    axis: Spec = {"labelOverlap": True} if factors else {"format": "+.0%", "labelOverlap": True}
    x: Spec = {
        "field": "value",
        "type": "quantitative",
        "scale": scale,
        "title": title,
        "axis": axis,
    }
    y: Spec = {
        "field": "label",
        "type": "nominal",
        "sort": None,
        "title": None,
        "axis": {"labelLimit": 320},
    }
    offset: Spec = {"yOffset": {"field": "metric", "type": "nominal"}}
    colour: Spec = {"color": {**_group(), "field": "metric"}}
    no_change = {
        "data": {"values": [{"at": 1 if factors else 0}]},
        "mark": {"type": "rule", "aria": False, "strokeDash": [4, 4]},
        "encoding": {"x": {"field": "at", "type": "quantitative", "scale": scale}},
    }
    interval: Spec = {
        "mark": {"type": "rule", "strokeWidth": 2, "opacity": 0.6, "aria": False},
        "encoding": {
            "x": {**x, "field": "low"},
            "x2": {"field": "high"},
            "y": y,
            **offset,
            **colour,
        },
    }
    points: Spec = {
        "name": "points",
        "mark": {"type": "point", "filled": True, "size": 60},
        "encoding": {
            "x": x,
            "y": y,
            **offset,
            **colour,
            "shape": {"field": "metric", "type": "nominal", "legend": None},
            "tooltip": _tooltip("name", "metric", "text", "outcome", "reasons"),
        },
    }
    return {
        **_base("changes", "The change of each benchmark against its baseline, with its interval"),
        "layer": [no_change, interval, points],
    }


def pareto(quality: str) -> Spec:
    """A quality against joules per call, with the front: no other benchmark beats it in both."""
    x: Spec = {
        "field": "joules",
        "type": "quantitative",
        "scale": {"type": "log"},
        "title": "joules per call",
        "axis": {"format": "~s", "labelOverlap": True},
    }
    y: Spec = {
        "field": "quality",
        "type": "quantitative",
        "scale": {"zero": False},
        "title": quality,
    }
    return {
        **_base(
            "qualities", f"{quality} against joules per call, and the Pareto front of each group"
        ),
        "height": 320,
        "layer": [
            {
                "transform": [{"filter": "datum.front"}],
                "mark": {
                    "type": "line",
                    "interpolate": "step-after",
                    "opacity": 0.6,
                    "aria": False,
                },
                "encoding": {"x": x, "y": y, "color": _group()},
            },
            {
                "transform": [{"filter": "datum.front"}],
                "mark": {
                    "type": "text",
                    "align": "left",
                    "dx": 7,
                    "dy": -6,
                    "fontSize": 10,
                    "aria": False,
                },
                "encoding": {"x": x, "y": y, "text": {"field": "label"}},
            },
            {
                "name": "points",
                "mark": {"type": "point", "filled": True, "size": 70},
                "encoding": {
                    "x": x,
                    "y": y,
                    "color": _group(),
                    "shape": {"field": "group", "type": "nominal", "legend": None},
                    "tooltip": _tooltip("name", "quality_text", "joules_text", "front_text"),
                },
            },
        ],
    }


def figures_chart() -> Spec:
    """The figure that is chosen above the chart, of each benchmark, with its interval."""
    x: Spec = {
        "field": "value",
        "type": "quantitative",
        "scale": {"type": "log"},
        "title": None,
        "axis": {"format": "~s", "labelOverlap": True},
    }
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
    """The windows of one benchmark in the order of measuring: drift is a slope."""
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
                "axis": {"format": "~s"},
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
            "x": {
                "field": "run",
                "type": "ordinal",
                "title": "run, oldest first",
                "axis": {"labelOverlap": True, "labelExpr": "datum.label"},
            },
            "y": {
                "field": "value",
                "type": "quantitative",
                "scale": {"zero": False},
                "title": "joules per call",
            },
            "color": {
                "field": "machine",
                "type": "nominal",
                "title": "machine and meter",
                "legend": {"orient": "bottom", "labelLimit": 500, "columns": 1},
            },
            "tooltip": _tooltip("run", "commit", "at", "text", "machine"),
        },
    }


def _base(data: str, description: str) -> Spec:
    return {
        "description": description,
        "data": {"name": data, "values": []},
        "width": "container",
        "autosize": {"type": "fit-x", "contains": "padding"},
    }


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
