"""Comparisons as a comment on a pull request: what regressed first, the rest folded, and no longer than a comment may be.

The first line is a marker that nobody sees, by which a workflow finds the comment that it left before, to update it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pytest_energy.model import Interval, MeterInfo, Result, Verdict
from pytest_energy.report.compare_table import carbon_of, cells, closing_lines, counts_of
from pytest_energy.report.escape import in_markdown
from pytest_energy.report.units import digits, scale_for, with_bounds
from pytest_energy.runs.comparison import SEVERITY, BenchmarkChanges, RunComparison
from pytest_energy.stats.carbon import grams_per_million_calls
from pytest_energy.stats.per_call import figures

MARKER = "<!-- pytest-energy -->"
# GitHub refuses a longer comment: "Body is too long (maximum is 65536 characters)". Bytes are counted here, of which no text
# has fewer than characters, however those are counted.
LONGEST_COMMENT = 65_536
# Of one cell. A parametrized id may be as long as its parameter, and one of them must not use up a comment.
LONGEST_CELL = 400
# Of a note, and the bytes of all of them: they are as many as there are reasons, and the table is what a reader came for.
LONGEST_NOTE, NOTES_ROOM = 800, 12_000
# What is left for the lines that say what was cut, and close what is open.
RESERVE = 400
TABLE_HEAD = ("| benchmark | change | ratio | verdict |", "| --- | --- | --- | --- |")
FAILS = ("regressed", "missed")


@dataclass(frozen=True)
class Entry:
    """One benchmark: its name, whether it failed, and for each metric the change, the ratio and the verdict."""

    name: str
    failed: bool
    lines: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True)
class Comment:
    """What a comment says, before it is known whether it fits."""

    title: str
    counts: str
    entries: tuple[Entry, ...]
    notes: tuple[str, ...]


def markdown(comparison: RunComparison, grams_per_kwh: float | None = None) -> str:
    """Saved runs against each other."""
    entries = tuple(_entry_of_row(row, comparison, grams_per_kwh) for row in comparison.rows)
    title = "**regressed**" if any(entry.failed for entry in entries) else "nothing regressed"
    return rendered(
        Comment(title, counts_of(comparison), entries, tuple(closing_lines(comparison)))
    )


def live_markdown(
    results: Sequence[Result],
    meter: MeterInfo,
    notes: Iterable[str],
    failed_tests: int = 0,
    grams_per_kwh: float | None = None,
) -> str:
    """The results of a run that has just ended: ``--energy-against``, or what its tests compare by themselves.

    ``failed_tests``: of the whole run, which may have failed for reasons that have nothing to do with energy.
    """
    results = sorted(results, key=lambda result: (not _failed(result), result.name))
    entries = tuple(_entry_of_result(result, grams_per_kwh) for result in results)
    counts: Counter[str] = Counter(
        verdict.verdict for result in results for verdict in result.verdicts
    )
    failing = " and ".join(name for name in FAILS if counts[name])
    title = (
        f"**{failing}**"
        if failing
        else ("nothing regressed" if results else "**nothing was measured**")
    )
    told = ", ".join(f"{count} {verdict}" for verdict, count in sorted(counts.items()))
    how = f"joules are {_provenance(meter)} by {meter.name}"
    if meter.provenance == "estimated":
        how += f", the truth within {meter.band[0]:g} to {meter.band[1]:g} times its value"
    reasons = Counter(
        v.reason for result in results for v in result.verdicts if v.verdict == "not gated"
    )
    more = [how, *(f"NOT GATED ({count}x): {reason}" for reason, count in reasons.items()), *notes]
    if failed_tests:
        more.append(
            f"{failed_tests} tests of this run failed, for energy or for another reason: its log says which"
        )
    return rendered(
        Comment(
            title, f"{len(results)} benchmarks; verdicts: {told or 'none'}", entries, tuple(more)
        )
    )


def trouble_markdown(problem: str) -> str:
    """Where there is nothing to compare: why."""
    return rendered(Comment("**could not be compared**", _short(problem, 2000), (), ()))


def rendered(comment: Comment) -> str:
    """The comment's text, at most `LONGEST_COMMENT` long; a line says how many benchmarks were cut, if any."""
    failed = [entry for entry in comment.entries if entry.failed]
    others = [entry for entry in comment.entries if not entry.failed]
    head = [MARKER, f"### Energy: {comment.title}", "", in_markdown(comment.counts), ""]
    tail: list[str] = []
    for note in comment.notes:
        line = f"- {in_markdown(_short(note, LONGEST_NOTE))}"
        if _size([*tail, line]) > NOTES_ROOM:
            tail.append(
                f"- {len(comment.notes) - len(tail)} more such lines were cut; the log has them"
            )
            break
        tail.append(line)
    summary = f"<details><summary>{len(others)} other benchmarks</summary>"
    room = LONGEST_COMMENT - RESERVE - _size([*head, *tail, *TABLE_HEAD, *TABLE_HEAD, summary])
    first, room = _that_fit(failed, room)
    # What regressed and was cut must not have its place taken by what did not.
    rest, room = _that_fit(others, room) if len(first) == len(failed) else ([], 0)
    lines = list(head)
    if first:
        lines += [*TABLE_HEAD, *(line for block in first for line in block), ""]
    if rest:
        lines += [
            summary,
            "",
            *TABLE_HEAD,
            *(line for block in rest for line in block),
            "",
            "</details>",
            "",
        ]
    cut_failed, cut = len(failed) - len(first), len(others) - len(rest)
    if cut_failed or cut:
        cut_line = (
            f"**Cut: {cut_failed + cut} of {len(comment.entries)} benchmarks, {cut_failed} of them failed**, since a comment holds "
            f"{LONGEST_COMMENT} characters; the log and the saved run have them all."
        )
        lines += [cut_line, ""]
    return "\n".join([*lines, *tail])


