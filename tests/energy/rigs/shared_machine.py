"""A machine with a neighbour: its clock, its powercap tree and its /proc/stat, all simulated.

The code under test keeps one CPU busy, and the neighbour another whenever its schedule says so.
Nothing sleeps: a comparison of 4 s takes a fraction of a second::

    with SharedMachine(folder, bursts_of(0.1, chance)) as machine:
        comparison = versus(machine.call(0.005), machine.call(0.005), meter=machine.meter)
"""

from __future__ import annotations

import random
import sys
from bisect import bisect_right
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from unittest import mock

from pytest_energy.meters.machine_cpu import TICK_S, MachineCpu, machine_cpu_s
from pytest_energy.meters.powercap import RAPL_UPDATE_INTERVAL_S, PowercapMeter
from tests.energy.rigs.powercap_tree import LAYOUTS, STEP_UJ, Tree

IDLE_W, OWN_W, NEIGHBOUR_W = 10.0, 20.0, 20.0
# Each look at the clock takes this long. Without it, a waiting loop never ends.
LOOK_S = 1e-6
CLOCK_USERS = ("measuring.single", "measuring.window", "measuring.paired", "meters.powercap")
# The system's own work, on all CPUs together.
BACKGROUND_CPUS = 0.02
JITTER = 0.01

Schedule = Callable[[float], float]
"""The CPU seconds that the neighbour has used at an instant."""


def never(at_s: float) -> float:
    """No neighbour."""
    return 0.0


def steady(at_s: float) -> float:
    """A neighbour that is always there."""
    return at_s


def bursts_of(mean_s: float, chance: random.Random, until_s: float = 120.0) -> Schedule:
    """Bursts and pauses of random lengths with this mean: half of the time in total."""
    starts, used = [0.0], [0.0]
    busy = False
    while starts[-1] < until_s:
        length_s = chance.expovariate(1 / mean_s)
        starts.append(starts[-1] + length_s)
        used.append(used[-1] + length_s * busy)
        busy = not busy

    def used_s(at_s: float) -> float:
        place = bisect_right(starts, at_s) - 1
        busy_now = place % 2 == 1
        return used[place] + (at_s - starts[place]) * busy_now

    return used_s


class SharedMachine:
    """In a ``with`` block, the measuring modules see this machine's clock, tree and CPU seconds."""

    def __init__(self, folder: Path, neighbour: Schedule, chance: random.Random | None = None):
        self.now_s = 0.0
        self._own_s = 0.0
        self._neighbour = neighbour
        self._chance = chance or random.Random(1)
        self._tree = Tree(folder / "powercap", LAYOUTS["package only"])
        (self._zone,) = self._tree.layout.zones
        self._stat = folder / "stat"
        self._stack = ExitStack()

    def __enter__(self) -> SharedMachine:
        for name in CLOCK_USERS:
            module = sys.modules[f"pytest_energy.{name}"]
            self._stack.enter_context(mock.patch.object(module, "now_s", self._look))
        window = sys.modules["pytest_energy.measuring.window"]
        self._stack.enter_context(mock.patch.object(window, "cpu_seconds", self._cpu_seconds))
        self.meter = self._stack.enter_context(
            PowercapMeter(self._tree.root, cpuinfo=self._tree.cpuinfo)
        )
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stack.close()

    def call(self, seconds: float) -> Callable[[], None]:
        """Code that keeps a CPU busy for so long, give or take a per cent."""

        def work() -> None:
            self._pass(seconds * self._chance.gauss(1.0, JITTER), own=True)

        return work

    def joules(self) -> float:
        """What the package has drawn by now: its idle power, this code, and the neighbour."""
        return IDLE_W * self.now_s + OWN_W * self._own_s + NEIGHBOUR_W * self._neighbour(self.now_s)

    def _look(self) -> float:
        self._pass(LOOK_S, own=True)
        return self.now_s

    def _pass(self, seconds: float, own: bool) -> None:
        updates = int(self.now_s / RAPL_UPDATE_INTERVAL_S)
        self.now_s += seconds
        self._own_s += seconds * own
        if int(self.now_s / RAPL_UPDATE_INTERVAL_S) > updates:
            steps = int(self.joules() * 1e6 / STEP_UJ)
            self._tree.write(self._zone.key, self._zone.start_uj + int(steps * STEP_UJ))

    def _cpu_seconds(self) -> MachineCpu:
        """The real parser's view of a /proc/stat in whole ticks; user and system apart."""
        others_s = self._neighbour(self.now_s) + BACKGROUND_CPUS * self.now_s
        user, system = int((self._own_s + 0.9 * others_s) / TICK_S), int(0.1 * others_s / TICK_S)
        self._stat.write_text(f"cpu  {user} 0 {system} 0 0 0 0 0 0 0\n")
        machine_s = machine_cpu_s(str(self._stat))
        assert machine_s is not None
        return MachineCpu(self._own_s, machine_s)
