"""The powercap meter on still and driven trees: layouts, wraps, failures, cost."""

from __future__ import annotations

import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager, nullcontext
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_energy.errors import MeterFailed, MeterUnavailable, OptionError
from pytest_energy.measuring.window import untraced
from pytest_energy.meters import MeterSettings, info, powercap
from pytest_energy.meters.powercap import PowercapMeter, _OpenZone, open_powercap
from pytest_energy.model import Domain, window_between
from tests.energy.rigs.powercap_tree import (
    INTEL_DIES,
    LAYOUTS,
    RANGE_15_UJ,
    RANGE_61_UJ,
    WAVEFORMS,
    DrivenTree,
    Layout,
    Tree,
    Zone,
    bursts,
    constant,
)
from tests.energy.rigs.real_time import undisturbed

WINDOWS = 10_000
ACCURACY = 0.005  # plus one counter tick: the joules since the counter's last update
READ_PAIR_LIMIT_S = 8e-6
READ_PAIR_LIMIT_FILES = 8  # on a slow machine: as often as long as the files alone
ONE_PACKAGE = "intel-rapl:0"


def one_zone(range_uj: int = RANGE_61_UJ, start_uj: int = 1_000_000) -> Layout:
    return Layout(
        (Zone("0", "package-0", 1.0, range_uj=range_uj, start_uj=start_uj),), {"package-0": 1.0}
    )


@contextmanager
def still_meter(layout: Layout, **options):
    """A tree, its meter, and a clock that only the test moves."""
    now = [1000.0]
    with (
        tempfile.TemporaryDirectory() as folder,
        mock.patch.object(powercap, "now_s", lambda: now[0]),
    ):
        tree = Tree(os.path.join(folder, "powercap"), layout)
        with PowercapMeter(tree.root, cpuinfo=tree.cpuinfo, **options) as meter:
            meter._pause_sampling()  # the sampler waits on the real clock
            yield tree, meter, now


def undisturbed_window(meter: PowercapMeter, seconds: float):
    """A window with two readings that the scheduler did not interrupt.

    An interruption adds an error that does not come from the meter.
    """
    for _ in range(20):
        start_s = time.perf_counter()
        before = meter.read()
        between_s = time.perf_counter()
        time.sleep(seconds)
        resumed_s = time.perf_counter()
        after = meter.read()
        if between_s - start_s < 0.0005 and time.perf_counter() - resumed_s < 0.0005:
            return before, after
    pytest.skip("this machine interrupts every reading for over 0.5 ms, too long to compare joules")


# Layouts


@pytest.mark.parametrize("shape", ["sysfs", "flat", "nested"])
@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout_counts_packages_and_dram_once(tmp_path, name, shape):
    tree = Tree(tmp_path, LAYOUTS[name], shape)
    with PowercapMeter(tmp_path, cpuinfo=tree.cpuinfo) as meter:
        assert {domain.name for domain in meter.domains} == set(LAYOUTS[name].counted)
        assert all(domain.parent is None for domain in meter.domains)
        assert set(meter.read().joules) == set(LAYOUTS[name].counted)


def assert_true_to(tree: DrivenTree, meter: PowercapMeter, seconds: float) -> None:
    before, after = undisturbed_window(meter, seconds)
    window = window_between(before, after, 1)
    truths = {
        domain: tree.truth_joules(domain, before.at_s, after.at_s) for domain in tree.layout.counted
    }
    for domain, truth in truths.items():
        tick_joules = max(
            tree.tick_joules(domain, before.at_s), tree.tick_joules(domain, after.at_s)
        )
        assert abs(window.joules[domain] - truth) <= ACCURACY * truth + tick_joules
    assert info(meter).total_joules(window.joules) == sum(window.joules.values())


@pytest.mark.parametrize(
    ("name", "waveform"), [(name, list(WAVEFORMS)[n % 4]) for n, name in enumerate(LAYOUTS)]
)
def test_every_layout_matches_the_driven_joules(tmp_path, name, waveform):
    with (
        DrivenTree(tmp_path, LAYOUTS[name], WAVEFORMS[waveform]) as tree,
        PowercapMeter(tmp_path, cpuinfo=tree.cpuinfo) as meter,
    ):
        for _ in range(3):
            assert_true_to(tree, meter, 0.25)


@pytest.mark.parametrize("waveform", WAVEFORMS)
def test_every_waveform_matches_the_driven_joules_across_wraps(tmp_path, waveform):
    # The driver may be held up for half a second, and then adds 150 J at 300 W: half of the range,
    # which is the most that the meter takes for a wrap.
    zones = tuple(
        Zone(z.address, z.name, z.share, z.control, int(300e6 * z.share), int(298e6 * z.share))
        for z in LAYOUTS["client"].zones
    )
    layout = Layout(zones, LAYOUTS["client"].counted)
    with (
        DrivenTree(tmp_path, layout, WAVEFORMS[waveform]) as tree,
        PowercapMeter(tmp_path, max_zone_watts=600) as meter,
    ):
        # At least 36 J in a package that wraps after 2 J; a quarter of both in its DRAM.
        assert_true_to(tree, meter, 0.6)


