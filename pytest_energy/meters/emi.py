"""Windows's Energy Meter Interface: joules of CPU packages, DRAM and rails, without administrator.

Drivers give each meter a device with channels that count picowatt-hours (Windows 10 and newer;
Windows 11 shows RAPL there). The structures are those of the SDK's emi.h, and the calls those of
its page "Energy Meter Interface". No real device has been seen by this module: its tests have a
stand-in for the calls.
"""

from __future__ import annotations

import ctypes
import re
import struct
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from pytest_energy.clock import now_s
from pytest_energy.errors import MeterFailed, MeterUnavailable
from pytest_energy.meters.plausible import CheckedCounter
from pytest_energy.meters.protocol import Meter, MeterSettings
from pytest_energy.meters.sampler import (
    DEFAULT_UPDATE_INTERVAL_S,
    WATCH_BOUND_S,
    watch_update_intervals,
)
from pytest_energy.model import Domain, Provenance, Reading

JOULES_PER_PICOWATT_HOUR = 3600e-12
PICOWATT_HOURS = 0  # EmiMeasurementUnitPicowattHours, the only unit
# Windows composes a code of the device type (unknown), the access (read) and a function.
GET_VERSION, GET_METADATA_SIZE, GET_METADATA, GET_MEASUREMENT = (
    0x22 << 16 | 1 << 14 | function << 2 for function in range(4)
)
VERSION_1, VERSION_2 = 1, 2
_NAME = 16 * 2  # EMI_NAME_MAX UTF-16 units
# EMI_METADATA_V1: unit, OEM, model, revision, bytes of the name, the name.
_V1_HEAD = struct.Struct(f"<i{_NAME}s{_NAME}sHH")
# EMI_METADATA_V2: OEM, model, revision, number of channels, the channels.
_V2_HEAD = struct.Struct(f"<{_NAME}s{_NAME}sHH")
# EMI_CHANNEL_V2: unit, bytes of the name, the name. The next follows without padding.
_CHANNEL_HEAD = struct.Struct("<iH")
# EMI_CHANNEL_MEASUREMENT_DATA: energy, and the time of its measurement in 100 ns.
_MEASUREMENT = struct.Struct("<QQ")
MOST_METADATA_BYTES = 1 << 20

# Intel's driver names RAPL's channels so. PP0 are the cores and PP1 the graphics, in the package.
_RAPL = re.compile(r"RAPL_Package(\d+)_(PKG|DRAM|PP0|PP1)")
_RAPL_DOMAINS = {"PKG": "package", "DRAM": "dram", "PP0": "core", "PP1": "uncore"}

_ACCESS_DENIED = 5
_NOT_WINDOWS = "the Energy Meter Interface is a part of Windows"
_NO_DEVICE = (
    "Windows shows meters of some laptops, and RAPL from Windows 11 on; update the chipset's "
    "driver, or use --energy-meter estimate"
)


class EmiCalls(Protocol):
    """The calls of Windows that the meter needs. Both raise `OSError`."""

    def devices(self) -> Sequence[str]:
        """The paths of the devices that count energy."""

    def open(self, path: str) -> Any:
        """A handle of a device."""

    def control(self, handle: Any, code: int, size: int) -> bytes:
        """The answer of a device to a control code, of at most ``size`` bytes."""

    def close(self, handle: Any) -> None:
        """Release the handle."""


@dataclass(frozen=True)
class _Channel:
    """One counter: the device that has it, its place there, and its name."""

    handle: Any
    place: int
    name: str


