"""What a run says in the terminal: values in, text out, nothing printed."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterator, Sequence

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from pytest_energy.against import Against
from pytest_energy.figures import Figures, figures, idle_watts
from pytest_energy.gpsup import CATEGORIES
from pytest_energy.reading import Comparison, Interval, MeterInfo, Quality, Result, Verdict
from pytest_energy.report.units import bounds, digits, scale_for

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
# "999 mJ net of idle", "12.3 mJ estimated"; "speedup 0.49 [0.405, 0.572]", "category 5: faster, more power, not greener"
PER_CALL_WIDTH, RATIOS_WIDTH = 18, 28


def header(meter: MeterInfo) -> list[str]:
    """Lines for the top of pytest's output: which meter was picked, and what it counts."""
    counted = ", ".join(domain.name for domain in meter.domains if domain.parent is None)
    lines = [f"energy: {meter.provenance.upper()} by meter {meter.name} ({counted})"]
    if meter.provenance == "estimated":
        lines.append(f"energy: no sensor counts joules here; the truth is taken to lie within {_band(meter)}")
    return lines + [f"energy: {note}" for note in meter.notes]


def summary(results: Sequence[Result], meter: MeterInfo, width: int, colour: bool) -> str:
    """The table of a run, what was not gated and why, and what to beware of."""
    if not results:
        return "NOTHING WAS MEASURED, so nothing is gated: no test used the energy or the benchmark fixture."
    parts: list[RenderableType] = []
    for group in sorted({result.group or "" for result in results}):
        parts.append(Text(f"{group or 'benchmarks'}: per call, baseline / candidate, verdict", style="underline"))
        parts += _rows([result for result in results if (result.group or "") == group])
        parts.append("")
    out = io.StringIO()
    console = Console(file=out, width=max(width, NARROWEST), force_terminal=colour, color_system="standard" if colour else None)
    for part in parts:
        console.print(part)
    table = "\n".join(line.rstrip() for line in out.getvalue().splitlines())
    # Sentences are left to the terminal to wrap, so that a search in a log finds them.
    return f"{table}\n{_closing(results, meter)}"


def against_lines(against: Against) -> list[str]:
    """Which tests have no partner in the other commit."""
    names = against.names
    lines = [f"compared with {against.label}: {len(names.paired)} tests are in both"]
    lines += [f"NOT GATED: new, and not in {against.label}: {name}" for name in names.new]
    lines += [f"NOT GATED: vanished since {against.label}: {name}" for name in names.vanished]
    lines += [f"renamed, perhaps: {then} is now {now}; the two are not compared" for then, now in names.renamed]
    return lines


def complaint(verdict: Verdict) -> str:
    """The line that a failed test shows."""
    return f"energy gate: {verdict.metric} {verdict.verdict}: {verdict.reason}"


def floor_complaint(quality: Quality) -> str:
    return f"energy gate: {quality.name} missed: {quality.name} {quality.value:.4g} against the floor {quality.floor:.4g}"


def _rows(results: Sequence[Result]) -> Iterator[RenderableType]:
    """A line with the benchmark's name, and beneath it what is known, in three columns; fits 80 columns."""
    rows = [(result, figures(result.measurement)) for result in results]
    joule_scale = scale_for([seen.joules.value for _, seen in rows if seen.joules], "J")
    second_scale = scale_for([seen.seconds.value for _, seen in rows], "s")
    for result, seen in rows:
        yield Text(result.name.split("::", 1)[-1], style="bold")
        table = Table.grid(padding=(0, 2, 0, 0))
        table.add_column(width=2)
        table.add_column(width=PER_CALL_WIDTH, no_wrap=True)
        table.add_column(width=RATIOS_WIDTH, no_wrap=True)
        table.add_column()
        provenance = result.measurement.meter.provenance
        table.add_row(
            "",
            _per_call(seen, provenance, joule_scale, second_scale),
            _ratios(result.comparison, result.qualities),
            _verdicts(result),
        )
        yield table