def test_parents_include_their_children(tmp_path):
    Tree(tmp_path, LAYOUTS["client"])
    with PowercapMeter(tmp_path, ["all"]) as meter:
        assert set(meter.domains) == {
            Domain("package-0"),
            Domain("core-0", "package-0"),
            Domain("uncore-0", "package-0"),
            Domain("dram-0"),
        }


def test_psys_counts_only_if_named_and_includes_the_rest(tmp_path):
    Tree(tmp_path, LAYOUTS["client"])
    with PowercapMeter(tmp_path) as meter:
        assert "psys" not in meter.read().joules
        assert any("psys" in note for note in meter.notes)
    with open_powercap(MeterSettings(), f"psys+root={tmp_path}") as meter:
        assert meter.domains == (Domain("psys"),)
    (tmp_path / "class").mkdir()
    (tmp_path / "class" / "powercap").symlink_to(tmp_path)
    with open_powercap(
        MeterSettings(sysfs=str(tmp_path / "class")), "psys+package-0+core-0+dram-0"
    ) as meter:
        assert [d.name for d in meter.domains if d.parent is None] == ["psys"]


def test_a_domain_named_alone_is_the_total(tmp_path):
    Tree(tmp_path, LAYOUTS["client"])
    with PowercapMeter(tmp_path, ["core-0"]) as meter:
        assert meter.domains == (Domain("core-0"),)


@pytest.mark.parametrize(("name", "one"), [("amd core", True), ("client", False)])
def test_a_note_says_that_core_on_amd_is_one_core(tmp_path, name, one):
    tree = Tree(tmp_path, LAYOUTS[name])
    with PowercapMeter(tmp_path, ["package-0", "core-0"], cpuinfo=tree.cpuinfo) as meter:
        assert any("core-0 counts one core" in note for note in meter.notes) == one
    with PowercapMeter(tmp_path, cpuinfo=tree.cpuinfo) as meter:
        assert not any("one core" in note for note in meter.notes)


def test_an_unknown_domain_lists_the_known_ones(tmp_path):
    Tree(tmp_path, LAYOUTS["client"])
    with pytest.raises(
        OptionError, match=r"'package-7'.* has: package-0, core-0, uncore-0, dram-0, psys"
    ):
        open_powercap(MeterSettings(), f"package-7+root={tmp_path}")


@pytest.mark.parametrize("vendor", ["GenuineIntel", "unheard of"])
def test_dies_with_separate_counters_all_count(tmp_path, vendor):
    tree = Tree(tmp_path, Layout(INTEL_DIES.zones, INTEL_DIES.counted, vendor))
    with PowercapMeter(tmp_path, cpuinfo=tree.cpuinfo) as meter:
        assert {domain.name for domain in meter.domains} == set(INTEL_DIES.counted)


@pytest.mark.parametrize(
    ("cpuinfo", "reason"), [("cpuinfo", "AuthenticAMD"), ("no such file", "same value")]
)
def test_mirrored_dies_count_once_with_the_reason(tmp_path, cpuinfo, reason):
    Tree(tmp_path, LAYOUTS["amd dies"])
    with PowercapMeter(tmp_path, cpuinfo=tmp_path / cpuinfo) as meter:
        assert meter.domains == (Domain("package-0"),)
        assert any(
            "package-0-die-1 is not counted" in note and reason in note for note in meter.notes
        )


def test_mmio_counts_if_alone(tmp_path):
    Tree(
        tmp_path,
        Layout((Zone("0", "package-0", 1.0, control="intel-rapl-mmio"),), {"package-0": 1.0}),
    )
    with PowercapMeter(tmp_path) as meter:
        assert meter.domains == (Domain("package-0"),)


def test_a_zone_of_unknown_name_is_left_out_and_named(tmp_path):
    Tree(
        tmp_path,
        Layout((Zone("0", "package-0", 1.0), Zone("1", "accelerator", 1.0)), {"package-0": 1.0}),
    )
    with PowercapMeter(tmp_path) as meter:
        assert meter.domains == (Domain("package-0"),)
        assert any("'accelerator'" in note for note in meter.notes)


@pytest.mark.parametrize(
    ("range_uj", "step_joules"), [(RANGE_61_UJ, 2**-14), (RANGE_15_UJ, 2**-16), (1_000_000, 1e-6)]
)
def test_resolution_is_the_register_unit(tmp_path, range_uj, step_joules):
    Tree(tmp_path, one_zone(range_uj))
    with PowercapMeter(tmp_path) as meter:
        assert meter.resolution_joules == pytest.approx(step_joules, rel=1e-3)
        assert meter.update_interval_s == 0.001


# Wraps