def _that_fit(entries: Sequence[Entry], room: int) -> tuple[list[list[str]], int]:
    """The rows of as many benchmarks, from the first on, as there is room for, and the room that is left."""
    kept = []
    for entry in entries:
        rows = _rows(entry)
        size = _size(rows)
        if size > room:
            break
        room -= size
        kept.append(rows)
    return kept, room


def _rows(entry: Entry) -> list[str]:
    name = f"<code>{in_markdown(_short(entry.name, LONGEST_CELL))}</code>"
    return [
        "| "
        + " | ".join([name, *(in_markdown(_short(cell, LONGEST_CELL)) for cell in line)])
        + " |"
        for line in entry.lines
    ]


def _size(lines: Iterable[str]) -> int:
    return sum(len(line.encode("utf8", "surrogatepass")) + 1 for line in lines)


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _entry_of_row(
    row: BenchmarkChanges, comparison: RunComparison, grams_per_kwh: float | None
) -> Entry:
    lines = []
    for change in row.changes:
        values, ratio = (*(" ".join(cell.split()) for cell in cells(change, comparison)), "")[:2]
        carbon = carbon_of(change, comparison, grams_per_kwh)
        verdict: str = change.verdict.verdict
        if verdict in ("regressed", "inconclusive", "not gated"):
            verdict += f": {change.verdict.reason}" + (
                f"; {change.advice}" if change.advice else ""
            )
        lines.append((f"{values}; {carbon}" if carbon else values, ratio, verdict))
    return Entry(row.name, SEVERITY[row.severity] == "regressed", tuple(lines))


def _entry_of_result(result: Result, grams_per_kwh: float | None) -> Entry:
    lines: list[tuple[str, str, str]] = []
    shown = _values(result, grams_per_kwh)
    for verdict in result.verdicts or (
        Verdict("", "not gated", "nothing was asked: no marker, no comparison, no floor"),
    ):
        ratios = result.comparison and {
            "speedup": result.comparison.speedup,
            "greenup": result.comparison.greenup,
        }
        ratio = ratios.get(verdict.metric) if ratios else None
        said = f"{verdict.metric} {verdict.verdict}".strip()
        if verdict.verdict not in ("met", "unchanged", "improved"):
            said += f": {verdict.reason}"
        lines.append((shown if not lines else "", _ratio(verdict.metric, ratio), said))
    return Entry(result.name, _failed(result), tuple(lines))


def _values(result: Result, grams_per_kwh: float | None) -> str:
    """What one call takes: joules with their provenance, seconds, and grams where asked."""
    seen, provenance = figures(result.measurement), _provenance(result.measurement.meter)
    factor, unit = scale_for([seen.seconds.value], "s")
    seconds = f"{digits(seen.seconds.value * factor)} {unit}"
    if seen.joules is None:
        return f"no joules counted; {seconds}"
    factor, unit = scale_for([seen.joules.value], "J")
    parts = [f"{digits(seen.joules.value * factor)} {unit} {provenance}", seconds]
    if grams_per_kwh is not None:
        grams = grams_per_million_calls(seen.joules.value, grams_per_kwh)
        factor, unit = scale_for([grams], "g")
        parts.append(
            f"{digits(grams * factor)} {unit} CO2e per million calls {provenance}, at {grams_per_kwh:g} g per kWh"
        )
    return "; ".join(parts)


def _ratio(metric: str, ratio: Interval | None) -> str:
    return "" if ratio is None else f"{metric} {with_bounds(ratio)}"


def _failed(result: Result) -> bool:
    return any(verdict.fails for verdict in result.verdicts)


def _provenance(meter: MeterInfo) -> str:
    return meter.provenance if meter.provenance == "measured" else meter.provenance.upper()
