"""What a run says in the terminal: values in, text out, nothing printed."""

from __future__ import annotations

import io
import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from pytest_energy.commits.against import Against
from pytest_energy.model import Comparison, Interval, MeterInfo, Quality, Result, Verdict
from pytest_energy.report.escape import plain
from pytest_energy.report.units import bounds, digits, scale_for
from pytest_energy.stats.carbon import grams_per_million_calls
from pytest_energy.stats.gps_up import CATEGORIES
from pytest_energy.stats.per_call import Figures, figures, idle_watts

COLOURS = {
    "met": "green",
    "improved": "green",
    "unchanged": "green",
    "missed": "bold red",
    "regressed": "bold red",
    "inconclusive": "yellow",
    "not gated": "yellow",
}
NARROWEST = 60
# From here on the names have a column of their own; below, they would be broken there (at 120, after 20 characters), and stand
# above their figures.
WIDE = 140
# Below this the verdicts, up to "powerup inconclusive", would be broken: they go beneath the ratios.
NARROW = 76
# The longest in each: "12.3 mJ estimated", "0.0123 g CO2e estimated"; "speedup 0.49 [0.405, 0.572]", "5: faster, more power, not greener"
PER_CALL_WIDTH, RATIOS_WIDTH = 18, 28


@dataclass(frozen=True)
class Look:
    """How a run is to be shown."""

    width: int = 80
    colour: bool = False
    quiet: bool = False
    """No table: only what came of it, and what was not gated."""
    grams_per_kwh: float | None = None
    """Show grams of CO2e, too."""


def header(meter: MeterInfo) -> list[str]:
    """Lines for the top of pytest's output: which meter was picked, and what it counts."""
    counted = ", ".join(domain.name for domain in meter.domains if domain.parent is None)
    lines = [f"energy: {meter.provenance.upper()} by meter {meter.name} ({counted})"]
    if meter.provenance == "estimated":
        lines.append(
            f"energy: no sensor counts joules here; the truth is taken to lie within {_band(meter)}"
        )
    return lines + [f"energy: {note}" for note in meter.notes]


def summary(results: Sequence[Result], meter: MeterInfo, look: Look = Look()) -> str:
    """The table of a run, what was not gated and why, and what to beware of."""
    if not results:
        return "NOTHING WAS MEASURED, so nothing is gated: no test used the energy or the benchmark fixture."
    closing = "\n".join(plain(line) for line in _closing(results, meter, look))
    if look.quiet:
        return closing
    parts: list[RenderableType] = []
    for group in sorted({result.group or "" for result in results}):
        title = f"{plain(group) or 'benchmarks'}: per call, baseline / candidate, verdict"
        parts.append(Text(title, style="underline"))
        of_group = [result for result in results if (result.group or "") == group]
        parts += [_wide(of_group, look)] if look.width >= WIDE else _rows(of_group, look)
        parts.append("")
    out = io.StringIO()
    console = Console(
        file=out,
        width=max(look.width, NARROWEST),
        force_terminal=look.colour,
        color_system="standard" if look.colour else None,
    )
    for part in parts:
        console.print(part)
    table = "\n".join(line.rstrip() for line in out.getvalue().splitlines())
    # Sentences are left to the terminal to wrap, so that a search in a log finds them.
    return f"{table}\n{closing}"


def against_lines(against: Against) -> list[str]:
    """Which tests have no partner in the other commit."""
    names = against.names
    lines = [f"compared with {against.label}: {len(names.paired)} tests are in both"]
    lines += [f"NOT GATED: new, and not in {against.label}: {name}" for name in names.new]
    lines += [f"NOT GATED: vanished since {against.label}: {name}" for name in names.vanished]
    lines += [
        f"renamed, perhaps: {then} is now {now}; the two are not compared"
        for then, now in names.renamed
    ]
    return [plain(line) for line in lines]


def complaint(verdict: Verdict) -> str:
    """The line that a failed test shows."""
    return f"energy gate: {verdict.metric} {verdict.verdict}: {verdict.reason}"