def test_random_windows_over_random_wraps_are_exact():
    chance = random.Random(3)
    bad = wraps = 0
    for _ in range(10):
        range_uj = chance.choice(
            [RANGE_61_UJ, RANGE_15_UJ, chance.randrange(10_000_000, RANGE_61_UJ)]
        )
        at_uj = chance.randrange(range_uj)
        modulus_uj = range_uj + round(range_uj / 2**32)  # the hardware's 32 bits wrap here
        with still_meter(one_zone(range_uj, at_uj)) as (tree, meter, now):
            for _ in range(WINDOWS // 10):
                before = meter.read()
                gained_uj = chance.randrange(int(range_uj * 0.999))
                now[0] += gained_uj * 1e-6 / chance.uniform(10, 900)
                meter._read_at_s = max(meter._read_at_s, now[0] - meter._longest_gap_s * 0.9999)
                wraps += at_uj + gained_uj >= modulus_uj
                at_uj = (at_uj + gained_uj) % modulus_uj
                tree.write(ONE_PACKAGE, min(at_uj, range_uj))
                measured_uj = (meter.read().joules["package-0"] - before.joules["package-0"]) * 1e6
                bad += (
                    abs(measured_uj - gained_uj) > 62
                )  # one step; the sum is a float of up to 10^9 uJ
    assert wraps > WINDOWS // 4
    assert bad == 0


@pytest.mark.slow
def test_windows_on_a_driven_tree_match_the_shown_joules(tmp_path):
    # Each short window is between the least and the most joules that the counter showed, without
    # any tolerance.
    layout = Layout(
        (
            Zone("0", "package-0", 1.0, range_uj=1_000_000_000, start_uj=999_000_000),
            Zone("0:0", "dram", 0.25, range_uj=250_000_000, start_uj=249_000_000),
        ),
        {"package-0": 1.0, "dram-0": 0.25},
    )
    chance = random.Random(4)
    taken = []
    with (
        DrivenTree(tmp_path, layout, bursts(200.0, 1000.0, 0.401)) as tree,
        PowercapMeter(tmp_path, max_zone_watts=1500) as meter,
    ):
        for _ in range(WINDOWS):
            from_s, before, until_s = time.perf_counter(), meter.read(), time.perf_counter()
            time.sleep(chance.uniform(0, 0.0005))
            taken.append(
                (from_s, until_s, before, time.perf_counter(), meter.read(), time.perf_counter())
            )
        bad = 0
        for from_s, until_s, before, resumed_s, after, end_s in taken:
            for domain in tree.layout.counted:
                joules = after.joules[domain] - before.joules[domain]
                least = (
                    tree.shown_joules(domain, resumed_s)[0] - tree.shown_joules(domain, until_s)[1]
                )
                most = tree.shown_joules(domain, end_s)[1] - tree.shown_joules(domain, from_s)[0]
                bad += not least - 2e-6 <= joules <= most + 2e-6
    assert bad == 0
    assert after.joules["package-0"] > 1000  # it wrapped


@settings(deadline=None, max_examples=60)
@given(
    range_uj=st.integers(1_000_000, 2**50),
    steps=st.lists(st.floats(0, 0.49), min_size=1, max_size=30),
    start=st.floats(0, 1, exclude_max=True),
)
def test_any_position_of_the_wrap(range_uj, steps, start):
    at_uj = truth_uj = int(range_uj * start)
    modulus_uj = range_uj + round(range_uj / 2**32)
    with still_meter(one_zone(range_uj, at_uj)) as (tree, meter, _):
        first = meter.read().joules["package-0"]
        for step in steps:
            truth_uj += int(range_uj * step)
            tree.write(ONE_PACKAGE, min(truth_uj % modulus_uj, range_uj))
            reading = meter.read()
        tolerance = max(1, range_uj // 2**32) * 1e-6
        assert reading.joules["package-0"] - first == pytest.approx(
            (truth_uj - at_uj) * 1e-6, abs=tolerance, rel=1e-9
        )


def test_a_window_over_many_wraps_is_sampled_in_between(tmp_path):
    waveform = constant(100.0)
    with (
        DrivenTree(tmp_path, one_zone(20_000_000), waveform) as tree,
        PowercapMeter(tmp_path, max_zone_watts=400) as meter,
    ):

        @undisturbed
        def check():
            assert_true_to(tree, meter, 1.1)  # 110 J: five wraps, and only the sampler reads


def test_a_window_read_at_the_last_moment_is_valid():
    with still_meter(one_zone()) as (tree, meter, now):
        before = meter.read()
        now[0] = before.at_s + meter._longest_gap_s
        tree.write(ONE_PACKAGE, 3_000_000)
        assert meter.read().joules["package-0"] - before.joules["package-0"] == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("range_uj", "gap_s", "sampling_s"),
    # The range divided by 1000 W, with a minimum for the delays of a busy scheduler.
    [
        (RANGE_61_UJ, 262.143328850, 131.071664425),
        (5_000_000_000, 5.0, 2.5),
        (1_500_000_000, 1.5, 0.75),
        (6_000_000, 1.0, 0.005),
    ],
)
def test_two_samples_fit_into_the_shortest_wrap(range_uj, gap_s, sampling_s):
    with still_meter(one_zone(range_uj)) as (_, meter, _now):
        assert meter._longest_gap_s == pytest.approx(gap_s, rel=1e-9)
        assert meter._sampling_interval_s == pytest.approx(sampling_s, rel=1e-9)


def test_the_zone_that_wraps_first_sets_the_longest_gap():
    # DRAM wraps at 65.5 kJ, the package at four times that.
    with still_meter(LAYOUTS["single"]) as (_, meter, _now):
        assert meter._longest_gap_s == pytest.approx(RANGE_15_UJ * 1e-9)


def test_the_first_reading_is_about_zero(tmp_path):
    Tree(tmp_path, LAYOUTS["client"])
    with PowercapMeter(tmp_path) as meter:
        assert meter.read().joules == {"package-0": 0.0, "dram-0": 0.0}


@pytest.mark.parametrize("to_uj", [0, 1, 999_999])
def test_the_ends_of_the_range_are_inside_it(to_uj):
    with still_meter(one_zone(10_000_000, start_uj=9_000_000)) as (tree, meter, now):
        before = meter.read().joules["package-0"]
        tree.write(ONE_PACKAGE, 10_000_000)  # the register's last value
        assert meter.read().joules["package-0"] - before == pytest.approx(1.0)
        now[0] += 0.5
        tree.write(ONE_PACKAGE, to_uj)
        assert meter.read().joules["package-0"] - before == pytest.approx(1.0 + to_uj * 1e-6)


@pytest.mark.parametrize(
    ("waited_s", "watts", "wrapped"),
    # The counter falls by 5 J in a range of 20 J. A wrap adds 15 J, which takes time.
    [
        (0.0151, 1000.0, True),
        (0.0149, 1000.0, False),
        (0.0301, 500.0, True),
        (0.0299, 500.0, False),
    ],
)
def test_a_wrap_of_more_than_half_the_range_requires_enough_time(waited_s, watts, wrapped):
    with still_meter(one_zone(20_000_000, start_uj=10_000_000), max_zone_watts=watts) as (
        tree,
        meter,
        now,
    ):
        before = meter.read().joules["package-0"]
        now[0] += waited_s
        tree.write(ONE_PACKAGE, 5_000_000)
        with (
            nullcontext()
            if wrapped
            else pytest.raises(MeterFailed, match=r"a wrap would be 15.000 J\)")
        ):
            assert meter.read().joules["package-0"] - before == pytest.approx(15.0)


@pytest.mark.parametrize(("to_uj", "wrapped"), [(0, True), (1, False)])
def test_a_wrap_of_up_to_half_the_range_requires_no_time(to_uj, wrapped):
    with still_meter(one_zone(20_000_000, start_uj=10_000_000)) as (tree, meter, _):
        before = meter.read().joules["package-0"]
        tree.write(ONE_PACKAGE, to_uj)
        with (
            nullcontext() if wrapped else pytest.raises(MeterFailed, match="the counter was reset")
        ):
            assert meter.read().joules["package-0"] - before == pytest.approx(10.0)


def test_an_unsampled_window_is_void_and_the_next_is_valid():
    with still_meter(LAYOUTS["single"]) as (tree, meter, now):
        meter.read()
        now[0] += 2000.0  # the process was stopped for longer than a wrap takes,
        tree.write(ONE_PACKAGE, 500_000)  # and the counter is below its last value
        error = (
            "intel-rapl:0/energy_uj and the other counters went unread for 2000 s, "
            "and within 66 s one can wrap more than once"
        )
        with pytest.raises(MeterFailed, match=error):
            meter.read()
        before = meter.read()
        tree.write(ONE_PACKAGE, 3_000_000)
        assert meter.read().joules["package-0"] - before.joules["package-0"] == pytest.approx(2.5)


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), ValueError("no number")])
def test_a_late_read_that_also_fails_is_one_failure(error):
    with still_meter(LAYOUTS["single"]) as (_, meter, now):
        meter.read()
        now[0] += 2000.0
        broken = mock.patch.object(powercap, "_pread", side_effect=error)
        with broken, pytest.raises(MeterFailed, match="went unread for 2000 s"):
            meter.read()


