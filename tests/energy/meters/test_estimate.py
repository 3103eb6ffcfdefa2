"""The estimated meter: CPU seconds of a process tree, watts, and notes."""

from __future__ import annotations

import hashlib
import math
import os
import subprocess
import sys
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_energy.errors import MeterFailed, OptionError
from pytest_energy.meters import MeterSettings, info
from pytest_energy.meters.calibration import PATH_VARIABLE
from pytest_energy.meters.estimate import (
    CARRIED_S,
    DOMAIN,
    EstimateMeter,
    model_of_watts,
    open_estimate,
    published_model,
)
from pytest_energy.meters.power_model import (
    AVERAGE_WATTS_PER_VCPU,
    CLIENT_STAND_IN,
    PUBLISHED_WATTS_PER_VCPU,
    TDP_SHARES,
    PowerModel,
    cpuinfo_of,
    load_curve,
    microarchitecture,
)
from pytest_energy.meters.process_cpu import ProcessTreeClock

try:
    import resource
except ImportError:  # Windows
    resource = None

linux = pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="requires Linux's /proc")


@pytest.fixture(autouse=True)
def no_calibration_of_the_user(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv(PATH_VARIABLE, raising=False)


shares = st.floats(0, 1)
exponents = st.floats(0.2, 1)


@given(shares, shares, exponents)
def test_curve_never_falls(a, b, exponent):
    low, high = sorted((a, b))
    assert load_curve(low, exponent) <= load_curve(high, exponent)


@given(shares, shares, shares, exponents)
def test_curve_is_concave(a, b, weight, exponent):
    between = load_curve(weight * a + (1 - weight) * b, exponent)
    assert (
        between >= weight * load_curve(a, exponent) + (1 - weight) * load_curve(b, exponent) - 1e-12
    )


@given(exponents)
def test_curve_starts_at_zero_and_ends_at_one(exponent):
    assert load_curve(0.0, exponent) == 0.0
    assert load_curve(1.0, exponent) == 1.0


class DrivenClock:
    """Replaces the process tree's clock. The test sets its values."""

    follows_descendants = True

    def __init__(self):
        self.at_s = self.cpu_s = 0.0

    def read(self):
        return self.at_s, self.cpu_s

    def close(self):
        pass


def driven_meter(monkeypatch, model, cpus):
    clock = DrivenClock()
    monkeypatch.setattr("pytest_energy.meters.estimate.ProcessTreeClock", lambda: clock)
    return EstimateMeter(model, cpus), clock


MODEL = PowerModel(10.0, 50.0, "a test", exponent=0.5)


def test_joules_are_seconds_times_the_curve(monkeypatch):
    meter, clock = driven_meter(monkeypatch, MODEL, cpus=4)
    clock.at_s, clock.cpu_s = 2.0, 2.0  # one of four CPUs: 10 + 40 x sqrt(1/4) W
    assert meter.read().joules[DOMAIN] == pytest.approx(2.0 * 30.0)
    clock.at_s = 3.0
    assert meter.read().joules[DOMAIN] == pytest.approx(2.0 * 30.0 + 10.0)


def test_cpu_seconds_that_arrive_a_tick_late_are_not_lost(monkeypatch):
    meter, clock = driven_meter(monkeypatch, PowerModel(0.0, 8.0, "a test", exponent=1.0), cpus=2)
    for step in range(1, 102):
        clock.at_s = step * 0.001
        # A child keeps one CPU busy for 0.1 s; its clock moves in ticks of 4 ms.
        clock.cpu_s = step // 4 * 0.004
        total = meter.read().joules[DOMAIN]
    assert total == pytest.approx(0.1 * 4.0)


def test_the_seconds_carried_to_the_next_window_are_bounded(monkeypatch):
    meter, clock = driven_meter(monkeypatch, PowerModel(0.0, 8.0, "a test", exponent=1.0), cpus=2)
    clock.at_s, clock.cpu_s = 1.0, 50.0
    meter.read()
    clock.at_s = 2.0
    assert meter.read().joules[DOMAIN] == pytest.approx(8.0 + 8.0 * CARRIED_S)


steps = st.lists(st.tuples(st.floats(0, 10), st.floats(0, 50)), max_size=20)


@given(steps, st.integers(1, 64))
def test_the_counter_never_falls_and_stays_between_idle_and_full(steps, cpus):
    with pytest.MonkeyPatch.context() as monkeypatch:
        meter, clock = driven_meter(monkeypatch, MODEL, cpus)
        last = 0.0
        for seconds, cpu_s in steps:
            clock.at_s += seconds
            clock.cpu_s += cpu_s
            now = meter.read().joules[DOMAIN]
            assert last <= now
            last = now
        assert (
            MODEL.idle_watts * clock.at_s * (1 - 1e-9)
            <= last
            <= MODEL.full_watts * clock.at_s * (1 + 1e-9)
        )


def test_a_real_meter_describes_itself():
    with open_estimate(MeterSettings(watts=(10, 60))) as meter:
        about = info(meter)
    assert about.provenance == "estimated"
    assert about.band == (0.5, 2.0)
    assert "10 W idle" in about.notes[0]
    assert "the user's watts" in about.notes[0]


def test_reading_a_closed_meter_fails():
    meter = open_estimate(MeterSettings(watts=(10, 60)))
    meter.close()
    meter.close()
    with pytest.raises(MeterFailed, match="closed"):
        meter.read()


@pytest.mark.parametrize("watts", [(5, 4), (-1, 4), (0, 0), (1, math.inf), (math.nan, 4)])
def test_impossible_watts_are_refused(watts):
    with pytest.raises(OptionError, match="idle <= full"):
        model_of_watts(*watts)


def cpuinfo(vendor, family, model, stepping=0, name="some CPU: of ours"):
    return (
        f"processor\t: 0\nvendor_id\t: {vendor}\ncpu family\t: {family}\nmodel\t\t: {model}\n"
        f"model name\t: {name}\nstepping\t: {stepping}\n\nprocessor\t: 1\nmodel\t\t: 999\n"
    )


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (cpuinfo("AuthenticAMD", 25, 17), "EPYC 4th Gen"),
        (cpuinfo("AuthenticAMD", 25, 1), "EPYC 3rd Gen"),
        (cpuinfo("AuthenticAMD", 23, 49), "EPYC 2nd Gen"),
        (cpuinfo("AuthenticAMD", 23, 1), "EPYC 1st Gen"),
        (cpuinfo("AuthenticAMD", 26, 2), None),
        (cpuinfo("GenuineIntel", 6, 58), "Ivy Bridge"),
        (cpuinfo("GenuineIntel", 6, 85, stepping=4), "Skylake"),
        (cpuinfo("GenuineIntel", 6, 85, stepping=7), "Cascade Lake"),
        (cpuinfo("GenuineIntel", 6, 143), "Sapphire Rapids"),
        (cpuinfo("GenuineIntel", 15, 6), None),
        (cpuinfo("GenuineIntel", 6, 207), "Emerald Rapids"),
        ("processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd0c\n", "Graviton2"),
        ("processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd40\n", "Graviton3"),
        ("processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd4f\n", "Graviton4"),
        ("processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd08\n", None),
        ("processor\t: 0\nCPU implementer\t: 0x61\nCPU part\t: 0xd40\n", None),
        ("", None),
    ],
)
def test_the_cpu_is_recognised(text, kind):
    assert microarchitecture(text) == kind
    per_cpu = PUBLISHED_WATTS_PER_VCPU[kind] if kind else AVERAGE_WATTS_PER_VCPU
    model = published_model(text, 3, tdp_watts=None)
    assert (model.idle_watts, model.full_watts) == pytest.approx((per_cpu[0] * 3, per_cpu[1] * 3))
    assert "Cloud Carbon Footprint" in model.source