def floor_complaint(quality: Quality) -> str:
    return f"energy gate: {quality.name} missed: {quality.name} {quality.value:.4g} against the floor {quality.floor:.4g}"


@dataclass(frozen=True)
class _Scales:
    """The same units down a column: a factor and the unit's name."""

    joules: tuple[float, str]
    seconds: tuple[float, str]
    grams: tuple[float, str]

    @classmethod
    def of(cls, rows: Sequence[tuple[Result, Figures]], grams_per_kwh: float | None) -> _Scales:
        joules = [seen.joules.value for _, seen in rows if seen.joules]
        grams = [grams_per_million_calls(value, grams_per_kwh or 0.0) for value in joules]
        return cls(
            scale_for(joules, "J"),
            scale_for([seen.seconds.value for _, seen in rows], "s"),
            scale_for(grams, "g"),
        )


def _rows(results: Sequence[Result], look: Look) -> Iterator[RenderableType]:
    """A line with the benchmark's name, and beneath it what is known, in three columns; fits 80 columns."""
    rows = [(result, figures(result.measurement)) for result in results]
    scales = _Scales.of(rows, look.grams_per_kwh)
    for result, seen in rows:
        yield Text(_name(result), style="bold")
        table = Table.grid(padding=(0, 2, 0, 0))
        table.add_column(width=2)
        table.add_column(width=PER_CALL_WIDTH, no_wrap=True)
        table.add_column(width=RATIOS_WIDTH, no_wrap=True)
        if look.width >= NARROW:
            table.add_column()
        middle = [
            *_ratios(result.comparison),
            *map(_quality, result.qualities),
            *_grams(seen, result, scales, look),
        ]
        cells: list[RenderableType] = [
            "",
            _per_call(seen, result, scales),
            Text("\n".join(middle)),
            _verdicts(result),
        ]
        if look.width < NARROW:
            cells[2:] = [
                Text("\n").join(cell for cell in cells[2:] if isinstance(cell, Text) and cell.plain)
            ]
        table.add_row(*cells)
        yield table


def _wide(results: Sequence[Result], look: Look) -> Table:
    """A line for each benchmark, or some more where it has more verdicts or a long name."""
    rows = [(result, figures(result.measurement)) for result in results]
    scales = _Scales.of(rows, look.grams_per_kwh)
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False, pad_edge=False)
    table.add_column("benchmark", style="bold", overflow="fold", min_width=20)
    for name in ("joules, watts", "time"):
        table.add_column(name, no_wrap=True)
    table.add_column("speedup, greenup, powerup", no_wrap=True)
    table.add_column(
        "quality, carbon" if look.grams_per_kwh is not None else "quality", overflow="fold"
    )
    table.add_column("verdict", no_wrap=True)
    for result, seen in rows:
        joules, watts, seconds, *net = _per_call(seen, result, scales).plain.splitlines()
        table.add_row(
            Text(_name(result)),
            Text("\n".join([joules, watts, *net])),
            Text(seconds),
            Text("\n".join(_ratios(result.comparison))),
            Text(
                "\n".join([*map(_quality, result.qualities), *_grams(seen, result, scales, look)])
            ),
            _verdicts(result),
        )
    return table


def _name(result: Result) -> str:
    return plain(result.name.split("::", 1)[-1])


def _per_call(seen: Figures, result: Result, scales: _Scales) -> Text:
    provenance = result.measurement.meter.provenance
    lines = []
    for interval, (factor, unit) in ((seen.joules, scales.joules), (seen.watts, (1.0, "W"))):
        lines.append(
            "no joules counted"
            if interval is None
            else f"{digits(interval.value * factor)} {unit} {provenance}"
        )
    lines.append(f"{digits(seen.seconds.value * scales.seconds[0])} {scales.seconds[1]}")
    if seen.net_joules is not None:
        lines.append(f"{digits(seen.net_joules.value * scales.joules[0])} {scales.joules[1]} net")
    return Text("\n".join(lines))