@pytest.mark.parametrize(
    ("range_uj", "step_uj"),
    [(RANGE_61_UJ, 61), (RANGE_15_UJ, 15), (16_383_999_996, 4), (10_000_000, 0)],
)
def test_from_the_last_value_to_zero_is_one_step(range_uj, step_uj):
    with still_meter(one_zone(range_uj, start_uj=range_uj)) as (tree, meter, _):
        before = meter.read().joules["package-0"]
        tree.write(ONE_PACKAGE, 0)
        assert meter.read().joules["package-0"] - before == pytest.approx(step_uj * 1e-6, abs=1e-9)


def test_a_microjoule_back_is_no_wrap():
    with still_meter(one_zone(start_uj=5_000_000)) as (tree, meter, _):
        meter.read()
        tree.write(ONE_PACKAGE, 4_999_999)
        with pytest.raises(MeterFailed, match="went back from 5000000 to 4999999 uJ"):
            meter.read()


def test_a_small_step_back_is_no_wrap():
    with still_meter(one_zone(start_uj=5_000_000)) as (tree, meter, now):
        meter.read()
        tree.write(ONE_PACKAGE, 4_999_000)
        now[0] += 0.01
        with pytest.raises(MeterFailed) as failed:
            meter.read()
        assert str(failed.value).endswith(
            "intel-rapl:0/energy_uj went back from 5000000 to 4999000 uJ in 0.010000 s, "
            "which no wrap at 262143328850 uJ explains (a wrap would be 262143.328 J): "
            "the counter was reset, and this window is void"
        )
        meter.read()