# Names, families, models and steppings as runs on these services print them.
RUNNERS = [
    ("GitHub, AMD EPYC 7763", cpuinfo("AuthenticAMD", 25, 1, 1, "AMD EPYC 7763 64-Core Processor")),
    ("GitHub, AMD EPYC 9V74",
     cpuinfo("AuthenticAMD", 25, 17, 1, "AMD EPYC 9V74 80-Core Processor")),
    ("GitHub, Xeon Platinum 8370C",
     cpuinfo("GenuineIntel", 6, 106, 6, "Intel(R) Xeon(R) Platinum 8370C CPU @ 2.80GHz")),
    ("GitHub, Xeon Platinum 8272CL",
     cpuinfo("GenuineIntel", 6, 85, 7, "Intel(R) Xeon(R) Platinum 8272CL CPU @ 2.60GHz")),
    ("GitHub, Xeon Platinum 8171M",
     cpuinfo("GenuineIntel", 6, 85, 4, "Intel(R) Xeon(R) Platinum 8171M CPU @ 2.60GHz")),
    ("GitHub, Xeon E5-2673 v4",
     cpuinfo("GenuineIntel", 6, 79, 1, "Intel(R) Xeon(R) CPU E5-2673 v4 @ 2.30GHz")),
    ("GitHub, Windows on EPYC 7763",
     cpuinfo_of("AMD64 Family 25 Model 1 Stepping 1, AuthenticAMD")),
    ("GitHub, Windows on 8370C", cpuinfo_of("Intel64 Family 6 Model 106 Stepping 6, GenuineIntel")),
    ("GitHub, arm64 (Cobalt 100)", "processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd49\n"),
    ("GitHub, macOS", cpuinfo_of("Apple M1 (Virtual)")),
    ("GitLab, EPYC 7B12", cpuinfo("AuthenticAMD", 23, 49, 0, "AMD EPYC 7B12")),
    ("Google, Xeon at 2.20 GHz",
     cpuinfo("GenuineIntel", 6, 79, 0, "Intel(R) Xeon(R) CPU @ 2.20GHz")),
    ("Google, Xeon 8481C",
     cpuinfo("GenuineIntel", 6, 143, 8, "Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz")),
    ("AWS, Graviton3", "processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd40\n"),
    ("AWS, Graviton4", "processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd4f\n"),
    ("AWS, Xeon 8275CL",
     cpuinfo("GenuineIntel", 6, 85, 7, "Intel(R) Xeon(R) Platinum 8275CL CPU @ 3.00GHz")),
    ("AWS, EPYC 7R13", cpuinfo("AuthenticAMD", 25, 1, 1, "AMD EPYC 7R13 Processor")),
]  # fmt: skip


