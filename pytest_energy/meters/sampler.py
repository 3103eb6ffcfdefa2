"""What meters of slow devices share: finding how often a counter is refreshed, and joules from watts.

A device that counts no joules is sampled in a thread, and its watts integrated by the trapezoid rule.
That is always said in its meter's notes: what the device did between two samples is a straight line here.
"""

from __future__ import annotations

import itertools
import os
import statistics
import threading
import time
import weakref
from collections.abc import Callable, Sequence

from pytest_energy.errors import MeterFailed

SAMPLING_INTERVAL_S = 0.02
"""Between two samples. NVML's power registers refresh every 20 to 100 ms and an INA3221 every few to a few
hundred, so that faster sampling reads the same value twice; slower would blur the edge of a 1 s window by more than 2 %."""

HELD_UP_INTERVALS = 10
"""A gap of so many intervals between samples is worth a word: other threads kept the interpreter to themselves."""

JOIN_TIMEOUT_S = 1.0
"""How long closing waits for the thread, which is asleep for at most one interval unless the device hangs."""

WATCH_BOUND_S = 0.5
"""The longest that opening watches the counters. Long enough for four intervals of 100 ms, NVML's slowest."""

WATCH_POLL_S = 0.0005
"""Between two looks while watching: 2.5 % of NVML's shortest interval (20 ms), half of amd_energy's 1 ms."""

WATCH_INTERVALS = 4
"""Intervals after which a counter is known well enough. Their median shrugs off one look that came late."""

DEFAULT_UPDATE_INTERVAL_S = 0.1
"""Where a counter did not move while watched: the slowest common interval, so that windows come out rather too long."""


def watch_update_intervals(read_counters: Callable[[], Sequence[float]]) -> list[float | None]:
    """The seconds between two moves of each counter, all of them watched at once and for at most `WATCH_BOUND_S`.

    None for a counter that did not move at all, and the bound for one that moved only once: it is slower than half of it.
    """
    last = list(read_counters())
    moves: list[list[float]] = [[] for _ in last]
    until_s = time.perf_counter() + WATCH_BOUND_S
    while (now_s := time.perf_counter()) < until_s and any(
        len(instants) <= WATCH_INTERVALS for instants in moves
    ):
        for i, count in enumerate(read_counters()):
            if count != last[i]:
                last[i] = count
                moves[i].append(now_s)
        time.sleep(WATCH_POLL_S)
    return [_interval_of(instants) for instants in moves]


def _interval_of(instants: Sequence[float]) -> float | None:
    if not instants:
        return None
    if len(instants) == 1:
        return WATCH_BOUND_S
    return statistics.median(after - before for before, after in itertools.pairwise(instants))


class WattsIntegrator:
    """Cumulative joules of several things that tell only watts, since this was made.

    ``read_watts`` returns the watts of each, always in the same order, and raises `MeterFailed` where it
    cannot. Every call of `joules` takes a sample of its own, so that a window of any length ends on one.
    Once a sample has failed, every later call raises: a piece of the integral is missing for good::

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
        self._at_s = time.perf_counter()
        self._watts = list(read_watts())
        self._joules = [0.0] * len(self._watts)
        self.resume()
        _sampling.add(self)

    @property
    def held_up(self) -> bool:
        """Whether samples were ever so far apart that what lies between them is a guess."""
        return self.longest_gap_s > HELD_UP_INTERVALS * self.interval_s

    def joules(self) -> tuple[float, list[float]]:
        """The instant of a sample taken now, and the joules of each thing up to it."""
        with self._lock:
            self._sample()
            return self._at_s, self._joules.copy()

    def close(self) -> None:
        """Stop sampling. Closing twice does no harm."""
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
        """Stop the thread. The next sample, whoever takes it, covers the time until then."""
        self._stop.set()
        if self._thread is not threading.current_thread():
            self._thread.join(JOIN_TIMEOUT_S)

    def _sample(self) -> None:
        if self._failure is not None:
            raise MeterFailed(str(self._failure)) from self._failure
        at_s = time.perf_counter()
        try:
            watts = self._read_watts()
        except MeterFailed as failure:
            self._failure = failure
            raise
        seconds = at_s - self._at_s
        for i, now in enumerate(watts):
            self._joules[i] += 0.5 * (self._watts[i] + now) * seconds
            self._watts[i] = now
        self._at_s = at_s
        self.longest_gap_s = max(self.longest_gap_s, seconds)

    def _run(self, stop: threading.Event) -> None:
        while not stop.wait(self.interval_s):
            with self._lock:
                try:
                    self._sample()
                except MeterFailed:
                    return  # kept in _failure, and raised to whoever reads next


_sampling: weakref.WeakSet[WattsIntegrator] = weakref.WeakSet()


def _pause_all() -> None:
    for integrator in list(_sampling):
        integrator.pause()


def _resume_all() -> None:
    for integrator in list(_sampling):
        integrator.resume()


# Python 3.12 and later warn where a process forks beside a thread, and a test that forks would fail
# for our thread where its project makes warnings errors.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_pause_all, after_in_parent=_resume_all)


def held_up_notes(meter: str, integrator: WattsIntegrator | None) -> tuple[str, ...]:
    """A note for a meter whose sampling was ever held up; none where it samples nothing."""
    if integrator is None or not integrator.held_up:
        return ()
    return (
        f"{meter}: the power sampling was held up for {integrator.longest_gap_s:.2f} s at the longest",
    )
