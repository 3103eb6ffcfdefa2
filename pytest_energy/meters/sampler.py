"""Slow devices: how often a counter is refreshed, and joules from sampled watts.

A thread samples a device without a counter, and its watts are integrated by the trapezoid rule. The
meter's notes say so: between two samples, the power is taken to be a straight line.
"""

from __future__ import annotations

import itertools
import os
import statistics
import threading
import weakref
from collections.abc import Callable, Iterable, Sequence

from pytest_energy.clock import now_s, sleep
from pytest_energy.errors import MeterFailed

SAMPLING_INTERVAL_S = 0.02
"""Between two samples. NVML's power registers refresh every 20 to 100 ms, an INA3221 every few to a
few hundred. Faster sampling reads a value twice; slower blurs a window of 1 s by 2 %."""

HELD_UP_INTERVALS = 10
"""A gap of so many intervals gets a note: other threads held the interpreter."""

JOIN_TIMEOUT_S = 1.0
"""How long closing waits for the thread, which sleeps one interval unless the device hangs."""

WATCH_BOUND_S = 0.5
"""How long opening watches the counters: four intervals of 100 ms, NVML's slowest, fit in."""

WATCH_POLL_S = 0.0005
"""Between two reads while watching: 2.5 % of NVML's shortest interval, half of amd_energy's."""

WATCH_INTERVALS = 4
"""Intervals to watch. Their median ignores one read that came late."""

DEFAULT_UPDATE_INTERVAL_S = 0.1
"""Of a counter that did not move while watched: the slowest common one makes long windows."""


def watch_update_intervals(read_counters: Callable[[], Sequence[float]]) -> list[float | None]:
    """The seconds between two moves of each counter, watched together for `WATCH_BOUND_S` at most.

    None for a counter that did not move, and the bound for one that moved only once.
    """
    last = list(read_counters())
    moves: list[list[float]] = [[] for _ in last]
    until_s = now_s() + WATCH_BOUND_S
    while (instant_s := now_s()) < until_s and any(
        len(instants) <= WATCH_INTERVALS for instants in moves
    ):
        for i, count in enumerate(read_counters()):
            if count != last[i]:
                last[i] = count
                moves[i].append(instant_s)
        sleep(WATCH_POLL_S)
    return [_interval_of(instants) for instants in moves]


def _interval_of(instants: Sequence[float]) -> float | None:
    if not instants:
        return None
    if len(instants) == 1:
        return WATCH_BOUND_S
    return statistics.median(after - before for before, after in itertools.pairwise(instants))


class WattsIntegrator:
    """Cumulative joules, since this was made, of devices that report only watts.

    ``read_watts`` returns the watts of each, always in the same order, or raises `MeterFailed`.
    Every call of `joules` takes a sample, so a window of any length ends on one. After a failed
    sample the next call raises, since its window lacks a piece; later windows are sound::

        integrator = WattsIntegrator(lambda: [12.5])
        at_s, joules = integrator.joules()
        integrator.close()
    """

    def __init__(
        self, read_watts: Callable[[], Sequence[float]], interval_s: float = SAMPLING_INTERVAL_S
    ):
        self.interval_s = interval_s
        self.longest_gap_s = 0.0
        self._read_watts = read_watts
        self._lock = threading.Lock()
        self._failure: MeterFailed | None = None
        self._at_s = now_s()
        self._watts = list(read_watts())
        self._joules = [0.0] * len(self._watts)
        self.resume()
        _sampling.add(self)

    @property
    def held_up(self) -> bool:
        """Whether two samples were ever too far apart for a straight line."""
        return self.longest_gap_s > HELD_UP_INTERVALS * self.interval_s

    def joules(self) -> tuple[float, list[float]]:
        """The instant of a sample taken now, and the joules of each device up to it."""
        with self._lock:
            self._sample()
            failure, self._failure = self._failure, None
            if failure is not None:
                raise failure
            return self._at_s, self._joules.copy()

    def close(self) -> None:
        """Stop sampling. A second call does nothing."""
        _sampling.discard(self)
        self.pause()

    def resume(self) -> None:
        """Sample in a thread until `pause` or `close`."""
        self._stop = threading.Event()
        self._thread = threading.Thread(
            target=self._run, args=(self._stop,), name="pytest-energy-sampler", daemon=True
        )
        self._thread.start()

    def pause(self) -> None:
        """Stop the thread. The next sample covers the time until then."""
        self._stop.set()
        if self._thread is not threading.current_thread():
            self._thread.join(JOIN_TIMEOUT_S)

    def _sample(self) -> None:
        """Add a piece to the integral, or keep the failure for the window that lacks it."""
        at_s = now_s()
        try:
            watts = self._read_watts()
        except MeterFailed as failure:
            self._failure = failure
            return
        seconds = at_s - self._at_s
        for i, now in enumerate(watts):
            self._joules[i] += 0.5 * (self._watts[i] + now) * seconds
            self._watts[i] = now
        self._at_s = at_s
        self.longest_gap_s = max(self.longest_gap_s, seconds)

    def _run(self, stop: threading.Event) -> None:
        while not stop.wait(self.interval_s):
            with self._lock:
                self._sample()


_sampling: weakref.WeakSet[WattsIntegrator] = weakref.WeakSet()


def _pause_all() -> None:
    for integrator in list(_sampling):
        integrator.pause()


def _resume_all() -> None:
    for integrator in list(_sampling):
        integrator.resume()


# From Python 3.12 on, a fork beside a thread warns. In a project that makes warnings errors, this
# thread would fail tests that fork.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_pause_all, after_in_parent=_resume_all)


def sampled_note(devices: Iterable[str], integrator: WattsIntegrator) -> str:
    """The note that the joules of these devices come from sampled watts."""
    interval_ms = integrator.interval_s * 1000
    return f"{', '.join(devices)}: joules are power sampled every {interval_ms:g} ms"


def assumed_interval_note(device: str, interval_s: float = DEFAULT_UPDATE_INTERVAL_S) -> str:
    """The note about a counter that did not move while it was watched."""
    return (
        f"{device} did not move in {WATCH_BOUND_S:g} s; an update interval of "
        f"{interval_s * 1000:g} ms is assumed"
    )


def held_up_notes(meter: str, integrator: WattsIntegrator | None) -> tuple[str, ...]:
    """A note for a meter whose sampling was ever held up."""
    if integrator is None or not integrator.held_up:
        return ()
    return (f"{meter}: the power sampling was held up for up to {integrator.longest_gap_s:.2f} s",)