@pytest.mark.parametrize("text", [text for _, text in RUNNERS], ids=[name for name, _ in RUNNERS])
def test_the_cpus_of_ci_runners_are_known(text):
    model = published_model(text, 4, tdp_watts=None)
    assert "unknown" not in model.source
    assert 0 < model.idle_watts < model.full_watts < 4 * 6


def test_an_epyc_7763_agrees_with_another_published_curve():
    """Eco-CI's curve for GitHub's runner of 4 vCPUs: 1.76 W idle, 8.18 W from 95 % load on."""
    model = published_model(cpuinfo("AuthenticAMD", 25, 1), 4, tdp_watts=None)
    assert (model.idle_watts, model.full_watts) == pytest.approx((1.76, 8.18), rel=0.05)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("", ""),
        ("Apple M3 Pro", "model name : Apple M3 Pro"),
        ("Intel64 Family 6 Model x", "model name : Intel64 Family 6 Model x"),
    ],
)
def test_other_systems_name_the_cpu_in_their_own_way(name, text):
    assert cpuinfo_of(name) == text


def test_a_desktop_cpu_uses_its_tdp():
    text = cpuinfo("GenuineIntel", 6, 94, name="Intel(R) Core(TM) i7-6700 CPU @ 3.40GHz")
    model = published_model(text, 8, tdp_watts=65.0)
    assert (model.idle_watts, model.full_watts) == pytest.approx(
        (65 * TDP_SHARES[0], 65 * TDP_SHARES[1])
    )
    assert "TDP of 65 W" in model.source


