"""The charts of the page as Vega-Lite specifications: which fields are drawn, and no values.

The values come from the page's data by the name of each chart's ``data``; page.js puts them in.
"""

from __future__ import annotations

from typing import Any

Spec = dict[str, Any]


UNITS = {"joules": "J", "seconds": "s"}
# Vega's format ~s gives 0.01 the label "10m"; with the unit it is "10 ms".
SI = "datum.label ? replace(datum.label, /([a-zµ]?)$/i, ' $1{}') : ''"


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


def pareto(quality: str, energy: str) -> Spec:
    """A quality against ``energy`` in one group, with names and the front.

    On the front are those that no other benchmark of the group beats in both.
    """
    x: Spec = {
        "field": "energy",
        "type": "quantitative",
        "scale": {"type": "log", "nice": False, "padding": 44},
        "title": energy,
        "axis": {"format": "~s", "labelExpr": SI.format("J"), "labelOverlap": True},
    }
    y: Spec = {
        "field": "quality",
        "type": "quantitative",
        "scale": {"zero": False, "padding": 14},
        "title": quality,
    }
    front: Spec = {
        "transform": [{"filter": "datum.front"}],
        "mark": {"type": "line", "interpolate": "step-after", "opacity": 0.6, "aria": False},
        "encoding": {"x": x, "y": y},
    }
    names: Spec = {
        "mark": {"type": "text", "baseline": "bottom", "dy": -6, "fontSize": 10, "aria": False},
        "encoding": {"x": x, "y": y, "text": {"field": "short"}},
    }
    points: Spec = {
        "name": "points",
        "mark": {"type": "point", "filled": True, "size": 70},
        "encoding": {
            "x": x,
            "y": y,
            "opacity": {
                "condition": {"test": "datum.front", "value": 1},
                "value": 0.45,
            },
            "tooltip": _tooltip("name", "quality_text", "energy_text", "front_text"),
        },
    }
    return {
        **_base("qualities", f"{quality} against {energy}, and the Pareto front"),
        "height": 240,
        "layer": [front, names, points],
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
                "axis": {"format": "~s", "labelExpr": SI.format(UNITS[field])},
            },
            "tooltip": _tooltip("window", field),
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
