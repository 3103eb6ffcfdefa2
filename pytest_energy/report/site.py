"""A folder for a web server such as GitHub Pages: an index of all benchmarks, and a badge."""

from __future__ import annotations

import json

from pytest_energy.report.escape import in_html
from pytest_energy.report.html import head, own_file, trend_text
from pytest_energy.report.small_multiples import multiples_html
from pytest_energy.report.view import RunView, provenance_text, short_commits
from pytest_energy.runs.history import History
from pytest_energy.runs.json_format import Run

# The format of shields.io/badges/endpoint-badge, which other badge services read as well.
BADGE_SCHEMA = 1
COLOURS = {"failed": "red", "inconclusive": "yellow", "not gated": "lightgrey"}
GOOD = "brightgreen"
# The index has no scripts and no images.
CONTENT_SECURITY = (
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
)
INDEX, BADGE, LATEST = "index.html", "badge.json", "latest.html"


def site_index(run: Run, history: History) -> str:
    """The index: what the newest run found, and each benchmark over time."""
    view = _view(run)
    commit = short_commits(str(run.commit.get("id") or "unknown"))
    newest = (
        f"Newest run: commit {commit}, {run.at or 'of unknown date'}; joules "
        f"{provenance_text(view.meter)}"
    )
    link = f'<p><a href="{LATEST}">All figures of the newest run</a></p>'
    return own_file("site.html").format(
        head=head(view, CONTENT_SECURITY),
        sentence=in_html(view.sentence[:1].upper() + view.sentence[1:]),
        newest=in_html(newest),
        links=link,
        trend_text=in_html(trend_text(history)),
        trend=multiples_html(history, fewest_runs=1),
    )


def badge(run: Run) -> str:
    """The verdict of the newest run as a badge: its sentence, and a colour for the worst test."""
    view = _view(run)
    state = view.rows[0].state if view.rows else "not gated"
    document = {
        "schemaVersion": BADGE_SCHEMA,
        "label": "energy",
        "message": view.sentence,
        "color": COLOURS.get(state, GOOD),
    }
    return json.dumps(document) + "\n"


def _view(run: Run) -> RunView:
    return RunView.of_results(run.results, run.results[0].measurement.meter)