def test_a_desktop_cpu_of_unknown_tdp_uses_the_watts_of_other_desktop_cpus():
    text = cpuinfo("AuthenticAMD", 23, 1, name="AMD Ryzen Threadripper 1950X 16-Core Processor")
    model = published_model(text, 32, tdp_watts=None)
    assert model.full_watts == pytest.approx(32 * PUBLISHED_WATTS_PER_VCPU[CLIENT_STAND_IN][1])


def test_a_server_cpu_uses_published_watts_before_its_tdp():
    model = published_model(cpuinfo("AuthenticAMD", 25, 17, name="AMD EPYC"), 2, tdp_watts=360.0)
    assert model.full_watts == pytest.approx(2 * PUBLISHED_WATTS_PER_VCPU["EPYC 4th Gen"][1])


def test_the_tdp_is_read_from_powercap(tmp_path, monkeypatch):
    for zone, name, limit in [
        ("0", "package-0", "65000000"),
        ("1", "package-1", "65000000"),
        ("0:0", "core", "1000000"),
    ]:
        folder = tmp_path / "powercap" / f"intel-rapl:{zone}"
        folder.mkdir(parents=True)
        (folder / "name").write_text(f"{name}\n")
        (folder / "constraint_0_max_power_uw").write_text(f"{limit}\n")
    (tmp_path / "powercap" / "intel-rapl:2").mkdir()
    monkeypatch.setattr("pytest_energy.meters.estimate.read_cpuinfo", lambda: "")
    with open_estimate(MeterSettings(sysfs=str(tmp_path))) as meter:
        assert meter.model.full_watts == pytest.approx(130 * TDP_SHARES[1])


# Real processes: the tests compare CPU seconds with the time that each child is busy.

BUSY = "import time; end = time.process_time() + {}\nwhile time.process_time() < end: pass\n"


TICKS_S = 0.05  # the kernel rounds each of a living child's times down to 10 ms


