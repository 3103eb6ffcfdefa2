"""The hwmon meter, with trees of files in the layouts of the kernel's drivers."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_energy.errors import MeterFailed, MeterUnavailable
from pytest_energy.meters import MeterSettings, hwmon, info
from pytest_energy.meters import open_meter as open_any_meter
from pytest_energy.meters.hwmon import HwmonMeter, open_hwmon
from pytest_energy.meters.hwmon_sensors import Sensor, domain_names, find_sensors
from tests.energy.rigs.powercap_tree import LAYOUTS, Tree
from tests.energy.rigs.real_time import bounded_window, undisturbed


def write_chip(
    root: Path, folder: str, name: str, files: dict[str, object], in_device: bool = False
) -> Path:
    """One hwmon folder. ``in_device`` puts its files in device/, like the old registration."""
    place = root / folder / "device" if in_device else root / folder
    place.mkdir(parents=True, exist_ok=True)
    for file, content in {"name": name, **files}.items():
        (place / file).write_text(f"{content}\n")
    return place


def amd_energy(root: Path, sockets: int = 2, cores: int = 4) -> Path:
    """The layout of amd_energy.c: counters of the cores, then of the sockets, in microjoules."""
    files: dict[str, object] = {}
    for i in range(cores):
        files |= {
            f"energy{i + 1}_input": 1_000_000 * (i + 1),
            f"energy{i + 1}_label": f"Ecore{i:03d}",
        }
    for i in range(sockets):
        n = cores + i + 1
        files |= {f"energy{n}_input": 50_000_000, f"energy{n}_label": f"Esocket{i}"}
    return write_chip(root, "hwmon2", "amd_energy", files)


def jetson(root: Path) -> Path:
    """An Orin Nano's INA3221: it has no power files, and channels 4 to 7 are no rails."""
    files: dict[str, object] = {
        "in7_label": "Sum of shunt voltages",
        "in7_input": 1,
        "curr4_input": 9999,
        "update_interval": 2,
    }
    rails = [("VDD_IN", 5000, 1200), ("VDD_CPU_GPU_CV", 5000, 400), ("VDD_SOC", 5000, 300)]
    for i, (label, millivolts, milliamperes) in enumerate(rails, 1):
        files |= {
            f"in{i}_label": label,
            f"in{i}_input": millivolts,
            f"curr{i}_input": milliamperes,
            f"in{i + 3}_input": 4,
        }
    return write_chip(root, "hwmon1", "ina3221", files)


def grace(root: Path) -> None:
    """A Grace Hopper's ACPI power meters: one folder each, with labels in power1_oem_info."""
    watts = {"Module": 300, "Grace": 120, "CPU": 60, "SysIO": 20}
    for i, (what, value) in enumerate(watts.items()):
        files = {
            "power1_average": value * 1_000_000,
            "power1_oem_info": f"{what} Power Socket 0",
            "power1_average_interval": 50,
        }
        write_chip(root, f"hwmon{i + 3}", "power_meter", files, in_device=True)


def domains(meter: HwmonMeter) -> dict[str, str | None]:
    return {domain.name: domain.parent for domain in meter.domains}


def test_amd_energy_counts_sockets_and_leaves_the_cores_out(tmp_path):
    amd_energy(tmp_path)
    with HwmonMeter(tmp_path) as meter:
        assert domains(meter) == {"amd_energy-Esocket0": None, "amd_energy-Esocket1": None}
        assert meter.read().joules == {"amd_energy-Esocket0": 50.0, "amd_energy-Esocket1": 50.0}
        assert any("4 core counters are inside the sockets" in note for note in meter.notes)
        assert not any("overlap" in note for note in meter.notes)


def test_cores_are_inside_their_socket(tmp_path):
    amd_energy(tmp_path, sockets=1)
    with HwmonMeter(tmp_path, "Esocket0+Ecore001") as meter:
        assert domains(meter) == {
            "amd_energy-Esocket0": None,
            "amd_energy-Ecore001": "amd_energy-Esocket0",
        }
        assert info(meter).total_joules(meter.read().joules) == 50.0
    with HwmonMeter(tmp_path, "Ecore001") as meter:
        assert info(meter).total_joules(meter.read().joules) == 2.0