def _per_call(seen: Figures, provenance: str, joule_scale: tuple[float, str], second_scale: tuple[float, str]) -> Text:
    lines = []
    for interval, (factor, unit) in ((seen.joules, joule_scale), (seen.watts, (1.0, "W"))):
        lines.append("no joules counted" if interval is None else f"{digits(interval.value * factor)} {unit} {provenance}")
    lines.append(f"{digits(seen.seconds.value * second_scale[0])} {second_scale[1]}")
    if seen.net_joules is not None:
        lines.append(f"{digits(seen.net_joules.value * joule_scale[0])} {joule_scale[1]} net")
    return Text("\n".join(lines))


def _ratios(comparison: Comparison | None, qualities: Sequence[Quality]) -> Text:
    lines = []
    if comparison is not None:
        for name, ratio in (
            ("speedup", comparison.speedup),
            ("greenup", comparison.greenup),
            ("powerup", comparison.powerup),
        ):
            lines.append(f"{name} {_ratio(ratio)}")
        lines.append(_category(comparison.category))
    lines += [_quality(quality) for quality in qualities]
    return Text("\n".join(lines))


def _ratio(ratio: Interval | None) -> str:
    return "not known" if ratio is None else f"{ratio.value:.2f} " + bounds(ratio)


def _category(category: int | None) -> str:
    return "no category is certain" if category is None else f"{category}: {CATEGORIES[category]}"


def _quality(quality: Quality) -> str:
    if quality.floor is None:
        return f"{quality.name} {quality.value:.3f}, no floor"
    sign = "≥" if quality.value >= quality.floor else "UNDER"
    return f"{quality.name} {quality.value:.3f} {sign} {quality.floor:.3f}"


def _verdicts(result: Result) -> Text:
    text = Text()
    for number, verdict in enumerate(result.verdicts):
        text.append("\n" if number else "")
        text.append(f"{verdict.metric} {verdict.verdict}", style=COLOURS[verdict.verdict])
    return text if result.verdicts else Text("not gated: nothing asked", style=COLOURS["not gated"])


def _closing(results: Sequence[Result], meter: MeterInfo) -> str:
    counts = Counter(verdict.verdict for result in results for verdict in result.verdicts)
    asked = ", ".join(f"{count} {verdict}" for verdict, count in sorted(counts.items()))
    lines = [f"{len(results)} benchmarks; verdicts: {asked or 'none was asked'}. Joules are {_provenance(meter)}."]
    idle = idle_watts(results[0].measurement)
    if idle is not None:
        lines.append(
            f"Idle power: {digits(idle.value)} W {bounds(idle)}, {meter.provenance}; net = gross - idle power x seconds."
        )
    confidences = {result.comparison.confidence for result in results if result.comparison is not None}
    if confidences:
        lines.append(
            f"Ratios: medians over blocks measured in turns, [{100 * min(confidences):.4g} % interval, valid at any stopping time]."
        )
    reasons = Counter(v.reason for r in results for v in r.verdicts if v.verdict == "not gated")
    lines += [f"NOT GATED ({count}x): {reason}" for reason, count in reasons.items()]
    bare = sum(not result.verdicts for result in results)
    if bare:
        lines.append(f"NOT GATED ({bare}x): nothing was asked: no marker, no comparison, no floor")
    lines += [f"inconclusive: {r.name}: {v.reason}" for r in results for v in r.verdicts if v.verdict == "inconclusive"]
    lines += [f"warning: {result.name}: {warning}" for result in results for warning in result.measurement.warnings]
    return "\n".join(lines)


def _provenance(meter: MeterInfo) -> str:
    if meter.provenance == "measured":
        return f"measured by {meter.name}"
    return f"ESTIMATED by {meter.name}, the truth within {_band(meter)}"


def _band(meter: MeterInfo) -> str:
    low, high = meter.band
    return f"{low:g} to {high:g} times its value"
