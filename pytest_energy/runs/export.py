"""Saved runs as flat rows: CSV, Parquet and Prometheus text.

A row is one benchmark of one run; `COLUMNS` has its columns and units. An unknown value is None: an
empty cell in CSV, null in Parquet.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pytest_energy.errors import OptionError
from pytest_energy.model import Interval, Result
from pytest_energy.runs.json_format import Run
from pytest_energy.stats.per_call import figures

# Name, type and meaning. All quantities are per call. Joules and watts are gross unless named net.
COLUMNS: tuple[tuple[str, type, str], ...] = (
    ("run", str, "the file"),
    ("at", str, "when it was saved, ISO 8601"),
    ("commit", str, "the commit's id, as saved"),
    ("cpu", str, "the machine's CPU"),
    ("cores", int, "its CPUs"),
    ("memory_gib", int, "its memory, GiB"),
    ("meter", str, "the meter's name"),
    ("provenance", str, "measured, attributed or estimated"),
    ("benchmark", str, "the test's id"),
    ("seconds", float, "median over the windows, s"),
    ("seconds_low", float, "its 95 % interval"),
    ("seconds_high", float, ""),
    ("joules", float, "median over the windows, J"),
    ("joules_low", float, "its 95 % interval; an estimate's is widened by its band"),
    ("joules_high", float, ""),
    ("net_joules", float, "joules less idle power x seconds, J"),
    ("watts", float, "median over the windows, W"),
    ("windows", int, "how many windows"),
    ("calls", int, "how many calls in all windows"),
    ("baseline", str, "the baseline of its comparison, if any"),
    ("speedup", float, "baseline's seconds over its own"),
    ("speedup_low", float, "its interval, valid at any stopping time"),
    ("speedup_high", float, ""),
    ("greenup", float, "baseline's joules over its own"),
    ("greenup_low", float, "its interval"),
    ("greenup_high", float, ""),
    ("powerup", float, "its watts over the baseline's"),
    ("category", int, "GPS-UP's, 1 to 8, where the intervals support one"),
    ("qualities", str, "JSON: name to value"),
    ("verdicts", str, "JSON: metric to verdict"),
)
METRICS = (
    ("seconds", "Seconds per call, median over the windows."),
    ("joules", "Joules per call, gross, median over the windows."),
    ("watts", "Watts, gross, median over the windows."),
    ("speedup", "Seconds of the baseline over its own."),
    ("greenup", "Joules of the baseline over its own."),
)


# A spreadsheet runs a cell that begins with one of these.
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
MOST_INT64 = 2**63 - 1


def rows(runs: Iterable[Run]) -> list[dict[str, Any]]:
    """One dict per benchmark and run, with the keys of `COLUMNS` in that order.

    Texts are printable Unicode, and whole numbers have 64 bits: what a file has beyond that is
    escaped, or unknown.
    """
    return [_portable(_row(run, result)) for run in runs for result in run.results]


def as_csv(table: Sequence[dict[str, Any]]) -> str:
    """RFC 4180 with a header; numbers in full precision.

    A text that a spreadsheet would run as a formula gets an apostrophe before it.
    """
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, [name for name, _, _ in COLUMNS])
    writer.writeheader()
    writer.writerows({name: _not_a_formula(value) for name, value in row.items()} for row in table)
    return text.getvalue()


def write_parquet(table: Sequence[dict[str, Any]], path: Path) -> None:
    """Write the rows as Parquet. Raises `OptionError` without pyarrow.

    Each column has its type even if it has no values.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise OptionError(
            'Parquet requires pyarrow; pip install "pytest-energy[parquet]", or use --format csv'
        ) from None
    types = {str: pyarrow.string(), int: pyarrow.int64(), float: pyarrow.float64()}
    schema = pyarrow.schema(
        [
            pyarrow.field(name, types[kind], metadata={"meaning": meaning})
            for name, kind, meaning in COLUMNS
        ]
    )
    parquet.write_table(pyarrow.Table.from_pylist(list(table), schema), path)