def test_energy_is_read_as_joules_and_its_interval_is_found(tmp_path):
    place = write_chip(tmp_path, "hwmon0", "meterchip", {"energy1_input": 0})
    stop = threading.Event()
    written = [0]

    def drive() -> None:
        with (place / "energy1_input").open("r+") as file:
            while not stop.wait(0.02):
                written[0] += 1
                file.seek(0)
                file.write(f"{written[0] * 500_000}\n")
                file.flush()

    thread = threading.Thread(target=drive)
    thread.start()
    try:

        @undisturbed
        def check():
            with HwmonMeter(tmp_path) as meter:
                assert meter.update_interval_s == pytest.approx(0.02, abs=0.01)

        with HwmonMeter(tmp_path) as meter:
            from_n, before, until_n = written[0], meter.read(), written[0]
            time.sleep(0.3)
            resumed_n, after, end_n = written[0], meter.read(), written[0]
    finally:
        stop.set()
        thread.join()
    joules = after.joules["meterchip-energy1"] - before.joules["meterchip-energy1"]
    # The driver may have counted the last step that it has not written yet.
    assert 0.5 * (resumed_n - until_n - 1) <= joules <= 0.5 * (end_n - from_n + 1)
    assert resumed_n > until_n + 1


def test_an_idle_counter_gets_the_default_interval_and_a_note(tmp_path):
    amd_energy(tmp_path, sockets=1)
    with HwmonMeter(tmp_path) as meter:
        assert meter.update_interval_s == 0.1
        assert any("an update interval of 100 ms is assumed" in note for note in meter.notes)


def test_jetson_multiplies_volts_by_amperes(tmp_path):
    jetson(tmp_path)
    with HwmonMeter(tmp_path, "ina3221") as meter:
        assert domains(meter) == {
            "ina3221-VDD_IN": None,
            "ina3221-VDD_CPU_GPU_CV": "ina3221-VDD_IN",
            "ina3221-VDD_SOC": "ina3221-VDD_IN",
        }
        assert "power sampled every 20 ms" in meter.notes[0]
        bounded = bounded_window(meter, 0.05)
    bounded.assert_joules(info(meter).total_joules(bounded.window.joules), 6)
    bounded.assert_joules(bounded.window.joules["ina3221-VDD_SOC"], 1.5)


def test_a_disabled_jetson_channel_is_ignored(tmp_path):
    (jetson(tmp_path) / "in3_enable").write_text("0\n")
    assert [sensor.label for sensor in find_sensors(tmp_path)] == ["VDD_IN", "VDD_CPU_GPU_CV"]


def test_grace_nests_and_counts_once(tmp_path):
    grace(tmp_path)
    with HwmonMeter(tmp_path) as meter:
        assert domains(meter) == {
            "power_meter-Module_Power_Socket_0": None,
            "power_meter-Grace_Power_Socket_0": "power_meter-Module_Power_Socket_0",
            "power_meter-CPU_Power_Socket_0": "power_meter-Grace_Power_Socket_0",
            "power_meter-SysIO_Power_Socket_0": "power_meter-Grace_Power_Socket_0",
        }
        assert meter.update_interval_s == 0.05
        bounded = bounded_window(meter, 0.05)
        bounded.assert_joules(info(meter).total_joules(bounded.window.joules), 300)
    with HwmonMeter(tmp_path, "CPU Power Socket 0") as meter:
        assert domains(meter) == {"power_meter-CPU_Power_Socket_0": None}


def test_average_power_is_preferred_to_instant_power(tmp_path):
    write_chip(
        tmp_path,
        "hwmon0",
        "amdgpu",
        {"power1_average": 30_000_000, "power1_input": 90_000_000, "power1_label": "PPT"},
    )
    with HwmonMeter(tmp_path) as meter:
        bounded = bounded_window(meter, 0.03)
    bounded.assert_joules(bounded.window.joules["amdgpu-PPT"], 30)


