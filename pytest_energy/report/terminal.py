"""What a run prints: a sentence, one row for each test, and what is not gated."""

from __future__ import annotations

import io
import re
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.console import Console, RenderableType
from rich.text import Text

from pytest_energy.commits.against import Against
from pytest_energy.commits.git import printable
from pytest_energy.model import NO_METER, Interval, MeterInfo, Quality, Verdict
from pytest_energy.report.details import detail_lines
from pytest_energy.report.escape import plain
from pytest_energy.report.rows import table_of
from pytest_energy.report.units import interval_text
from pytest_energy.report.view import RunView, provenance_text, short_reason
from pytest_energy.stats.per_call import idle_watts

NARROWEST = 60
# The first tests of a kind are named, and the others counted.
MOST_LINES = 10
NUMBER = re.compile(r"[0-9]+(\.[0-9]+)?(e[+-]?[0-9]+)?")
NOTHING_MEASURED = (
    "NOTHING WAS MEASURED, so nothing is gated: no test finished a measurement with the energy or "
    "the benchmark fixture."
)
UNSTABLE_ADVICE = (
    "unstable: end other programs, or give the code fewer threads than there are idle CPUs"
)


@dataclass(frozen=True)
class Look:
    """How a run is shown."""

    width: int = 80
    colour: bool = False
    quiet: bool = False
    """No table: only the sentence, and what is not gated."""
    grams_per_kwh: float | None = None
    """Show grams of CO2e, too."""
    details: bool = False
    """All figures of each test, below the table."""
    sort: str = "change"
    """One of `options.SORTS`."""
    all_rows: bool = False
    """Show the rows of a large run that ask for no attention, too."""


# Above this load per CPU, a pool with a thread for each CPU has to wait for one.
BUSY_SHARE = 0.5


def header(meter: MeterInfo) -> list[str]:
    """Lines for the top of pytest's output: the meter, what it counts, and its notes."""
    counted = ", ".join(domain.name for domain in meter.domains if domain.parent is None)
    lines = [f"energy: {meter.provenance.upper()} by meter {meter.name} ({counted})"]
    # The first line has said this.
    notes = (note.removeprefix("estimated, ") for note in meter.notes)
    return [plain(line) for line in [*lines, *(f"energy: {note}" for note in notes)]]


def wrapped(text: str, width: int) -> str:
    """Text whose long lines end between words, for a terminal, which would break words.

    >>> print(wrapped("warning: one two three", 14))
    warning: one
      two three
    """
    lines = []
    for line in text.splitlines():
        # A line with colours is one of the table's.
        fits = len(line) <= width or "\x1b" in line
        indent = " " * (len(line) - len(line.lstrip()) + 2)
        lines += (
            [line]
            if fits
            else textwrap.wrap(
                line,
                width,
                subsequent_indent=indent,
                break_long_words=False,
                break_on_hyphens=False,
            )
        )
    return "\n".join(lines)


def machine_line(cpus: int, load: float | None, threads: int | None) -> str:
    """How busy the machine is, and with how many threads the code under test may compete.

    >>> machine_line(2, 0.25, None)
    'energy: 2 CPUs, load 0.2; thread pools as their libraries choose'
    >>> machine_line(1, None, 1)
    'energy: 1 CPU; thread pools of 1 thread'
    """
    line = f"energy: {cpus} CPU{'s' if cpus > 1 else ''}" + (
        "" if load is None else f", load {load:.1f}"
    )
    if threads is not None:
        return f"{line}; thread pools of {threads} thread{'s' if threads > 1 else ''}"
    if load is not None and load > cpus * BUSY_SHARE:
        return (
            f"{line}: other programs are running, and code of several threads waits for them; "
            "--energy-threads 1 gives it one"
        )
    return f"{line}; thread pools as their libraries choose"


def summary(view: RunView, look: Look = Look()) -> str:
    """The sentence, the table, what is not gated and why, and the warnings."""
    if not view.rows:
        return NOTHING_MEASURED
    parts: list[RenderableType] = list(sentence_lines(view))
    if not look.quiet:
        parts += table_of(view, look.width, look.sort, look.grams_per_kwh, look.all_rows)
    out = printed(parts, look.width, look.colour)
    closing = [*_closing(view, look)]
    if look.details and not look.quiet:
        closing += detail_lines(view)
    return "\n".join([out, *(plain(line) for line in closing)])