def reaped_tree_s() -> float:
    """The kernel's own CPU seconds of this process and of the children that it has waited for."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


@pytest.fixture
def clock():
    clock = ProcessTreeClock()
    yield clock
    clock.close()


@linux
def test_own_cpu_seconds_count_and_sleep_does_not(clock):
    at_s, cpu_s = clock.read()
    end = time.process_time() + 0.05
    while time.process_time() < end:
        pass
    after_at_s, after_cpu_s = clock.read()
    # A read takes the two clocks one after the other, so the process may seem busy for longer than
    # the time that passed: by 0.2 us in one run of many.
    assert 0.05 <= after_cpu_s - cpu_s <= after_at_s - at_s + 0.001
    time.sleep(0.1)
    assert clock.read()[1] - after_cpu_s < 0.01


@linux
def test_a_thread_on_another_cpu_is_counted_up_to_now(clock):
    # The kernel adds the seconds of another running thread to the process clock at ticks. Without
    # an update, a window of 1 ms would show 0 or 4 ms of that thread.
    ended = threading.Event()

    def hash_on(data=bytes(1 << 25)):
        while not ended.is_set():
            hashlib.sha256(data).digest()  # releases the interpreter's lock for 20 ms

    thread = threading.Thread(target=hash_on)
    thread.start()
    thread_clock = time.pthread_getcpuclockid(thread.ident)
    off_s, deadline = [], time.perf_counter() + 3
    while len(off_s) < 40 and time.perf_counter() < deadline:
        before, thread_before, own_before = (
            clock.read()[1],
            time.clock_gettime(thread_clock),
            time.thread_time(),
        )
        end = time.perf_counter() + 0.001
        # No sleep: this thread could wake on the other's CPU and update its seconds.
        while time.perf_counter() < end:
            pass
        after, thread_after, own_after = (
            clock.read()[1],
            time.clock_gettime(thread_clock),
            time.thread_time(),
        )
        if thread_after - thread_before > 0.0005:  # it ran; on a busy machine it may not
            off_s.append(
                abs((after - before) - (thread_after - thread_before) - (own_after - own_before))
            )
    ended.set()
    thread.join()
    if len(off_s) < 5:
        pytest.skip("the other thread hardly ran: the machine is too busy, or has one CPU")
    # The lower quartile: an interruption between two clocks adds to a difference. Without the
    # update, all differences are over 0.5 ms, since the process clock moves by 0 or 4 ms.
    assert sorted(off_s)[len(off_s) // 4] < 0.0003


@linux
@pytest.mark.parametrize("task_files", [True, False])
def test_a_busy_child_is_counted_once_while_alive_and_after(clock, task_files):
    clock._has_children_files = task_files
    before, truth_before = clock.read()[1], reaped_tree_s()
    code = BUSY.format(0.3) + "input()"
    with subprocess.Popen([sys.executable, "-S", "-c", code], stdin=subprocess.PIPE) as child:
        alive, deadline = 0.0, time.perf_counter() + 20
        while alive < 0.3 and time.perf_counter() < deadline:
            time.sleep(0.02)
            alive = clock.read()[1] - before
        time.sleep(0.05)
        still = clock.read()[1] - before
        child.stdin.write(b"\n")
    reaped, truth = clock.read()[1] - before, reaped_tree_s() - truth_before
    assert 0.3 <= alive <= still <= reaped
    assert reaped == pytest.approx(truth, abs=TICKS_S)


@linux
def test_a_grandchild_is_counted_once_while_alive_and_after(clock):
    inner = BUSY.format(0.3) + "input()"
    outer = (
        f"import subprocess, sys; subprocess.run([sys.executable, '-S', '-c', {inner!r}]); "
        "print('done', flush=True); input()"
    )
    before, truth_before = clock.read()[1], reaped_tree_s()
    with subprocess.Popen(
        [sys.executable, "-S", "-c", outer], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        alive, deadline = 0.0, time.perf_counter() + 20
        while alive < 0.3 and time.perf_counter() < deadline:
            time.sleep(0.02)
            alive = clock.read()[1] - before
        child.stdin.write(b"\n")
        child.stdin.flush()
        assert child.stdout.readline() == b"done\n"
        reaped_by_child = clock.read()[1] - before
        child.stdin.write(b"\n")
    reaped, truth = clock.read()[1] - before, reaped_tree_s() - truth_before
    assert 0.3 <= alive <= reaped_by_child <= reaped
    assert reaped == pytest.approx(truth, abs=TICKS_S)


@linux
def test_cpu_seconds_of_a_child_before_the_clock_do_not_count():
    code = BUSY.format(0.3) + "print(flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-S", "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        child.stdout.readline()
        clock = ProcessTreeClock()
        child.stdin.write(b"\n")
    assert clock.read()[1] < 0.3  # to end the child takes a hundredth of that
    clock.close()


@linux
def test_an_orphaned_child_stays_counted(clock):
    # The outer process starts a busy child and is killed. The child is then no descendant of ours,
    # and its seconds stay counted.
    inner = BUSY.format(0.5) + "print(flush=True); input()"
    outer = (
        f"import subprocess, sys; subprocess.Popen([sys.executable, '-S', '-c', {inner!r}]); "
        "input()"
    )
    before = clock.read()[1]
    reading, writing = os.pipe()
    with subprocess.Popen(
        [sys.executable, "-S", "-W", "ignore", "-c", outer], stdin=subprocess.PIPE, stdout=writing
    ) as child:
        os.close(writing)
        os.read(reading, 1)
        alive = clock.read()[1] - before
        child.kill()
    orphaned = clock.read()[1] - before
    os.close(reading)
    assert 0.5 <= alive <= orphaned < 1.0  # to start two interpreters takes 0.1; twice would be 1.0
    own = time.process_time()
    while time.process_time() < own + 0.05:
        pass
    assert clock.read()[1] - before >= orphaned + 0.05 - 1e-3


@linux
def test_a_read_without_children_costs_microseconds(clock):
    costs = []
    for _ in range(2000):
        start = time.perf_counter()
        clock.read()
        costs.append(time.perf_counter() - start)
    # The median was 5 us; the bound allows for a slow and busy machine.
    assert sorted(costs)[len(costs) // 2] < 100e-6
