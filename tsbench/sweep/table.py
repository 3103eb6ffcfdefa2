"""A sweep's results: per device, dataset and batch size, each variant's GPS-UP, and the best."""

from __future__ import annotations

import io
import re
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from tsbench.errors import TsbenchError
from tsbench.measure import joules_text
from tsbench.sweep.spec import HERE

WIDTH = 110
JOULES_APART = (
    "Do not compare joules of different devices, which different meters counted. "
    "Compare Greenup, a ratio on one device."
)
# These become character references: cells come from files that anybody may have written.
MARKDOWN_SPECIAL = re.compile(r"(?![ .,;%()=+/-])[\W_]|(?<=www)[.]", re.IGNORECASE)


@dataclass(frozen=True)
class Ratio:
    """The median over seeds, and the outermost bounds of their intervals (None: unknown)."""

    value: float
    low: float | None
    high: float | None

    def __str__(self) -> str:
        return f"{self.value:.2f} {self.bounds}"

    @property
    def bounds(self) -> str:
        return (
            "[unknown]"
            if self.low is None or self.high is None
            else f"[{self.low:.2f}, {self.high:.2f}]"
        )

    def overlaps(self, greater: Ratio) -> bool:
        """Whether the two intervals overlap."""
        return self.high is None or greater.low is None or self.high >= greater.low


@dataclass(frozen=True)
class Line:
    """One variant of one config, over all seeds."""

    config: str
    variant: str
    seeds: int
    speedup: Ratio | None
    greenup: Ratio | None
    powerup: Ratio | None
    joules: float | None
    """Per inference, the median over seeds."""
    accuracy: float
    """The mean over seeds."""
    on_front: bool = False

    @property
    def name(self) -> str:
        return f"{self.config} {self.variant}"


@dataclass(frozen=True)
class Place:
    """All variants with one device, one meter, one dataset and one batch size."""

    device: str
    meter: str
    provenance: str
    dataset: str
    batch_cases: int
    lines: tuple[Line, ...]

    @property
    def title(self) -> str:
        return (
            f"{self.dataset}, batch {self.batch_cases}, on {self.device}: "
            f"joules {self.provenance} by {self.meter}"
        )

    @property
    def winners(self) -> tuple[str, ...]:
        """Lines that name the variants of least energy, best accuracy and highest Greenup."""
        counted = [(line.joules, line) for line in self.lines if line.joules is not None]
        accurate = max(self.lines, key=lambda line: line.accuracy)
        lines = [f"most accurate: {accurate.name}, {accurate.accuracy:.3f}"]
        if counted:
            least = min(counted, key=lambda each: each[0])[1]
            lines.insert(
                0, f"least energy: {least.name}, {joules_text(least.joules)} per inference"
            )
        # Greenup is relative to fp32 of the same config: two configs cannot be compared by it.
        for config in dict.fromkeys(line.config for line in self.lines):
            known = [
                (line.greenup, line)
                for line in self.lines
                if line.config == config and line.greenup is not None
            ]
            if known:
                greenup, best = max(known, key=lambda each: each[0].value)
                rivals = [
                    line.variant
                    for other, line in known
                    if line is not best and other.overlaps(greenup)
                ]
                tie = f"; may equal {', '.join(rivals)}" if rivals else ""
                lines.append(f"greenest of {config}: {best.variant}, {greenup} times{tie}")
        return tuple(lines)


def places(records: Sequence[dict[str, Any]], folder: str) -> list[Place]:
    """One Place for each combination. Raises TsbenchError if nothing was measured."""
    groups: dict[tuple[str, str, str, str, int], dict[tuple[str, str], list[dict[str, Any]]]] = {}
    for record in records:
        task = record["task"]
        if task["kind"] != "measure":
            continue
        for row in record["rows"]:
            place = (
                _device(record),
                record["meter"],
                row["provenance"],
                task["dataset"],
                row["batch"],
            )
            groups.setdefault(place, {}).setdefault((task["config"], row["variant"]), []).append(
                row
            )
    if not groups:
        raise TsbenchError(
            f"{folder}: no measurements; run `tsbench sweep SPEC --out {folder}` with variants"
        )
    return [
        Place(*place, _with_front([_line(*key, rows) for key, rows in found.items()]))
        for place, found in sorted(groups.items())
    ]


def _device(record: dict[str, Any]) -> str:
    named = str(record["task"]["device"])
    machine = record["fingerprint"]
    return (
        f"{machine['cpu']}, {machine['cores']} CPUs"
        if named == HERE
        else f"{named} ({machine['cpu']})"
    )