def sentence_lines(view: RunView) -> Iterator[Text]:
    """The number of tests by outcome, and whether the joules are estimated."""
    sentence = f"{view.count_text}: {view.sentence}"
    yield Text(sentence, style="bold red" if view.failed else "bold")
    if view.meter is not None and view.meter.name == NO_METER:
        return  # the lines of counted work follow
    if not view.estimated:
        yield Text(f"energy {provenance_text(view.meter)}")
    else:
        joules = view.joules_not_gated
        yield Text(
            f"energy ~ {provenance_text(view.meter)}"
            f"{f'; joules NOT GATED ({joules}x)' if joules else ''}"
        )


def printed(parts: Sequence[RenderableType], width: int, colour: bool) -> str:
    """What rich makes of these for a terminal of this width; lines end without spaces."""
    out = io.StringIO()
    console = Console(
        file=out,
        width=max(width, NARROWEST),
        force_terminal=colour,
        color_system="standard" if colour else None,
        highlight=False,
        no_color=not colour,
        soft_wrap=False,
    )
    for part in parts:
        # The terminal wraps sentences, so that a search in a log finds them.
        console.print(part, soft_wrap=isinstance(part, Text))
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines())


def against_lines(against: Against) -> list[str]:
    """Which tests have no partner in the other commit."""
    names = against.names
    paired = len(names.paired)
    both = f"{paired} {'tests are' if paired != 1 else 'test is'} in both"
    lines = [f"compared with {against.label}: {both}"]
    lines += _first(f"NOT GATED: new, and not in {against.label}", names.new)
    lines += _first(f"NOT GATED: vanished since {against.label}", names.vanished)
    lines += _first(
        "renamed, perhaps",
        [f"{then} is now {now}; the two are not compared" for then, now in names.renamed],
    )
    if against.copied:
        lines.append(
            f"copied to {against.label}: {', '.join(map(printable, against.copied))}, which git "
            "ignores and which only states a version"
        )
    return [plain(line) for line in lines]


def _first(kind: str, texts: Sequence[str]) -> list[str]:
    """A line for each of the first texts, and one for the rest."""
    lines = [f"{kind}: {text}" for text in texts[:MOST_LINES]]
    if len(texts) > MOST_LINES:
        lines.append(f"{kind}: and {len(texts) - MOST_LINES} more")
    return lines


def complaint(verdict: Verdict) -> str:
    """The line that a failed test shows: the value and the limit first."""
    short = short_reason(verdict)
    _, opened, rest = verdict.reason.partition(" (")
    evidence = opened + rest
    return plain(f"energy gate: {short}: {verdict.metric} {verdict.verdict}{evidence}")


def floor_complaint(quality: Quality) -> str:
    """The line of a test whose quality lies below its floor or above its ceiling."""
    return plain(
        f"energy gate: {quality.name} {quality.value:.4g}, {quality.limits}: {quality.name} missed"
    )


def _closing(view: RunView, look: Look) -> Iterator[str]:
    yield from view.not_gated
    if view.results and any(row.state == "inconclusive" for row in view.rows):
        yield "inconclusive: a higher --energy-max-time may settle it"
    if any("; unstable: " in reason for row in view.rows for reason in row.reasons):
        yield UNSTABLE_ADVICE
    if look.grams_per_kwh is not None:
        yield carbon_line(look.grams_per_kwh)
    yield from warning_lines(view)
    if look.quiet:
        return
    idle = idle_watts(view.results[0].measurement) if view.results else None
    if idle is not None and look.details:
        yield idle_line(idle)


def carbon_line(grams_per_kwh: float) -> str:
    """What the CO2e column shows."""
    return f"CO2e: grams per million calls at {grams_per_kwh:g} g per kWh, which the user gave"


def idle_line(idle: Interval) -> str:
    """The idle power, and what net joules are."""
    return f"Idle power: {interval_text(idle)} W; net joules = gross - idle power x seconds."


def warning_lines(view: RunView) -> list[str]:
    """Each kind of warning once, with the first of its tests and how many more it concerns.

    Warnings that differ in numbers only are of one kind.
    """
    kinds: dict[str, list[tuple[str, str]]] = {}
    for result in view.results:
        for warning in result.measurement.warnings:
            kind = NUMBER.sub("", warning)
            kinds.setdefault(kind, []).append((warning, result.name.rpartition("::")[2]))
    return [
        f"warning: {found[0][0]} "
        f"({found[0][1]}{f' and {len(found) - 1} more' if len(found) > 1 else ''})"
        for found in kinds.values()
    ]