class EmiMeter(Meter):
    """The joules of the channels that ``pick`` names: Windows's names, joined with +.

    Without ``pick``, RAPL's packages and DRAM, or the only channel. Raises `MeterUnavailable` if
    there is no channel, or if several may overlap.
    """

    name = "emi"
    provenance: Provenance = "measured"

    def __init__(self, pick: str | None = None, calls: EmiCalls | None = None):
        self._calls = calls or _windows_calls()
        self._closed = False
        self._handles: list[Any] = []
        self._sizes: dict[Any, int] = {}
        self._notes = [
            "emi: no real device has been seen by this version; compare its watts with another tool"
        ]
        try:
            self._channels, self.domains = _choose(list(self._open()), pick)
            self._counters = [
                CheckedCounter(f"emi: channel {channel.name}") for channel in self._channels
            ]
            self.update_interval_s = self._watch()
        except MeterFailed as failure:
            self.close()
            raise MeterUnavailable(str(failure), _NO_DEVICE) from failure
        except BaseException:
            self.close()
            raise
        self.resolution_joules = JOULES_PER_PICOWATT_HOUR

    @property
    def notes(self) -> tuple[str, ...]:  # type: ignore[override]
        """What was assumed."""
        return tuple(self._notes)

    def read(self) -> Reading:
        """The joules of each channel since its driver was loaded."""
        if self._closed:
            raise MeterFailed("the emi meter was read after it was closed; open it again")
        at_s = now_s()
        names = (domain.name for domain in self.domains)
        return Reading(at_s, dict(zip(names, self._joules(), strict=True)))

    def close(self) -> None:
        """Release the devices."""
        self._closed = True
        while self._handles:
            self._calls.close(self._handles.pop())

    def _open(self) -> Iterator[_Channel]:
        """Every channel of every device."""
        try:
            paths = self._calls.devices()
        except OSError as error:
            raise MeterUnavailable(f"Windows lists no energy meters: {error}", _NO_DEVICE) from None
        if not paths:
            raise MeterUnavailable("this machine has no device that counts energy", _NO_DEVICE)
        for path in paths:
            try:
                handle = self._calls.open(path)
                self._handles.append(handle)
                names = _channel_names(self._calls, handle)
            except OSError as error:
                denied = error.errno == _ACCESS_DENIED
                remedy = "run as an administrator once, to see whether it is the permission"
                raise MeterUnavailable(
                    f"{path} cannot be read: {error}", remedy if denied else _NO_DEVICE, denied
                ) from None
            except (struct.error, ValueError) as error:
                raise MeterUnavailable(
                    f"{path} describes its channels in an unknown form: {error}", _NO_DEVICE
                ) from None
            self._sizes[handle] = len(names) * _MEASUREMENT.size
            for place, name in enumerate(names):
                yield _Channel(handle, place, name)

    def _joules(self) -> list[float]:
        answers: dict[Any, bytes] = {}
        joules = []
        for channel, counter in zip(self._channels, self._counters, strict=True):
            try:
                if channel.handle not in answers:
                    answers[channel.handle] = self._calls.control(
                        channel.handle, GET_MEASUREMENT, self._sizes[channel.handle]
                    )
                energy, _ = _MEASUREMENT.unpack_from(
                    answers[channel.handle], channel.place * _MEASUREMENT.size
                )
            except (OSError, struct.error) as error:
                raise MeterFailed(f"emi: reading channel {channel.name} failed: {error}") from error
            joules.append(counter.step(energy * JOULES_PER_PICOWATT_HOUR, now_s()))
        return joules

    def _watch(self) -> float:
        """Find the update intervals of all channels at once, and name those that stand still."""
        found = watch_update_intervals(self._joules)
        for domain, interval_s in zip(self.domains, found, strict=True):
            if interval_s is None:
                self._notes.append(
                    f"emi: {domain.name} did not move in {WATCH_BOUND_S:g} s; an update interval "
                    f"of {DEFAULT_UPDATE_INTERVAL_S * 1000:g} ms is assumed"
                )
        return max(interval_s or DEFAULT_UPDATE_INTERVAL_S for interval_s in found)


def open_emi(settings: MeterSettings, argument: str | None) -> EmiMeter:
    """The channels that ``argument`` names, as in ``emi:RAPL_Package0_PP0``."""
    del settings  # has nothing for it
    return EmiMeter(argument)