def test_a_reset_by_suspend_is_no_wrap():
    with still_meter(one_zone(start_uj=RANGE_61_UJ - 1000)) as (tree, meter, now):
        meter.read()
        tree.write(ONE_PACKAGE, 1000)
        now[0] += 1
        with mock.patch.object(powercap, "_suspended_s", lambda: meter._suspended_s + 30.0):
            with pytest.raises(MeterFailed, match="the machine slept 30 s"):
                meter.read()


@pytest.mark.parametrize(("slept_s", "void"), [(0.4, False), (0.6, True)])
def test_a_sleep_voids_only_its_own_window(slept_s, void):
    with still_meter(one_zone(10_000_000, start_uj=9_000_000)) as (tree, meter, now):
        meter.read()
        after_s = meter._suspended_s + slept_s
        with mock.patch.object(powercap, "_suspended_s", lambda: after_s):
            now[0] += 0.01
            tree.write(ONE_PACKAGE, 1_000_000)
            with (
                pytest.raises(MeterFailed, match="the machine slept 1 s") if void else nullcontext()
            ):
                meter.read()
            before = meter.read().joules["package-0"]
            tree.write(ONE_PACKAGE, 9_000_000)
            meter.read()
            tree.write(ONE_PACKAGE, 1_000_000)
            assert meter.read().joules["package-0"] - before == pytest.approx(10.0)


def test_suspended_seconds_are_the_difference_of_two_clocks(monkeypatch):
    monkeypatch.setattr(
        powercap.time,
        "clock_gettime",
        {time.CLOCK_BOOTTIME: 130.0, time.CLOCK_MONOTONIC: 100.0}.get,
    )
    assert powercap._suspended_s() == 30.0


# Failures


def test_missing_root_names_it_and_the_remedy(tmp_path):
    with pytest.raises(MeterUnavailable, match="nowhere does not exist") as caught:
        PowercapMeter(tmp_path / "nowhere")
    assert "powercap:root=DIR" in caught.value.remedy


def test_root_without_zones(tmp_path):
    (tmp_path / "intel-rapl").mkdir()
    (tmp_path / "dtpm").mkdir()
    with pytest.raises(MeterUnavailable, match="no RAPL zone"):
        PowercapMeter(tmp_path)


def test_masked_zone_names_the_container(tmp_path):
    (tmp_path / ONE_PACKAGE).mkdir()
    with pytest.raises(MeterUnavailable, match="intel-rapl:0/name cannot be read") as caught:
        PowercapMeter(tmp_path)
    assert "container" in caught.value.remedy


def test_psys_alone_is_not_a_package(tmp_path):
    Tree(tmp_path, Layout((Zone("0", "psys", 1.0),), {}))
    with pytest.raises(MeterUnavailable, match="only psys") as caught:
        PowercapMeter(tmp_path)
    assert "powercap:psys" in caught.value.remedy


@pytest.mark.skipif(
    os.getuid() != 0, reason="only root can become a user who may not read the file"
)
def test_unreadable_counter_names_the_file_and_the_udev_rule():
    folder = tempfile.mkdtemp()  # pytest's own temporary folders are closed to other users
    os.chmod(folder, 0o755)
    tree = Tree(os.path.join(folder, "powercap"), LAYOUTS["single"])
    path = tree.folder(ONE_PACKAGE) / "energy_uj"
    path.chmod(0)
    code = (
        "import os, sys\n"
        "from pytest_energy.errors import MeterUnavailable\n"
        "from pytest_energy.meters.powercap import PowercapMeter\n"
        "os.seteuid(65534)\n"
        "try: PowercapMeter(sys.argv[1])\n"
        "except MeterUnavailable as error: print(error)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, tree.root], capture_output=True, text=True, check=True
    )
    shutil.rmtree(folder)
    assert f"this user may not read {path}" in run.stdout
    assert (
        "/etc/udev/rules.d/" in run.stdout
        and "CAP_DAC_READ_SEARCH" in run.stdout
        and f"chmod a+r {path}" in run.stdout
    )