def _line(config: str, variant: str, rows: Sequence[dict[str, Any]]) -> Line:
    joules = [row["joules_per_inference"] for row in rows]
    return Line(
        config,
        variant,
        len(rows),
        _ratio([row["speedup"] for row in rows]),
        _ratio([row["greenup"] for row in rows]),
        _ratio([row["powerup"] for row in rows]),
        None if None in joules else statistics.median(joules),
        statistics.fmean(row["accuracy"] for row in rows),
    )


def _ratio(saved: Sequence[dict[str, Any] | None]) -> Ratio | None:
    known = [each for each in saved if each is not None]
    if len(known) < len(saved):
        return None
    lows, highs = ([each[bound] for each in known] for bound in ("low", "high"))
    return Ratio(
        statistics.median(each["value"] for each in known),
        None if None in lows else min(lows),
        None if None in highs else max(highs),
    )


def _with_front(lines: Sequence[Line]) -> tuple[Line, ...]:
    """Least joules first. A line on the front is not beaten in both joules and accuracy."""
    ordered = sorted(
        lines, key=lambda line: (line.joules is None, line.joules or 0.0, -line.accuracy)
    )
    best, marked = float("-inf"), []
    for line in ordered:
        on_front = line.joules is not None and line.accuracy > best
        best = max(best, line.accuracy) if line.joules is not None else best
        marked.append(replace(line, on_front=on_front))
    return tuple(marked)


def terminal(place: Place) -> Iterator[RenderableType]:
    """A table of 80 columns, and the best variants."""
    table = Table(
        title=Text(place.title),
        title_justify="left",
        box=SIMPLE_HEAD,
        pad_edge=False,
        show_edge=False,
        padding=(0, 1, 0, 0),
    )
    table.add_column("config\nvariant", overflow="fold")
    for head in ("Speedup", "Greenup", "Powerup", "J per\ninference", "accuracy\nseeds"):
        table.add_column(head, no_wrap=True)
    for line in place.lines:
        ratios = (
            "unknown" if ratio is None else f"{ratio.value:.2f}\n{ratio.bounds}"
            for ratio in (line.speedup, line.greenup, line.powerup)
        )
        joules = f"{joules_text(line.joules)}\n{'Pareto' if line.on_front else ''}"
        table.add_row(
            *map(
                Text,
                (
                    f"{line.config}\n{line.variant}",
                    *ratios,
                    joules,
                    f"{line.accuracy:.3f}\n{line.seeds}",
                ),
            )
        )
    yield table
    yield Text("\n".join(place.winners) + "\n")


def markdown(place: Place) -> str:
    """A heading, a table, and the best variants."""
    rows: list[tuple[str, ...]] = [
        (
            "config",
            "variant",
            "Speedup",
            "Greenup",
            "Powerup",
            "J per inference",
            "accuracy",
            "seeds",
            "Pareto",
        ),
        ("---",) * 9,
    ]
    for line in place.lines:
        ratios = (str(ratio or "unknown") for ratio in (line.speedup, line.greenup, line.powerup))
        known = (
            joules_text(line.joules),
            f"{line.accuracy:.3f}",
            str(line.seeds),
            "front" if line.on_front else "",
        )
        rows.append((line.config, line.variant, *ratios, *known))
    table = "\n".join("| " + " | ".join(escaped(cell) for cell in row) + " |" for row in rows)
    winners = "\n".join(f"- {escaped(each)}" for each in place.winners)
    return f"### {escaped(place.title)}\n\n{table}\n\n{winners}"


def escaped(text: str) -> str:
    """The text with every character that could be markup as a character reference.

    >>> escaped("int8_static [a](b)|")
    'int8&#95;static &#91;a&#93;(b)&#124;'
    """
    return MARKDOWN_SPECIAL.sub(lambda found: f"&#{ord(found[0])};", text)


def remarks(all_places: Sequence[Place]) -> list[str]:
    """Remarks on all places together."""
    return [JOULES_APART] if len({place.device for place in all_places}) > 1 else []


def page(all_places: Sequence[Place]) -> str:
    """One self-contained HTML page."""
    console = Console(record=True, width=WIDTH, file=io.StringIO())
    for place in all_places:
        console.print(*terminal(place), sep="\n")
    console.print(*map(Text, remarks(all_places)), sep="\n")
    return console.export_html(inline_styles=True)
