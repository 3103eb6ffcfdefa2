"""Replays a recorded trace, so that a run can be analysed again.

A trace is JSON lines. The first line describes the meter. Each other line is a reading, in order::

    {"pytest_energy_trace": 1, "name": "powercap", "provenance": "measured", ...}
    [12.25, {"package-0": 104.5}]

`RecordingMeter` reads another meter and writes a trace. `open_replay` reads the trace, as
``--energy-meter replay:trace.jsonl``. Every float in a trace is exact.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeGuard, get_args

from pytest_energy.errors import MeterFailed, MeterUnavailable
from pytest_energy.meters.machine_cpu import counts_others
from pytest_energy.meters.protocol import Meter, MeterSettings, info
from pytest_energy.model import Domain, MeterInfo, Provenance, Reading

VERSION = 1
_MARK = "pytest_energy_trace"


class RecordingMeter(Meter):
    """Reads another meter and writes every reading to a trace."""

    def __init__(self, inner: Meter, path: str | Path):
        about = info(inner)
        self._inner = inner
        self.name, self.provenance, self.domains = about.name, about.provenance, about.domains
        self.update_interval_s, self.resolution_joules = (
            about.update_interval_s,
            about.resolution_joules,
        )
        self.band, self.notes, self.ticks = about.band, about.notes, about.ticks
        self.counts_other_processes = counts_others(inner)
        self._file = open(path, "w", encoding="utf-8")  # noqa: SIM115 - closed by close()
        self._write(_header(about))

    def read(self) -> Reading:
        if self._file.closed:
            raise MeterFailed(f"the recording {self._file.name} was read after it was closed")
        reading = self._inner.read()
        self._write([reading.at_s, reading.joules])
        return reading

    def close(self) -> None:
        self._file.close()
        self._inner.close()

    def _write(self, line: object) -> None:
        self._file.write(json.dumps(line, allow_nan=False) + "\n")


class ReplayMeter(Meter):
    """Returns the readings of a trace in order, and fails after the last one."""

    counts_other_processes = False  # those of today have no part in it

    def __init__(self, path: str | Path, about: MeterInfo, readings: list[Reading]):
        self._path = path
        self._readings = readings
        self._next = 0
        self.name = f"replay of {about.name}"
        self.provenance, self.domains = about.provenance, about.domains
        self.update_interval_s, self.resolution_joules = (
            about.update_interval_s,
            about.resolution_joules,
        )
        self.band, self.ticks = about.band, about.ticks
        self.notes = (*about.notes, f"replayed from {path}, not measured now")

    def read(self) -> Reading:
        if self._next == len(self._readings):
            raise MeterFailed(
                f"the trace {self._path} has ended: it has {len(self._readings)} readings, and the "
                "run requires more; replay it with the command that recorded it"
            )
        reading = self._readings[self._next]
        self._next += 1
        return reading

    def close(self) -> None:
        """Do nothing: no file is open."""


def open_replay(settings: MeterSettings, argument: str | None = None) -> ReplayMeter:
    """Open the trace file ``argument``. `MeterUnavailable` names the file and the invalid line."""
    if argument is None:
        raise MeterUnavailable("the replay meter requires a trace", "name its file: replay:PATH")
    try:
        lines = Path(argument).read_text(encoding="utf-8").rstrip("\n").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = f"the trace {argument} cannot be read: {error}"
        raise MeterUnavailable(reason, "record one with `pytest-energy record`") from error
    try:
        about = _parse_header(json.loads(lines[0]))
    except (ValueError, RecursionError) as error:
        raise _broken(argument, 1, str(error)) from error
    names = {domain.name for domain in about.domains}
    readings: list[Reading] = []
    for number, line in enumerate(lines[1:], start=2):
        try:
            reading = _parse_reading(json.loads(line), names)
            if readings and reading.at_s < readings[-1].at_s:
                raise ValueError(
                    f"time goes backwards, from {readings[-1].at_s!r} to {reading.at_s!r} s"
                )
        except (ValueError, RecursionError) as error:  # JSON errors too
            raise _broken(argument, number, str(error)) from error
        readings.append(reading)
    return ReplayMeter(argument, about, readings)


def _broken(path: str, number: int, what: str) -> MeterUnavailable:
    reason = f"{path}, line {number}: not a trace of pytest-energy: {what}"
    return MeterUnavailable(reason, "record it again with `pytest-energy record`")


def _header(about: MeterInfo) -> dict[str, object]:
    return {
        _MARK: VERSION,
        "name": about.name,
        "provenance": about.provenance,
        "domains": [[domain.name, domain.parent] for domain in about.domains],
        "update_interval_s": about.update_interval_s,
        "resolution_joules": about.resolution_joules,
        "band": list(about.band),
        "notes": list(about.notes),
        "ticks": about.ticks,
    }


def _parse_header(line: object) -> MeterInfo:
    if not isinstance(line, dict) or line.get(_MARK) != VERSION:
        raise ValueError(f'the line must be an object with "{_MARK}": {VERSION}')
    if line.get("provenance") not in get_args(Provenance):
        raise ValueError(
            f"provenance must be one of {', '.join(get_args(Provenance))}, "
            f"got {line.get('provenance')!r}"
        )
    domains: Any = line.get("domains")
    band: Any = line.get("band")
    notes: Any = line.get("notes")
    if (
        not _is_list_of(domains, _is_domain)
        or not domains
        or len({name for name, _ in domains}) != len(domains)
    ):
        raise ValueError(f"domains must be pairs of a unique name and a parent, got {domains!r}")
    if not _is_list_of(band, _is_amount) or len(band) != 2:
        raise ValueError(f"band must be two factors, got {band!r}")
    if not _is_list_of(notes, lambda note: isinstance(note, str)):
        raise ValueError(f"notes must be strings, got {notes!r}")
    ticks = line.get("ticks", True)
    if not isinstance(ticks, bool):
        raise ValueError(f"ticks must be true or false, got {ticks!r}")
    for key in ("update_interval_s", "resolution_joules"):
        if not _is_amount(line.get(key)):
            raise ValueError(f"{key} must be a number >= 0, got {line.get(key)!r}")
    return MeterInfo(
        str(line.get("name")),
        line["provenance"],
        tuple(Domain(name, parent) for name, parent in domains),
        float(line["update_interval_s"]),
        float(line["resolution_joules"]),
        (float(band[0]), float(band[1])),
        tuple(notes),
        ticks,
    )


def _parse_reading(line: object, names: set[str]) -> Reading:
    if (
        not isinstance(line, list)
        or len(line) != 2
        or not _is_number(line[0])
        or not isinstance(line[1], dict)
    ):
        raise ValueError(f"a reading must be [seconds, {{domain: joules}}], got {line!r}")
    at_s, joules = line
    if set(joules) != names:
        raise ValueError(f"a reading must have the domains {sorted(names)}, got {sorted(joules)}")
    if not all(map(_is_number, joules.values())):
        raise ValueError(f"joules must be finite numbers, got {joules!r}")
    return Reading(float(at_s), {name: float(value) for name, value in joules.items()})


def _is_number(value: object) -> TypeGuard[float]:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer too large for a float
        return False


def _is_amount(value: object) -> bool:
    return _is_number(value) and value >= 0


def _is_list_of(value: object, fits: Callable[[Any], bool]) -> bool:
    return isinstance(value, list) and all(map(fits, value))


def _is_domain(value: object) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 2
        and isinstance(value[0], str)
        and (value[1] is None or isinstance(value[1], str))
    )