@pytest.mark.skipif(
    os.getuid() != 0, reason="only root can become a user who may not read the file"
)
def test_a_permission_withdrawn_later_stops_only_the_next_meter():
    """The kernel checks the permission when a file is opened, and a meter opens it once."""
    folder = tempfile.mkdtemp()  # pytest's own temporary folders are closed to other users
    os.chmod(folder, 0o755)
    tree = Tree(os.path.join(folder, "powercap"), one_zone())
    code = (
        "import os, sys\n"
        "from pytest_energy.errors import MeterUnavailable\n"
        "from pytest_energy.meters.powercap import PowercapMeter\n"
        "os.seteuid(65534)\n"
        "meter = PowercapMeter(sys.argv[1])\n"
        "before = meter.read().joules['package-0']\n"
        "os.seteuid(0)\n"
        "os.chmod(sys.argv[2], 0)\n"
        "with open(sys.argv[2], 'r+') as file: file.write('%15d' % 3_500_000)\n"
        "os.seteuid(65534)\n"
        "print(meter.read().joules['package-0'] - before)\n"
        "try: PowercapMeter(sys.argv[1])\n"
        "except MeterUnavailable as error: print(error)\n"
    )
    path = tree.folder(ONE_PACKAGE) / "energy_uj"
    run = subprocess.run(
        [sys.executable, "-c", code, tree.root, path], capture_output=True, text=True, check=True
    )
    shutil.rmtree(folder)
    joules, refused = run.stdout.split("\n", 1)
    assert float(joules) == pytest.approx(2.5)
    assert f"this user may not read {path}" in refused


def test_unreadable_counter_leaves_no_file_open(tmp_path):
    tree = Tree(tmp_path, LAYOUTS["two sockets"])
    (tree.folder("intel-rapl:1") / "energy_uj").write_text("unsure\n")
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(MeterUnavailable, match="intel-rapl:1/energy_uj cannot be read"):
        PowercapMeter(tmp_path)
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("content", ["0\n", "-5\n", "much\n", ""])
def test_impossible_range(tmp_path, content):
    tree = Tree(tmp_path, one_zone())
    (tree.folder(ONE_PACKAGE) / "max_energy_range_uj").write_text(content)
    with pytest.raises(MeterUnavailable, match="max_energy_range_uj"):
        PowercapMeter(tmp_path)


@pytest.mark.parametrize(
    "content", [b"", b"garbage\n", b"-7\n", b"12 34\n", str(RANGE_61_UJ + 1).encode()]
)
def test_garbage_names_the_file_and_the_next_window_is_valid(content):
    with still_meter(one_zone()) as (tree, meter, _):
        path = tree.folder(ONE_PACKAGE) / "energy_uj"
        path.write_bytes(content)
        with pytest.raises(MeterFailed, match="intel-rapl:0/energy_uj"):
            meter.read()
        tree.write(ONE_PACKAGE, 2_000_000)
        before = meter.read()
        tree.write(ONE_PACKAGE, 2_500_000)
        assert meter.read().joules["package-0"] - before.joules["package-0"] == pytest.approx(0.5)


@pytest.mark.parametrize("energy_uj", [-1, 20_000_001, 10**12])
def test_a_value_beyond_the_range_is_no_wrap_however_long_the_window(energy_uj):
    with still_meter(one_zone(20_000_000, start_uj=15_000_000)) as (tree, meter, now):
        meter.read()
        now[0] += 0.9  # enough time for 900 J
        (tree.folder(ONE_PACKAGE) / "energy_uj").write_text(f"{energy_uj}\n")
        with pytest.raises(
            MeterFailed,
            match=f"energy_uj has {energy_uj} uJ, but its max_energy_range_uj is 20000000",
        ):
            meter.read()


@pytest.mark.parametrize("start_uj", [-1, RANGE_61_UJ + 1, 2**62, -5])
def test_a_counter_that_starts_beyond_its_range_is_refused(tmp_path, start_uj):
    # Found by fuzzing: the next reading in the range gave thousands of joules below zero.
    tree = Tree(tmp_path, one_zone())
    (tree.folder(ONE_PACKAGE) / "energy_uj").write_text(f"{start_uj}\n")
    with pytest.raises(MeterUnavailable, match="energy_uj"):
        PowercapMeter(tmp_path)


def test_a_range_that_takes_years_to_wrap_does_not_end_the_sampling(tmp_path):
    # Found by fuzzing: the thread's wait overflowed, and nothing was sampled.
    tree = Tree(tmp_path, one_zone())
    (tree.folder(ONE_PACKAGE) / "max_energy_range_uj").write_text("9" * 30)
    with PowercapMeter(tmp_path) as meter:
        meter._sampler.join(0.05)
        assert meter._sampler.is_alive()


def test_a_deleted_zone_is_an_error_and_not_zero():
    with still_meter(LAYOUTS["client"]) as (tree, meter, now):
        meter.read()
        shutil.rmtree(tree.folder(ONE_PACKAGE))
        now[0] += 1
        with pytest.raises(
            MeterFailed, match="energy_uj can no longer be read: the file was deleted"
        ):
            meter.read()


