"""A comment on a pull request: one row a benchmark, what failed first, the rest folded.

The first line is an invisible marker by which a workflow finds its earlier comment and updates it.
A comment is never longer than GitHub allows; a line reports what was cut.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pytest_energy.model import Interval
from pytest_energy.report.compare_table import closing_lines
from pytest_energy.report.escape import in_markdown
from pytest_energy.report.rows import grams_text
from pytest_energy.report.terminal import carbon_line
from pytest_energy.report.units import before_after, with_unit
from pytest_energy.report.view import ResultView, RunView, State, provenance_text
from pytest_energy.runs.comparison import RunComparison
from pytest_energy.verdicts import NOT_GATED_ESTIMATE

MARKER = "<!-- pytest-energy -->"
# GitHub refuses a longer comment ("Body is too long (maximum is 65536 characters)"). Bytes are
# counted here: no text has fewer bytes than characters.
LONGEST_COMMENT = 65_536
# A parametrized id may be as long as its parameter; one cell must not use up a comment.
LONGEST_CELL = 400
# Notes are as many as there are reasons; the table comes first.
LONGEST_NOTE, NOTES_ROOM = 800, 12_000
# Room for the lines that report what was cut and close what is open.
RESERVE = 400
HEAD = ("", "benchmark", "time", "change", "energy", "verdict")
MARKS: dict[State, str] = {
    "failed": "🔴",
    "inconclusive": "🟡",
    "improved": "🟢",
    "passed": "⚪",
    "not gated": "⚪",
}
COMMIT_DIGITS = 8
# Between the figures of a cell.
FIGURES = "; "


@dataclass(frozen=True)
class Entry:
    """One benchmark: its state, its name, and the cells of its row."""

    state: State
    name: str
    cells: tuple[str, ...]

    @property
    def failed(self) -> bool:
        return self.state == "failed"


@dataclass(frozen=True)
class Comment:
    """The content of a comment, before it is cut to the length that GitHub allows."""

    mark: str
    title: str
    """After "Energy: "."""
    entries: tuple[Entry, ...] = ()
    notes: tuple[str, ...] = ()
    method: str = ""
    """One small line: how the numbers were made."""
    command: str = ""
    """The command that finds the commit that made it worse."""
    head: tuple[str, ...] = HEAD
    worst: str = ""
    """The first failure: the name, what was asked and the value."""


def markdown(comparison: RunComparison, grams_per_kwh: float | None = None) -> str:
    """Two sets of saved runs."""
    view = RunView.of_comparison(comparison)
    old, new = comparison.old[-1].commit, comparison.new[-1].commit
    commits = f", {_commit(new)} against {_commit(old)}" if old and new else ""
    notes = [line for line in closing_lines(comparison, view) if _worth_a_note(line)]
    return rendered(_comment(view, commits, notes, grams_per_kwh, _bisect(view, old, new)))


def live_markdown(
    view: RunView,
    notes: Iterable[str] = (),
    failed_tests: int = 0,
    grams_per_kwh: float | None = None,
) -> str:
    """The results of a run that has just ended.

    ``failed_tests`` counts all failed tests of the run, for whatever reason.
    """
    more = [*view.not_gated, *notes]
    others = failed_tests - sum(row.state == "failed" for row in view.rows)
    if others > 0:
        more.append(
            f"{others} more {'tests' if others > 1 else 'test'} of this run failed; see its log"
        )
    baselines = {row.baseline for row in view.rows if row.baseline}
    against = f", against {_short(baselines.pop(), 60)}" if len(baselines) == 1 else ""
    return rendered(_comment(view, against, more, grams_per_kwh))


def trouble_markdown(problem: str) -> str:
    """The comment if nothing could be compared: the reason."""
    return rendered(Comment("⚠️", "could not be compared", notes=(_short(problem, 2000),)))


def rendered(comment: Comment) -> str:
    """The comment's text, at most `LONGEST_COMMENT` long. A line reports what was cut."""
    shown = [
        entry for entry in comment.entries if entry.state in ("failed", "inconclusive", "improved")
    ]
    folded = [entry for entry in comment.entries if entry not in shown]
    n_failed = sum(entry.failed for entry in shown)
    head = [MARKER, f"### {comment.mark} Energy: {in_markdown(comment.title)}"]
    head += [in_markdown(_short(comment.worst, LONGEST_CELL)), ""] if comment.worst else [""]
    tail = _notes(comment)
    table_head = [_row(comment.head), _row(["---"] * len(comment.head))]
    noun = "benchmark" if len(folded) == 1 else "benchmarks"
    summary = f"<details><summary>{len(folded)} other {noun}</summary>"
    room = LONGEST_COMMENT - RESERVE - _size([*head, *tail, *table_head, *table_head, summary])
    first, room = _that_fit(shown, room)
    # Where a failure was cut, what did not fail must not take its place.
    rest, room = _that_fit(folded, room) if len(first) == len(shown) else ([], 0)
    lines = list(head)
    if first:
        lines += [*table_head, *first, ""]
    if rest:
        lines += [summary, "", *table_head, *rest, "", "</details>", ""]
    cut = len(comment.entries) - len(first) - len(rest)
    if cut:
        cut_failed = max(0, n_failed - len(first))
        line = (
            f"**Cut: {cut} of {len(comment.entries)} benchmarks, {cut_failed} of them failed**, "
            f"since a comment holds {LONGEST_COMMENT} characters; the log has them all."
        )
        lines += [line, ""]
    return "\n".join([*lines, *tail])