def test_power_that_changes_is_integrated(tmp_path):
    place = write_chip(tmp_path, "hwmon0", "board", {"power1_input": "010000000"})

    def draw(microwatts: str) -> None:
        with (place / "power1_input").open("r+") as file:  # in place: no read sees an empty file
            file.write(microwatts)

    with HwmonMeter(tmp_path) as meter:

        @undisturbed
        def check():
            draw("010000000")
            meter.read()
            before = meter.read()  # the sample before it already has the 10 W
            time.sleep(0.2)
            draw("030000000")
            changed_s = time.perf_counter()
            time.sleep(0.2)
            after = meter.read()
            truth = 10 * (changed_s - before.at_s) + 30 * (after.at_s - changed_s)
            assert after.joules["board-power1"] - before.joules["board-power1"] == pytest.approx(
                truth, abs=20 * 0.02
            )


def test_several_chips_must_be_named(tmp_path):
    amd_energy(tmp_path)
    jetson(tmp_path)
    with pytest.raises(
        MeterUnavailable, match="may overlap: amd_energy, ina3221; name one, as hwmon:amd_energy"
    ):
        HwmonMeter(tmp_path)
    with HwmonMeter(tmp_path, "amd_energy+VDD_SOC") as meter:
        assert sorted(domains(meter)) == [
            "amd_energy-Esocket0",
            "amd_energy-Esocket1",
            "ina3221-VDD_SOC",
        ]


def test_an_unknown_name_lists_the_known_ones(tmp_path):
    jetson(tmp_path)
    with pytest.raises(MeterUnavailable, match="is called 'VDD_GPU'.*ina3221, ina3221-VDD_IN"):
        HwmonMeter(tmp_path, "VDD_GPU")


def test_two_chips_of_one_name_and_one_label(tmp_path):
    for i, address in enumerate(("1-0040", "1-0041")):
        write_chip(tmp_path, f"hwmon{i}", "ina226", {"power1_input": 1_000_000})
        (tmp_path / address).mkdir()
        (tmp_path / f"hwmon{i}" / "device").symlink_to(tmp_path / address)
    for pick in (None, "ina226"):
        with pytest.raises(
            MeterUnavailable, match="cannot be added: ina226-1-0040-power1, ina226-1-"
        ):
            HwmonMeter(tmp_path, pick)
    with HwmonMeter(tmp_path, "ina226-1-0040-power1+ina226-1-0041-power1") as meter:
        assert sorted(domains(meter)) == ["ina226-1-0040-power1", "ina226-1-0041-power1"]
        assert any("as named; whether these overlap is unknown" in note for note in meter.notes)


@pytest.mark.parametrize("root", ["nothing", "not/there"])
def test_a_tree_without_a_sensor(tmp_path, root):
    write_chip(tmp_path / "nothing", "hwmon0", "coretemp", {"temp1_input": 40_000})
    with pytest.raises(
        MeterUnavailable, match="no sensor of energy or power under .*--energy-meter hwmon:root=DIR"
    ):
        open_hwmon(MeterSettings(), f"root={tmp_path / root}")


def test_an_unreadable_file_is_named_with_the_remedy(tmp_path, monkeypatch):
    place = amd_energy(tmp_path, sockets=1)
    path = place / "energy5_input"
    path.chmod(0o000)
    if os.access(path, os.R_OK):  # root can read every file
        real_open = os.open

        def refuse(name, *arguments, **options):
            if Path(name) == path:
                raise PermissionError(13, "Permission denied", str(name))
            return real_open(name, *arguments, **options)

        monkeypatch.setattr(hwmon.os, "open", refuse)
    with pytest.raises(
        MeterUnavailable, match=f"{path} may not be read by this user; sudo chmod a\\+r {path}"
    ):
        HwmonMeter(tmp_path)


def test_a_sensor_that_fails_while_it_is_opened(tmp_path):
    write_chip(tmp_path, "hwmon0", "board", {"power1_input": "-"})
    with pytest.raises(MeterUnavailable, match="power1_input holds .*, which is no number"):
        HwmonMeter(tmp_path)