@pytest.mark.parametrize(("still_s", "checks"), [(0.09, 0), (0.11, 1)])
def test_the_file_of_a_still_counter_is_checked_at_intervals(still_s, checks):
    with (
        still_meter(one_zone()) as (_, meter, now),
        mock.patch.object(powercap, "fstat", wraps=os.fstat) as fstat,
    ):
        checked_at_s = meter._open_zones[0].checked_at_s
        for _ in range(3):  # one check, not one in each later reading
            now[0] = checked_at_s + still_s
            meter.read()
        assert fstat.call_count == checks


def test_an_unplugged_zone_names_the_file():
    with still_meter(one_zone()) as (_, meter, _now):
        with mock.patch.object(powercap, "_pread", side_effect=OSError(19, "No such device")):
            with pytest.raises(
                MeterFailed, match="intel-rapl:0/energy_uj can no longer be read: No such device"
            ):
                meter.read()


@settings(deadline=None, max_examples=40)
@given(
    plan=st.lists(st.sampled_from(["move", "garbage", "error", "back", "over"]), max_size=25),
    seed=st.integers(0, 2**16),
)
def test_no_failure_ever_adds_joules(plan, seed):
    chance = random.Random(seed)
    at_uj = 10_000_000
    with still_meter(one_zone(start_uj=at_uj)) as (tree, meter, now):
        expected = meter.read().joules["package-0"]
        for what in plan:
            now[0] += 0.1
            if what == "move":
                gained_uj = chance.randrange(20_000_000)
                at_uj += gained_uj
                expected += gained_uj * 1e-6
                tree.write(ONE_PACKAGE, at_uj)
                assert meter.read().joules["package-0"] == pytest.approx(expected)
                continue
            with pytest.raises(MeterFailed):
                if what == "back":
                    at_uj -= 1 + chance.randrange(min(at_uj, 1_000_000))
                    tree.write(ONE_PACKAGE, at_uj)
                elif what != "error":
                    (tree.folder(ONE_PACKAGE) / "energy_uj").write_bytes(
                        b"?" if what == "garbage" else b"9" * 18
                    )
                broken = mock.patch.object(
                    powercap, "_pread", side_effect=OSError(5, "Input/output error")
                )
                with broken if what == "error" else nullcontext():
                    meter.read()
            tree.write(ONE_PACKAGE, at_uj)


def test_an_error_in_the_sampler_voids_the_next_window(tmp_path):
    tree = Tree(tmp_path, one_zone(10_000_000))
    with PowercapMeter(tmp_path) as meter:
        meter.read()
        (tree.folder(ONE_PACKAGE) / "energy_uj").write_bytes(b"garbage")
        deadline_s = time.perf_counter() + 10
        while meter._failure is None and time.perf_counter() < deadline_s:
            time.sleep(0.001)
        tree.write(ONE_PACKAGE, 2_000_000)
        with pytest.raises(MeterFailed, match="no whole number"):
            while time.perf_counter() < deadline_s:
                meter.read()


def test_closing_twice_is_harmless_and_reading_after_it_fails(tmp_path):
    Tree(tmp_path, LAYOUTS["client"])
    before = len(os.listdir("/proc/self/fd"))
    meter = PowercapMeter(tmp_path)
    meter.close()
    meter.close()
    assert len(os.listdir("/proc/self/fd")) == before
    with pytest.raises(MeterFailed, match="closed"):
        meter.read()


def test_an_unreferenced_meter_closes_its_files(tmp_path):
    Tree(tmp_path, LAYOUTS["client"])
    before = len(os.listdir("/proc/self/fd"))
    meter = PowercapMeter(tmp_path)
    sampler = meter._sampler
    del meter
    sampler.join(10)
    assert not sampler.is_alive()
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_fork_pauses_the_sampler_and_the_child_can_read(tmp_path):
    Tree(tmp_path, one_zone())
    with PowercapMeter(tmp_path) as meter:
        sampler = meter._sampler
        child = os.fork()
        if child == 0:
            os._exit(0 if threading.active_count() == 1 and meter.read().joules else 1)
        assert os.waitpid(child, 0)[1] == 0
        # The fork stopped the sampler, and a new one started.
        assert not sampler.is_alive() and meter._sampler.is_alive()
        assert meter._sampler.daemon  # otherwise an open meter would keep the interpreter alive