def _grams(seen: Figures, result: Result, scales: _Scales, look: Look) -> list[str]:
    """Of a million calls; the closing lines say so, and by what figure."""
    if look.grams_per_kwh is None or seen.joules is None:
        return []
    grams = grams_per_million_calls(seen.joules.value, look.grams_per_kwh)
    factor, unit = scales.grams
    return [f"{digits(grams * factor)} {unit} CO2e {result.measurement.meter.provenance}"]


def _ratios(comparison: Comparison | None) -> list[str]:
    if comparison is None:
        return []
    named = (
        ("speedup", comparison.speedup),
        ("greenup", comparison.greenup),
        ("powerup", comparison.powerup),
    )
    return [*(f"{name} {_ratio(ratio)}" for name, ratio in named), *_category(comparison.category)]


def _ratio(ratio: Interval | None) -> str:
    return "not known" if ratio is None else f"{ratio.value:.2f} " + bounds(ratio)


def _category(category: int | None) -> list[str]:
    """Broken by us, since the longest does not fit, and a table would cut it."""
    text = "no category is certain" if category is None else f"{category}: {CATEGORIES[category]}"
    return textwrap.wrap(text, RATIOS_WIDTH, subsequent_indent="   ")


def _quality(quality: Quality) -> str:
    if quality.floor is None:
        return f"{plain(quality.name)} {quality.value:.3f}, no floor"
    sign = "≥" if quality.value >= quality.floor else "UNDER"
    return f"{plain(quality.name)} {quality.value:.3f} {sign} {quality.floor:.3f}"


def _verdicts(result: Result) -> Text:
    text = Text()
    for number, verdict in enumerate(result.verdicts):
        text.append("\n" if number else "")
        text.append(f"{plain(verdict.metric)} {verdict.verdict}", style=COLOURS[verdict.verdict])
    return text if result.verdicts else Text("not gated: nothing asked", style=COLOURS["not gated"])


def _closing(results: Sequence[Result], meter: MeterInfo, look: Look) -> list[str]:
    counts = Counter(verdict.verdict for result in results for verdict in result.verdicts)
    asked = ", ".join(f"{count} {verdict}" for verdict, count in sorted(counts.items()))
    lines = [
        f"{len(results)} benchmarks; verdicts: {asked or 'none was asked'}. Joules are {_provenance(meter)}."
    ]
    idle = idle_watts(results[0].measurement)
    if idle is not None:
        lines.append(
            f"Idle power: {digits(idle.value)} W {bounds(idle)}, {meter.provenance}; net = gross - idle power x seconds."
        )
    if look.grams_per_kwh is not None:
        lines.append(
            f"CO2e: grams per million calls at {look.grams_per_kwh:g} g per kWh, a figure given by the user, "
            f"of joules {_provenance(meter)}."
        )
    confidences = {
        result.comparison.confidence for result in results if result.comparison is not None
    }
    if confidences:
        lines.append(
            f"Ratios: medians over blocks measured in turns, [{100 * min(confidences):.4g} % interval, valid at any stopping time]."
        )
    reasons = Counter(v.reason for r in results for v in r.verdicts if v.verdict == "not gated")
    lines += [f"NOT GATED ({count}x): {reason}" for reason, count in reasons.items()]
    bare = sum(not result.verdicts for result in results)
    if bare:
        lines.append(f"NOT GATED ({bare}x): nothing was asked: no marker, no comparison, no floor")
    lines += [
        f"inconclusive: {r.name}: {v.reason}"
        for r in results
        for v in r.verdicts
        if v.verdict == "inconclusive"
    ]
    lines += [
        f"warning: {result.name}: {warning}"
        for result in results
        for warning in result.measurement.warnings
    ]
    return lines


def _provenance(meter: MeterInfo) -> str:
    if meter.provenance == "measured":
        return f"measured by {meter.name}"
    if meter.provenance == "attributed":
        return f"ATTRIBUTED by {meter.name}"
    return f"ESTIMATED by {meter.name}, the truth within {_band(meter)}"


def _band(meter: MeterInfo) -> str:
    low, high = meter.band
    return f"{low:g} to {high:g} times its value"
