"""``pytest-energy doctor``: the verdict, each meter, and what disturbs."""

from __future__ import annotations

import json

import pytest

from pytest_energy import cli
from pytest_energy.cli.doctor import counting_line, disturbances
from pytest_energy.errors import MeterFailed, MeterUnavailable, OptionError
from pytest_energy.meters import MeterCheck, MeterSettings, check_meters, installed
from pytest_energy.meters.powercap_zones import unreadable
from pytest_energy.report.doctor import WIDTH, doctor_report
from tests.energy.rigs.clock_meter import ClockMeter
from tests.energy.rigs.powercap_tree import LAYOUTS, Tree


def raises(error):
    def factory(settings, argument):
        raise error

    return factory


@pytest.fixture
def sysfs(tmp_path, monkeypatch):
    """A folder in place of /sys/class, with a client's RAPL zones in it."""
    tree = tmp_path / "powercap"
    tree.mkdir()
    Tree(tree, LAYOUTS["client"])
    monkeypatch.setenv("PYTEST_ENERGY_SYSFS", str(tmp_path))


@pytest.mark.usefixtures("sysfs")
def test_the_verdict_comes_first_and_absent_meters_are_one_line(capsys):
    assert cli.main(["doctor", "--trust-sensor"]) == 0  # this machine may be virtual
    out = capsys.readouterr().out
    assert out.startswith("This machine can measure joules: powercap.\n")
    words = " ".join(out.split())
    assert "yes powercap: measured; package-0, dram-0" in words
    assert "updates every 1.00 ms, steps of 61.0 µJ; permission: granted" in words
    assert "psys already includes the packages" in words
    absent = words[words.index("absent: ") :]
    assert "replay" in absent and absent.endswith("--all shows why")


@pytest.mark.usefixtures("sysfs")
def test_all_shows_every_meter_with_its_reason(capsys):
    assert cli.main(["doctor", "--all"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    for name in installed():
        assert f" {name}: " in out
    assert "absent" not in out


@pytest.mark.usefixtures("sysfs")
def test_json_has_every_meter(capsys):
    assert cli.main(["doctor", "--format=json"]) == 0
    findings = {finding["name"]: finding for finding in json.loads(capsys.readouterr().out)}
    assert set(findings) == set(installed())
    powercap = findings["powercap"]
    assert powercap["permission"] == "granted"
    assert [domain["name"] for domain in powercap["meter"]["domains"]] == ["package-0", "dram-0"]
    assert powercap["meter"]["update_interval_s"] == 0.001
    assert powercap["meter"]["resolution_joules"] == pytest.approx(61e-6, rel=0.01)
    assert findings["replay"]["meter"] is None and findings["replay"]["remedy"]


def test_a_refused_counter_is_shown_with_its_remedy_and_an_absent_one_is_not(
    only_these_meters, capsys
):
    only_these_meters(
        powercap=raises(unreadable("/sys/energy_uj", PermissionError(13, "denied"))),
        perf=raises(MeterUnavailable("no PMU", "load it")),
    )
    assert cli.main(["doctor"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "No sensor counts joules here." in out
    assert "Permission is missing for: powercap." in out
    assert "do: until the next boot: sudo chmod a+r /sys/energy_uj" in out
    assert "no PMU" not in out and "absent: perf;" in out
    assert [check.permission for check in check_meters(MeterSettings())] == ["not known", "denied"]


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        (MeterFailed("gone half-way"), "gone half-way"),
        (OptionError("no such argument"), "no such argument"),
        (ZeroDivisionError("theirs"), "it raised ZeroDivisionError: theirs"),
    ],
)
def test_an_error_of_one_meter_does_not_hide_the_others(only_these_meters, capsys, error, shown):
    only_these_meters(broken=raises(error), clock=lambda settings, argument: ClockMeter())
    assert cli.main(["doctor", "--all"]) == 0
    out = capsys.readouterr().out
    assert f"no  broken: {shown}" in out
    assert "yes clock: measured; package-0, core-0 (inside package-0)" in out


def test_lines_are_80_columns_wide_and_commands_stay_whole():
    path = "/sys/devices/virtual/powercap/intel-rapl/intel-rapl:0/intel-rapl:0:0/energy_uj-and-more"
    reason = "a reason that is wrapped, since it is longer than one line of the report may be " * 2
    check = MeterCheck("meter", None, reason.strip(), f"sudo chmod a+r {path}")
    report = doctor_report([check], show_all=True)
    too_long = [line.strip() for line in report.splitlines() if len(line) > WIDTH]
    assert too_long == [path]
    assert reason.strip() in " ".join(report.split())


def test_escape_sequences_of_a_driver_are_written_out():
    report = doctor_report(
        [MeterCheck("meter", None, "no\x1b[31m card", None)], ["fan\x1b[0m"], True
    )
    assert "\x1b" not in report and r"no\x1b[31m card" in report


def kernel(folder, governor=None, **files):
    for cpu in range(4):
        if governor:
            path = folder / f"cpu{cpu}" / "cpufreq" / "scaling_governor"
            path.parent.mkdir(parents=True)
            path.write_text(f"{governor}\n")
    for name, text in files.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")
    return folder


def lines_about(folder, load=0.1):
    return list(disturbances(folder, lambda: (load, 9.0, 9.0)))


@pytest.mark.parametrize("off", [{"intel_pstate__no_turbo": "1"}, {"cpufreq__boost": "0"}, {}])
def test_a_quiet_machine_adds_no_line(tmp_path, off):
    assert lines_about(kernel(tmp_path, "performance", **off)) == []


def test_a_governor_that_follows_the_load_is_named_with_its_remedy(tmp_path):
    (line,) = lines_about(kernel(tmp_path, "powersave"))
    assert line.startswith("governor: powersave") and line.endswith(
        "sudo cpupower frequency-set -g performance"
    )


@pytest.mark.parametrize(
    ("name", "on", "off"), [("intel_pstate/no_turbo", "0", "1"), ("cpufreq/boost", "1", "0")]
)
def test_turbo_is_named_with_the_command_that_disables_it(tmp_path, name, on, off):
    (line,) = lines_about(kernel(tmp_path, "performance", **{name.replace("/", "__"): on}))
    assert line.startswith("turbo: on") and line.endswith(
        f"echo {off} | sudo tee {tmp_path / name}"
    )


def test_where_the_kernel_shows_nothing_that_is_lines_about(tmp_path):
    (line,) = lines_about(tmp_path)
    assert line.startswith("clocks: the kernel does not show them")


@pytest.mark.parametrize(("load", "lines"), [(0.49, 0), (0.5, 1), (7.0, 1)])
def test_load_of_half_a_cpu_adds_a_line(tmp_path, load, lines):
    assert len(lines_about(kernel(tmp_path, "performance"), load)) == lines


def test_doctor_shows_disturbances(monkeypatch, capsys):
    monkeypatch.setattr(
        "pytest_energy.cli.doctor.disturbances", lambda: iter(["governor: powersave, so"])
    )
    cli.main(["doctor"])
    assert "noise: governor: powersave, so" in capsys.readouterr().out


def test_a_system_without_load_average_adds_no_line(tmp_path):
    def none():
        raise OSError("no load average here")

    assert list(disturbances(kernel(tmp_path, "performance", cpufreq__boost="0"), none)) == []


def test_a_line_says_whether_work_can_be_counted(monkeypatch):
    monkeypatch.setenv("PATH", "")
    line = counting_line()
    assert line.startswith(("no: valgrind is not installed; install it:", "yes, with cpu"))
