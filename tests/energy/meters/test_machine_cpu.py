"""The CPU seconds of this process tree and of the machine, beside each window of a sensor."""

import os
import subprocess
import sys
import time

import pytest

from pytest_energy.measuring.window import take_window
from pytest_energy.meters import CombinedMeter, machine_cpu
from pytest_energy.meters.machine_cpu import TICK_S, cpu_seconds, machine_cpu_s
from pytest_energy.model import CpuSeconds, Domain, Reading, Window, add_windows
from pytest_energy.plan import Plan
from tests.energy.rigs.clock_meter import ClockMeter

LINUX = pytest.mark.skipif(
    not os.path.exists(machine_cpu.STAT), reason=f"this system has no {machine_cpu.STAT}"
)


class Package(ClockMeter):
    counts_other_processes = True


def test_idle_iowait_steal_and_guests_are_not_busy(tmp_path):
    stat = tmp_path / "stat"
    stat.write_text("cpu  1 20 300 4000 50000 600000 7000000 8 9 10\ncpu0 5 5 5 5 5 5 5 5 5 5\n")
    assert machine_cpu_s(str(stat)) == pytest.approx((1 + 20 + 300 + 600000 + 7000000) * TICK_S)


@pytest.mark.parametrize("text", ["", "intr 5\n", "cpu\n", "cpu 1 2 3\n", "cpu a b c d e f g\n"])
def test_a_damaged_stat_file_gives_windows_without_cpu_seconds(tmp_path, monkeypatch, text):
    stat = tmp_path / "stat"
    stat.write_text(text)
    monkeypatch.setattr(machine_cpu, "machine_cpu_s", lambda: machine_cpu_s(str(stat)))
    assert cpu_seconds() is None


def test_a_system_without_stat_has_no_cpu_seconds(tmp_path):
    assert machine_cpu_s(str(tmp_path / "missing")) is None


@LINUX
def test_a_child_is_own_and_a_stranger_is_others():
    """The stranger's parent is another process, so it is not in this tree."""
    spin = "import time\nend = time.monotonic() + 30\nwhile time.monotonic() < end: pass"
    forks = (
        "import os, sys\npid = os.fork()\n"
        "if pid: print(pid, flush=True); os._exit(0)\nos.setsid()\n"
    )
    stranger = subprocess.run(
        [sys.executable, "-c", f"{forks}os.close(1)\n{spin}"], stdout=subprocess.PIPE, check=True
    )
    pid = int(stranger.stdout)
    child = None
    try:
        of_stranger = _used_s(pid)
        before = cpu_seconds()
        child = subprocess.Popen([sys.executable, "-c", spin])
        while _used_s(child.pid) < 0.3 or _used_s(pid) - of_stranger < 0.3:
            time.sleep(0.05)
        after = cpu_seconds()
        used_by_stranger_s = _used_s(pid) - of_stranger
    finally:
        os.kill(pid, 9)
        if child is not None:
            child.kill()
            child.wait()
    own_s, machine_s = after.own - before.own, after.machine - before.machine
    assert own_s >= 0.25
    # Others run on this machine too, so there is no upper bound.
    assert machine_s - own_s >= used_by_stranger_s - 0.1


def _used_s(pid: int) -> float:
    return time.clock_gettime((~pid << 3) | 2)


@LINUX
def test_a_sensors_window_has_cpu_seconds():
    def work():
        end_s = time.process_time() + 0.1
        while time.process_time() < end_s:
            pass

    window = take_window(Package(), work, 1, Plan())
    assert 0.1 <= window.cpu.own < 0.2
    assert window.others_share is not None


@LINUX
@pytest.mark.parametrize("provenance", ["estimated", "attributed"])
def test_an_estimate_counts_no_others(provenance):
    window = take_window(Package(provenance=provenance), int, 1, Plan())
    assert (window.cpu is None) == (provenance == "estimated")


class _Gpu(ClockMeter):
    def __init__(self):
        super().__init__()
        self.domains = (Domain("gpu-0"),)

    def read(self):
        reading = super().read()
        return Reading(reading.at_s, {"gpu-0": reading.joules["package-0"]})


@LINUX
def test_a_gpus_joules_do_not_follow_cpu_time_and_those_beside_a_package_do():
    assert take_window(_Gpu(), int, 1, Plan()).cpu is None
    assert take_window(CombinedMeter([Package(), _Gpu()]), int, 1, Plan()).cpu is not None


@LINUX
def test_the_clocks_are_read_outside_the_two_readings(monkeypatch):
    events = []

    class Watched(Package):
        def read(self):
            events.append("reading")
            return super().read()

    read = machine_cpu.cpu_seconds
    monkeypatch.setattr(
        sys.modules["pytest_energy.measuring.window"],
        "cpu_seconds",
        lambda: events.append("cpu") or read(),
    )
    take_window(Watched(), lambda: events.append("call"), 1, Plan())
    assert events == ["cpu", "reading", "call", "reading", "cpu"]


@LINUX
def test_a_fork_counts_its_own_cpu_seconds():
    cpu_seconds()
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        end_s = time.process_time() + 0.05
        before = cpu_seconds()
        while time.process_time() < end_s:
            pass
        os.write(writer, b"%d" % (1000 * (cpu_seconds().own - before.own)))
        os._exit(0)
    os.waitpid(pid, 0)
    assert 40 <= int(os.read(reader, 20)) < 500


@pytest.mark.parametrize(
    ("cpu", "share"),
    [
        (None, None),
        (CpuSeconds(0.1, 0.1), 0.5),
        (CpuSeconds(0.1, -0.01), 0.0),
        (CpuSeconds(0.0, 0.0), 0.0),
        (CpuSeconds(0.0, 0.2), 1.0),
    ],
)
def test_the_share_of_others(cpu, share):
    assert Window(0.1, {"package-0": 1.0}, 1, cpu).others_share == share


def test_added_windows_have_added_cpu_seconds_if_all_have_them():
    one = Window(0.1, {"package-0": 1.0}, 1, CpuSeconds(0.1, 0.02))
    two = Window(0.1, {"package-0": 1.0}, 1, CpuSeconds(0.2, -0.01))
    without = Window(0.1, {"package-0": 1.0}, 1)
    assert add_windows([one, two]).cpu == pytest.approx((0.3, 0.01))
    assert add_windows([one, without]).cpu is None
    assert add_windows([]).cpu is None