def test_readings_from_several_threads_never_decrease(tmp_path):
    with (
        DrivenTree(tmp_path, one_zone(start_uj=RANGE_61_UJ - 1_000_000), constant(200.0)) as tree,
        PowercapMeter(tmp_path) as meter,
    ):
        from_s, first, until_s = time.perf_counter(), meter.read(), time.perf_counter()
        wrong = []

        def read_on():
            last = first
            for _ in range(5000):
                reading = meter.read()
                if (
                    reading.at_s < last.at_s
                    or reading.joules["package-0"] < last.joules["package-0"]
                ):
                    wrong.append((last, reading))
                last = reading

        threads = [threading.Thread(target=read_on) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        resumed_s, last, end_s = time.perf_counter(), meter.read(), time.perf_counter()
        assert not wrong
        joules = last.joules["package-0"] - first.joules["package-0"]
        least = tree.shown_joules("package-0", resumed_s)[0]
        least -= tree.shown_joules("package-0", until_s)[1]
        most = tree.shown_joules("package-0", end_s)[1] - tree.shown_joules("package-0", from_s)[0]
        # 1 mJ is 5 us of 200 W: the driver's instants and the readings' are that far apart. A
        # wrap that is missed or counted twice is 61 J.
        assert least - 1e-3 <= joules <= most + 1e-3
        assert joules > 1  # it wrapped


# Cost


@pytest.mark.parametrize("name", ["package only", "client"])
def test_two_readings_cost_a_few_microseconds(tmp_path, name):
    with (
        DrivenTree(tmp_path, LAYOUTS[name], WAVEFORMS["square"]) as tree,
        PowercapMeter(tmp_path, cpuinfo=tree.cpuinfo) as meter,
    ):

        def median_s(call):
            spans = []
            for _ in range(1000):
                start_s = time.perf_counter()
                call()
                call()
                spans.append(time.perf_counter() - start_s)
            return statistics.median(spans)

        def read_files():
            for zone in meter._open_zones:
                int(os.pread(zone.fd, 32, 0))

        # The best of several medians, without coverage's tracer: other processes must not count.
        with untraced():
            best_s = min(median_s(meter.read) for _ in range(20))
            files_s = min(median_s(read_files) for _ in range(20))
        assert best_s <= max(READ_PAIR_LIMIT_S, READ_PAIR_LIMIT_FILES * files_s)


# Dead domains


@contextmanager
def moving(tree: Tree, joules_per_step: dict[str, float], step_s: float = 0.002):
    """Increase some counters of a tree in a thread, until the block ends."""
    stop = threading.Event()
    at_uj = {zone: zone.start_uj for zone in tree.layout.zones}

    def drive() -> None:
        while not stop.wait(step_s):
            for zone, value_uj in at_uj.items():
                at_uj[zone] = value_uj + int(joules_per_step.get(zone.name, 0.0) * 1e6)
                tree.write(zone.key, at_uj[zone])

    thread = threading.Thread(target=drive)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


TWO_SOCKETS = Layout(
    (
        Zone("0", "package-0", 1.0, start_uj=50_000),
        Zone("0:0", "dram", 0.1, start_uj=70_000),
        Zone("1", "package-1", 1.0, start_uj=90_000),
    ),
    {"package-0": 1.0, "dram-0": 0.1, "package-1": 1.0},
)


@pytest.mark.parametrize(
    ("moves", "counted", "dead"),
    [
        ({"package-0": 0.02, "package-1": 0.02}, ["package-0", "package-1"], "dram-0"),
        ({"package-0": 0.02, "dram": 0.002}, ["package-0", "dram-0"], "package-1"),
        (
            {"package-0": 0.02, "dram": 0.002, "package-1": 0.001},
            ["package-0", "dram-0", "package-1"],
            None,
        ),
        ({}, ["package-0", "dram-0", "package-1"], None),  # no counter moves: the meter cannot tell
    ],
)
def test_a_dead_domain_is_left_out_and_named(tmp_path, moves, counted, dead):
    tree = Tree(tmp_path, TWO_SOCKETS)
    with moving(tree, moves), PowercapMeter(tmp_path, cpuinfo=tree.cpuinfo) as meter:
        assert [domain.name for domain in meter.domains] == counted
        named = [note for note in meter.notes if "counter is dead, and is not counted" in note]
        assert [note.split()[0] for note in named] == ([dead] if dead else [])
        assert sorted(meter.read().joules) == sorted(counted)


def test_a_counter_that_wraps_while_the_meter_opens_is_alive(tmp_path):
    """Its value goes back; were the step ignored, it would seem to stand still."""
    tree = Tree(tmp_path, TWO_SOCKETS)
    package = tree.layout.zones[0]
    zone = _OpenZone("package-0", str(tree.folder(package.key) / "energy_uj"))
    before_uj = zone.gained_uj
    tree.write(package.key, zone.energy_uj - 10)
    zone.update()
    assert (before_uj, zone.gained_uj) == (0, zone.modulus_uj - 10)
    os.close(zone.fd)


def test_a_domain_that_stands_still_later_is_named(tmp_path):
    tree = Tree(tmp_path, TWO_SOCKETS)
    with PowercapMeter(tmp_path, cpuinfo=tree.cpuinfo) as meter:
        package, dram, other = tree.layout.zones
        tree.write(package.key, 50_000 + 700_000)
        tree.write(other.key, 90_000 + 1)
        meter.read()
        assert [note for note in meter.notes if "dead" in note] == [
            "dram-0 stands still while the others move: its counter is dead"
        ]
        tree.write(dram.key, 70_001)
        meter.read()
        assert not any("dead" in note for note in meter.notes)