def test_a_sensor_that_fails_mid_run_voids_the_window(tmp_path, monkeypatch):
    place = amd_energy(tmp_path, sockets=1)
    with HwmonMeter(tmp_path) as meter:
        meter.read()
        monkeypatch.setattr(hwmon.os, "pread", _no_such_device)
        with pytest.raises(
            MeterFailed, match=f"reading {place}/energy5_input failed: No such device"
        ):
            meter.read()


def _no_such_device(*_arguments):
    raise OSError(19, "No such device")


def test_closing_twice_and_reading_afterwards(tmp_path):
    jetson(tmp_path)
    meter = HwmonMeter(tmp_path)
    meter.close()
    meter.close()
    with pytest.raises(MeterFailed, match="closed"):
        meter.read()


def test_no_file_stays_open(tmp_path):
    jetson(tmp_path)
    (tmp_path / "hwmon1" / "curr3_input").write_text("x")
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(MeterUnavailable):
        HwmonMeter(tmp_path)
    assert len(os.listdir("/proc/self/fd")) == before


WORDS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=6)


@given(st.lists(st.tuples(WORDS, WORDS, WORDS), min_size=1, max_size=30))
def test_domain_names_are_unique_and_can_be_named(parts):
    sensors = [
        Sensor(c, d, f"energy{i}", label, (Path(str(i)),), True, None)
        for i, (c, d, label) in enumerate(parts)
    ]
    names = domain_names(sensors)
    assert len(set(names.values())) == len(sensors)
    assert not any(set(name) & set(" \t,:+") for name in names.values())


@given(
    st.lists(
        st.tuples(st.sampled_from("ab"), st.sampled_from(["x", "x-2", "x_y", "x y"])),
        min_size=1,
        max_size=12,
    )
)
def test_domain_names_are_unique_even_where_labels_collide(parts):
    sensors = [
        Sensor("c", device, "s", label, (Path(str(i)),), True, None)
        for i, (device, label) in enumerate(parts)
    ]
    assert len(set(domain_names(sensors).values())) == len(sensors)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    counts=st.lists(st.one_of(st.integers(0, 2**64), st.text(max_size=8), st.none()), max_size=12)
)
def test_a_read_returns_the_count_or_fails(tmp_path, monkeypatch, counts):
    """For any content of a counter (a number, words, nothing), a read returns it or fails."""
    place = write_chip(tmp_path, "hwmon0", "chip", {"energy1_input": 0})
    monkeypatch.setattr(hwmon, "watch_update_intervals", lambda read: [0.001 for _ in read()])
    with HwmonMeter(tmp_path) as meter:
        highest = 0
        for count in counts:
            with (place / "energy1_input").open("wb") as file:
                file.write(b"" if count is None else str(count).encode())
            try:
                joules = meter.read().joules["chip-energy1"]
            except MeterFailed:
                # The count fell, or rose by more than a device can draw. The counter then restarts.
                if isinstance(count, int):
                    assert count < highest or count - highest > 1e11
                    highest = count
            else:
                assert joules == pytest.approx(int(count) * 1e-6)
                highest = int(count)


# Totals


def xe(root: Path, folder: str = "hwmon0", card: int = 9_000_000) -> None:
    files = {"energy1_label": "card", "energy1_input": card, "energy2_label": "pkg"}
    write_chip(root, folder, "xe", {**files, "energy2_input": 4_000_000})


def total(meter: HwmonMeter) -> float:
    return info(meter).total_joules(meter.read().joules)


def test_a_card_holds_its_package(tmp_path):
    xe(tmp_path)
    with HwmonMeter(tmp_path) as meter:
        assert domains(meter) == {"xe-card": None, "xe-pkg": "xe-card"}
        assert total(meter) == 9.0
    with HwmonMeter(tmp_path, "pkg") as meter:
        assert total(meter) == 4.0