def _notes(comment: Comment) -> list[str]:
    tail: list[str] = []
    for note in comment.notes:
        line = f"- {in_markdown(_short(note, LONGEST_NOTE))}"
        if _size([*tail, line]) > NOTES_ROOM:
            tail.append(f"- {len(comment.notes) - len(tail)} more such lines were cut; see the log")
            break
        tail.append(line)
    if comment.command:
        command = in_markdown(_short(comment.command, LONGEST_NOTE))
        tail += ["", f"Find the commit: <code>{command}</code>"]
    if comment.method:
        tail += ["", f"<sub>{in_markdown(_short(comment.method, LONGEST_NOTE))}</sub>"]
    return tail


def _that_fit(entries: Sequence[Entry], room: int) -> tuple[list[str], int]:
    """The rows of as many benchmarks, from the first on, as fit; and the room that is left."""
    kept = []
    for entry in entries:
        name = f"<code>{in_markdown(_short(entry.name, LONGEST_CELL))}</code>"
        *figures, verdict = (_short(cell, LONGEST_CELL) for cell in entry.cells)
        row = _row([MARKS[entry.state], name, *map(_unbroken, figures), in_markdown(verdict)])
        if _size([row]) > room:
            break
        room -= _size([row])
        kept.append(row)
    return kept, room


def _unbroken(cell: str) -> str:
    """A figure a line: side by side they are wider than a comment."""
    lines = (in_markdown(line).replace(" ", "&nbsp;") for line in cell.split(FIGURES))
    return "<br>".join(lines)


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _size(lines: Iterable[str]) -> int:
    return sum(len(line.encode("utf8", "surrogatepass")) + 1 for line in lines)


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _comment(
    view: RunView,
    title: str,
    notes: Sequence[str],
    grams_per_kwh: float | None,
    command: str = "",
) -> Comment:
    mark = MARKS["failed"] if view.failed else MARKS[view.rows[0].state] if view.rows else "⚠️"
    sentence = view.sentence if view.rows else "nothing was measured"
    method = f"joules are {provenance_text(view.meter)}"
    if view.joules_not_gated:
        method += "; they follow CPU time and do not decide"
    if grams_per_kwh is not None:
        method += f"; {carbon_line(grams_per_kwh)}"
    entries = tuple(
        Entry(row.state, label, _cells(row, grams_per_kwh))
        for row, label in zip(view.rows, view.labels, strict=True)
    )
    energy = "energy (estimated)" if view.estimated else "energy"
    head = tuple(energy if name == "energy" else name for name in HEAD)
    failed = [
        f"{label}: {'; '.join(row.reasons)}"
        for row, label in zip(view.rows, view.labels, strict=True)
        if row.state == "failed"
    ]
    worst = failed[0] if failed else ""
    if len(failed) > 1:
        worst += f"; and {len(failed) - 1} more below"
    return Comment(mark, f"{sentence}{title}", entries, tuple(notes), method, command, head, worst)


def _cells(row: ResultView, grams_per_kwh: float | None) -> tuple[str, ...]:
    energy = _before_after(row.joules_before, row.joules, "J")
    if grams_per_kwh is not None and row.joules is not None:
        energy += f"{FIGURES}{grams_text(row, grams_per_kwh, True)} CO2e"
    if row.greenup is not None and not any(v.reason == NOT_GATED_ESTIMATE for v in row.verdicts):
        energy = f"{energy}{FIGURES}{_change(row.greenup, row)}"
    verdict = row.outcome
    if row.state in ("failed", "inconclusive"):
        limits = {_without_change(reason, False) for reason in row.reasons}
        reasons = [_without_change(reason, len(limits) > 1) for reason in row.reasons]
        verdict += "".join(f"; {reason}" for reason in dict.fromkeys(reasons))
    return (
        _before_after(row.seconds_before, row.seconds, "s"),
        _change(row.speedup, row),
        energy,
        verdict,
    )


def _without_change(reason: str, named: bool) -> str:
    """A reason without the value, which has a column of its own; with its quantity if asked for.

    >>> _without_change("time +23 % [+21, +24], limit +3 %", True)
    'time: limit +3 %'
    """
    found = re.fullmatch(r"(speedup|greenup|time|energy) [^\]]*\], (.*)", reason)
    if found is None:
        return reason
    return f"{found[1]}: {found[2]}" if named else found[2]


def _before_after(before: float | None, after: float | None, unit: str) -> str:
    return with_unit(after, unit) if before is None else before_after(before, after, unit)


def _change(ratio: Interval | None, row: ResultView) -> str:
    if ratio is None:
        return ""
    return f"{ratio}" if row.asks_for_factors else f"{ratio.as_change():%}"


def _bisect(view: RunView, old: str, new: str) -> str:
    worse = [row for row in view.rows if row.outcome in ("slower", "with more energy")]
    if not (old and new and worse) or old == new:
        return ""
    return f"pytest-energy bisect {_commit(old)} {_commit(new)} {shlex.quote(worse[0].name)}"


def _commit(commit: str) -> str:
    return commit[:COMMIT_DIGITS]


def _worth_a_note(line: str) -> bool:
    """Whether the line adds anything to the method's line."""
    return not line.startswith("joules are ")