def _choose(
    channels: list[_Channel], pick: str | None
) -> tuple[list[_Channel], tuple[Domain, ...]]:
    """The channels to count, and their domains."""
    there = ", ".join(_spelled(channel.name) for channel in channels)
    if pick is not None:
        wanted = [part.strip() for part in pick.split("+")]
        if unknown := [name for name in wanted if name not in map(_spelled_name, channels)]:
            raise MeterUnavailable(
                f"no channel of the Energy Meter Interface is called {unknown[0]!r}",
                f"there are: {there}",
            )
        chosen = [channel for channel in channels if _spelled_name(channel) in wanted]
    else:
        chosen = [c for c in channels if (m := _RAPL.fullmatch(c.name)) and m[2] in ("PKG", "DRAM")]
        if not chosen and len(channels) == 1:
            chosen = channels
        if not chosen:
            raise MeterUnavailable(
                f"what these channels count may overlap, so they make no sum: {there}",
                f"name one, as --energy-meter emi:{there.split(', ')[0]}",
            )
    names = [_domain_name(channel.name) for channel in chosen]
    if len(set(names)) < len(names):
        raise MeterUnavailable(
            f"two channels have one name: {', '.join(names)}", "name another channel"
        )
    return chosen, tuple(Domain(name, _parent(name, names)) for name in names)


def _domain_name(channel: str) -> str:
    match = _RAPL.fullmatch(channel)
    return f"{_RAPL_DOMAINS[match[2]]}-{match[1]}" if match else _spelled(channel)


def _parent(name: str, names: Sequence[str]) -> str | None:
    kind, _, number = name.rpartition("-")
    package = f"package-{number}"
    return package if kind in ("core", "uncore") and package in names else None


def _spelled(name: str) -> str:
    """A channel's name without the signs that separate meters and channels."""
    return re.sub(r"[\s,:+]+", "_", name)


def _spelled_name(channel: _Channel) -> str:
    return _spelled(channel.name)


def _channel_names(calls: EmiCalls, handle: Any) -> list[str]:
    """Raises `ValueError` or ``struct.error`` if the device describes them in another form."""
    (version,) = struct.unpack_from("<H", calls.control(handle, GET_VERSION, 2))
    (size,) = struct.unpack_from("<I", calls.control(handle, GET_METADATA_SIZE, 4))
    if not 0 < size <= MOST_METADATA_BYTES:
        raise ValueError(f"{size} bytes of metadata")
    metadata = calls.control(handle, GET_METADATA, size)
    if version == VERSION_1:
        unit, _, _, _, length = _V1_HEAD.unpack_from(metadata)
        return [_text(metadata, _V1_HEAD.size, length, unit)]
    if version != VERSION_2:
        raise ValueError(f"version {version}; this module knows 1 and 2")
    count, at = _V2_HEAD.unpack_from(metadata)[3], _V2_HEAD.size
    names = []
    for _ in range(count):
        unit, length = _CHANNEL_HEAD.unpack_from(metadata, at)
        at += _CHANNEL_HEAD.size
        names.append(_text(metadata, at, length, unit))
        at += length
    return names


def _text(metadata: bytes, at: int, length: int, unit: int) -> str:
    if unit != PICOWATT_HOURS:
        raise ValueError(f"unit {unit} instead of picowatt-hours")
    encoded = metadata[at : at + length]
    if len(encoded) < length:
        raise ValueError(f"a name of {length} bytes, of which {len(encoded)} are there")
    return encoded.decode("utf-16-le", errors="replace").partition("\0")[0] or "channel"


def _windows_calls() -> EmiCalls:
    if sys.platform != "win32":
        raise MeterUnavailable(_NOT_WINDOWS, "use powercap, perf or hwmon on Linux")
    from pytest_energy.meters.emi_windows import WindowsCalls

    return WindowsCalls(ctypes.WinDLL, ctypes.get_last_error)