def test_two_cards_add_up_and_each_holds_its_own_package(tmp_path):
    xe(tmp_path)
    xe(tmp_path, "hwmon1", card=20_000_000)
    with HwmonMeter(tmp_path) as meter:
        assert total(meter) == 29.0
        parents = {name: parent for name, parent in domains(meter).items() if parent}
        assert parents == {"xe-hwmon0-pkg": "xe-hwmon0-card", "xe-hwmon1-pkg": "xe-hwmon1-card"}


def test_a_tile_is_inside_its_card(tmp_path):
    write_chip(tmp_path, "hwmon0", "i915", {"energy1_input": 7_000_000})
    write_chip(tmp_path, "hwmon1", "i915_gt0", {"energy1_input": 5_000_000})
    with HwmonMeter(tmp_path) as meter:
        assert total(meter) == 7.0
    with HwmonMeter(tmp_path, "i915+i915_gt0") as meter:
        assert total(meter) == 7.0


@pytest.mark.parametrize(
    ("chip", "labels", "expected"),
    [
        ("corsairpsu", ["power total", "power +12v", "power +5v", "power +3.3v"], 1),
        ("macsmc_hwmon", ["AC Input Power", "Total System Power", "Heatpipe Power"], 2),
        ("another", ["Sum of rails", "rail a", "rail b"], 1),
    ],
)
def test_a_labelled_total_counts_once(tmp_path, chip, labels, expected):
    files = {}
    for number, label in enumerate(labels, 1):
        files[f"energy{number}_label"] = label
        files[f"energy{number}_input"] = number * 1_000_000
    write_chip(tmp_path, "hwmon0", chip, files)
    with HwmonMeter(tmp_path) as meter:
        assert total(meter) == expected


def test_channels_of_unknown_overlap_are_refused(tmp_path):
    write_chip(tmp_path, "hwmon0", "ltc2947", {"energy1_input": 1, "energy2_input": 2})
    with pytest.raises(MeterUnavailable, match="name one, as hwmon:ltc2947-energy1, or those that"):
        HwmonMeter(tmp_path)


# Bad readings


@pytest.mark.parametrize("milliamperes", [-1, -2500])
def test_negative_power_is_refused_at_opening(tmp_path, milliamperes):
    (jetson(tmp_path) / "curr2_input").write_text(f"{milliamperes}\n")
    with pytest.raises(MeterUnavailable, match="VDD_CPU_GPU_CV reports -.* W.*wiring"):
        HwmonMeter(tmp_path, "VDD_CPU_GPU_CV")


def test_negative_power_voids_its_window_and_the_next_is_valid(tmp_path):
    current = jetson(tmp_path) / "curr1_input"
    with HwmonMeter(tmp_path, "VDD_IN") as meter:
        meter.read()
        current.write_text("-300\n")
        with pytest.raises(MeterFailed, match="VDD_IN reports -1.5 W"):
            meter.read()
        current.write_text("1200\n")
        with pytest.raises(MeterFailed):  # the sampling thread may also have failed
            for _ in range(2):
                meter.read()
            raise MeterFailed
        bounded = bounded_window(meter, 0.05)
    bounded.assert_joules(bounded.window.joules["ina3221-VDD_IN"], 6)


@pytest.mark.parametrize("bad", [3, -8, "nan", "", 10**19])
def test_a_bad_count_voids_its_window_and_the_next_is_valid(tmp_path, bad):
    place = write_chip(tmp_path, "hwmon0", "chip", {"energy1_input": 5_000_000})
    with HwmonMeter(tmp_path) as meter:
        meter.read()
        (place / "energy1_input").write_text(f"{bad}\n")
        with pytest.raises(MeterFailed):
            meter.read()
        after_the_reset = int(bad) if str(bad).isdigit() else 5_000_000
        if after_the_reset < 10**19:
            (place / "energy1_input").write_text(f"{after_the_reset}\n")
        before = meter.read()
        (place / "energy1_input").write_text(f"{after_the_reset + 2_000_000}\n")
        assert meter.read().joules["chip-energy1"] - before.joules["chip-energy1"] == (
            pytest.approx(2.0, abs=0.01)
            if after_the_reset < 10**19
            else pytest.approx(2.0, abs=2.1)
        )


