"""A run as one page that opens anywhere: no network, no server, nothing to install.

Values are in the page as JSON, tables as HTML, so that both work without the charts. The charts
are Vega-Lite's; the extra ``report`` brings its code (vl-convert-python), and the page holds it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from importlib.resources import files
from typing import Any

from pytest_energy.errors import OptionError
from pytest_energy.report.compare_table import closing_lines
from pytest_energy.report.escape import in_html
from pytest_energy.report.page_data import embedded, page_document
from pytest_energy.report.page_table import table_html
from pytest_energy.report.small_multiples import multiples_html
from pytest_energy.report.units import interval_text
from pytest_energy.report.view import OUTCOMES, RunView, provenance_text, short_commits
from pytest_energy.runs.comparison import RunComparison
from pytest_energy.runs.history import History
from pytest_energy.runs.json_format import Run
from pytest_energy.stats.per_call import idle_watts

# The page fetches nothing, from anywhere; images are Vega's own.
CONTENT_SECURITY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "img-src data:; base-uri 'none'; form-action 'none'"
)

# The lines on a comparison that stand at the end of the page.
OF_METHOD = ("OLD:", "NEW:", "joules are ", "software")
WINDOW_JOULES = "<div id=window_joules class=chart></div>\n"


def page(run: Run, history: History | None = None, comparison: RunComparison | None = None) -> str:
    """The page of a run; with its history, or compared with another run.

    Raises `OptionError` without the charts' code.
    """
    meter = run.results[0].measurement.meter if run.results else None
    view = RunView.of_results(run.results, meter)
    if comparison is not None:
        view = view.compared(comparison)
    compared = [] if comparison is None else list(closing_lines(comparison, view))
    trend = "" if history is None else multiples_html(history)
    return own_file("page.html").format(
        head=head(view, CONTENT_SECURITY),
        sentence=in_html(view.sentence[:1].upper() + view.sentence[1:]),
        meter=in_html(_meter_line(view)),
        compared=_list(line for line in compared if not line.startswith(OF_METHOD)),
        compared_how=_list(line for line in compared if line.startswith(OF_METHOD)),
        attention=_attention(view),
        chips=_chips(view),
        table=table_html(view),
        method=_method(run, view),
        figures=_figure_options(view),
        window_joules="" if view.estimated else WINDOW_JOULES,
        has_trend="" if trend else "hidden",
        trend=trend,
        trend_text=in_html(trend_text(history)),
        data=embedded(page_document(view)),
        charts_code=_charts_code(),
        code=own_file("page.js"),
    )


def _figure_options(view: RunView) -> str:
    """The figures that can be drawn; an estimate makes watts a constant, and joules the time."""
    names = {"seconds": "seconds per call"}
    if not view.estimated:
        names |= {"joules": "joules per call", "watts": "watts"}
    return "".join(f"<option value={value}>{name}" for value, name in names.items())


def trend_text(history: History | None) -> str:
    """How to read the charts over time, and why there are no changes if there are none."""
    if history is None:
        return ""
    text = "Each benchmark, oldest run first; a vertical line marks a change for good."
    return f"{text} {history.no_change_points}".strip()


def _charts_code() -> str:
    try:
        import vl_convert
    except ImportError:
        raise OptionError(
            'the page needs vl-convert-python: pip install "pytest-energy[report]"'
        ) from None
    # Its stub asks for a snippet, which it does not need.
    bundle: Any = vl_convert.javascript_bundle
    return str(bundle()).replace("</script", r"<\/script")


def _meter_line(view: RunView) -> str:
    return f"{view.count_text}; joules {provenance_text(view.meter)}"


def _list(lines: Iterable[str]) -> str:
    items = "".join(f"<li>{in_html(line)}</li>" for line in lines)
    return f"<ul class=compared>{items}</ul>" if items else ""


def _attention(view: RunView) -> str:
    """What failed or is open: the name, and what was asked with the value beside it."""
    items = [
        f'<li class="{_css(row.state)}"><b>{in_html(label)}</b> '
        f"{in_html('; '.join(row.reasons))}</li>"
        for row, label in zip(view.rows, view.labels, strict=True)
        if row.state == "failed" or (row.state == "inconclusive" and row.reasons)
    ]
    return f"<ul class=attention>{''.join(items)}</ul>" if items else ""


def _chips(view: RunView) -> str:
    """Buttons that show only the tests that came out in one way."""
    counts = Counter(row.outcome for row in view.rows)
    states = {row.outcome: row.state for row in view.rows}
    return "".join(
        f'<button type=button class="chip {_css(states[outcome])}" aria-pressed=false '
        f'data-outcome="{outcome}">{counts[outcome]} {outcome}</button>'
        for outcome in OUTCOMES
        if counts[outcome]
    )


def _method(run: Run, view: RunView) -> str:
    machine, meter = run.machine, view.meter
    idle = idle_watts(view.results[0].measurement) if view.results else None
    size = f"{machine.get('cores', '?')} cores, {machine.get('memory_gib', '?')} GiB"
    changed = " with uncommitted changes" if run.commit.get("dirty") else ""
    lines = {
        "joules": "; ".join([provenance_text(meter), *(meter.notes if meter else ())]),
        "machine": f"{machine.get('cpu', 'unknown CPU')}, {size}",
        "commit": short_commits(str(run.commit.get("id") or "unknown")) + changed,
        "saved": run.at or "unknown",
        "idle power": "not measured",
    }
    if idle is not None:
        lines["idle power"] = f"{interval_text(idle)} W; net joules = gross - idle power × time"
    return "".join(
        f"<div><dt>{name}</dt><dd>{in_html(value)}</dd></div>" for name, value in lines.items()
    )


def _css(state: str) -> str:
    return state.replace(" ", "-")


def head(view: RunView, content_security: str) -> str:
    """What a page of this run begins with; its title is the summary sentence."""
    return own_file("head.html").format(
        csp=content_security, css=own_file("page.css"), title=in_html(f"Energy: {view.sentence}")
    )


def own_file(name: str) -> str:
    """The text of a file beside this module."""
    return files("pytest_energy.report").joinpath(name).read_text(encoding="utf8")