def as_openmetrics(table: Sequence[dict[str, Any]]) -> str:
    """As `as_prometheus`, as GitLab's metrics report reads it: it ends with ``# EOF``.

    The commit is no label: GitLab compares the metrics of two commits by their labels.
    """
    return as_prometheus([{**row, "commit": ""} for row in table]) + "# EOF\n"


def as_prometheus(table: Sequence[dict[str, Any]]) -> str:
    """Prometheus' text format, version 0.0.4, without timestamps, as a pushgateway accepts it.

    A benchmark may occur only once: pass the rows of one run.
    """
    lines = []
    for name, meaning in METRICS:
        known = [row for row in table if row[name] is not None]
        if known:
            metric = f"pytest_energy_{name}"
            lines += [f"# HELP {metric} {meaning}", f"# TYPE {metric} gauge"]
            # A test that is in a file twice has the same labels twice: the last one counts.
            values = {_labels(row): row[name] for row in known}
            lines += [f"{metric}{{{labels}}} {value!r}" for labels, value in values.items()]
    return "".join(f"{line}\n" for line in lines)


def newest(runs: Sequence[Run]) -> Run:
    """The run that was saved last."""
    return max(runs, key=lambda run: (run.at, run.path))


def _labels(row: dict[str, Any]) -> str:
    labels = {key: row[key] for key in ("benchmark", "meter", "provenance", "commit")}
    return ",".join(f'{key}="{_escaped(value)}"' for key, value in labels.items() if value)


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _portable(row: dict[str, Any]) -> dict[str, Any]:
    return {name: _portable_value(value) for name, value in row.items()}


def _portable_value(value: Any) -> Any:
    if isinstance(value, str) and not value.isprintable():
        return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in value)
    if isinstance(value, int) and abs(value) > MOST_INT64:
        return None
    return value


def _not_a_formula(value: Any) -> Any:
    if isinstance(value, str) and value.startswith(FORMULA_STARTS):
        return f"'{value}"
    return value


def _row(run: Run, result: Result) -> dict[str, Any]:
    measurement, comparison = result.measurement, result.comparison
    per_call = figures(measurement)
    speedup, greenup, powerup = (
        (None, None, None)
        if comparison is None
        else (comparison.speedup, comparison.greenup, comparison.powerup)
    )
    values = (
        run.path,
        run.at,
        str(run.commit.get("id") or ""),
        _as(str, run.machine.get("cpu")),
        _as(int, run.machine.get("cores")),
        _as(int, run.machine.get("memory_gib")),
        measurement.meter.name,
        measurement.meter.provenance,
        result.name,
        *_spread(per_call.seconds),
        *_spread(per_call.joules),
        _spread(per_call.net_joules)[0],
        _spread(per_call.watts)[0],
        len(measurement.windows),
        sum(window.calls for window in measurement.windows),
        None if comparison is None else comparison.baseline_name,
        *_spread(speedup),
        *_spread(greenup),
        _spread(powerup)[0],
        None if comparison is None else comparison.category,
        json.dumps(
            {quality.name: _finite(quality.value) for quality in result.qualities},
            ensure_ascii=False,
        ),
        json.dumps(
            {verdict.metric: verdict.verdict for verdict in result.verdicts}, ensure_ascii=False
        ),
    )
    return {name: value for (name, _, _), value in zip(COLUMNS, values, strict=True)}


def _spread(interval: Interval | None) -> tuple[float | None, float | None, float | None]:
    if interval is None:
        return None, None, None
    return _finite(interval.value), _finite(interval.low), _finite(interval.high)


def _finite(value: float) -> float | None:
    return value if abs(value) < float("inf") else None  # NaN is not below it either


def _as(kind: type, value: object) -> Any:
    """The value, or None if another program wrote a value of another type."""
    return value if isinstance(value, kind) and not isinstance(value, bool) else None