def amdgpu(root: Path, folder: str, integrated: bool) -> Path:
    """amdgpu shows vddnb only for a GPU within a CPU."""
    files: dict[str, object] = {"in0_label": "vddgfx", "power1_average": 20_000_000}
    return write_chip(
        root, folder, "amdgpu", files | ({"in1_label": "vddnb"} if integrated else {})
    )


def test_gpus_are_every_card_and_no_gpu_within_a_cpu(tmp_path):
    amdgpu(tmp_path, "hwmon3", integrated=True)
    amdgpu(tmp_path, "hwmon4", integrated=False)
    write_chip(tmp_path, "hwmon5", "i915", {"energy1_input": 5})
    write_chip(tmp_path, "hwmon6", "nvme", {"power1_input": 5})
    with HwmonMeter(tmp_path, "gpus") as meter:
        assert set(domains(meter)) == {"amdgpu-hwmon4-power1", "i915-energy1"}
    with HwmonMeter(tmp_path, "counting-gpus") as meter:
        assert (set(domains(meter)), meter.ticks) == ({"i915-energy1"}, True)
    with pytest.raises(MeterUnavailable, match="may overlap") as error:
        HwmonMeter(tmp_path)
    assert "or all GPUs, as hwmon:gpus" in error.value.remedy


def test_a_gpu_within_a_cpu_is_no_card(tmp_path):
    amdgpu(tmp_path, "hwmon3", integrated=True)
    with pytest.raises(MeterUnavailable, match="no chip under .* is a GPU that is a card"):
        HwmonMeter(tmp_path, "gpus")


def test_a_card_that_reports_only_watts_counts_no_joules(tmp_path):
    amdgpu(tmp_path, "hwmon3", integrated=False)
    with pytest.raises(MeterUnavailable, match="counts joules") as error:
        HwmonMeter(tmp_path, "counting-gpus")
    assert "hwmon:gpus" in error.value.remedy


def test_auto_adds_gpus_that_count_joules_to_the_package(tmp_path):
    Tree(tmp_path / "powercap", LAYOUTS["package only"])
    write_chip(tmp_path / "hwmon", "hwmon1", "xe", {
        "energy1_label": "card", "energy1_input": 9, "energy2_label": "pkg", "energy2_input": 4,
    })  # fmt: skip
    amdgpu(tmp_path / "hwmon", "hwmon2", integrated=False)
    settings_here = MeterSettings(sysfs=str(tmp_path), trust_sensor=True)
    with open_any_meter("auto", settings_here) as meter:
        top = [domain.name for domain in meter.domains if domain.parent is None]
    assert top == ["package-0", "xe-card"]


def test_auto_without_a_counting_gpu_is_the_package_alone(tmp_path):
    Tree(tmp_path / "powercap", LAYOUTS["package only"])
    amdgpu(tmp_path / "hwmon", "hwmon2", integrated=False)
    with open_any_meter("auto", MeterSettings(sysfs=str(tmp_path), trust_sensor=True)) as meter:
        assert [domain.name for domain in meter.domains] == ["package-0"]


def test_a_socket_that_stands_still_while_the_other_moves_is_left_out(tmp_path):
    place = amd_energy(tmp_path)
    stop = threading.Event()

    def drive() -> None:
        energy_uj = 50_000_000
        with open(place / "energy6_input", "r+b", buffering=0) as file:
            while not stop.wait(0.005):
                energy_uj += 100_000
                os.pwrite(file.fileno(), b"%-12d" % energy_uj, 0)  # never an empty file

    thread = threading.Thread(target=drive)
    thread.start()
    try:
        with HwmonMeter(tmp_path, "amd_energy", cpuinfo=tmp_path / "none") as meter:
            assert domains(meter) == {"amd_energy-Esocket1": None}
            assert any("Esocket0 stands still while the others" in note for note in meter.notes)
            assert set(meter.read().joules) == {"amd_energy-Esocket1"}
    finally:
        stop.set()
        thread.join()
