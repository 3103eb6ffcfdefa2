"""What doctor says of a machine's restlessness, on made-up kernels."""

from __future__ import annotations

import pytest

from pytest_energy.cli import main
from pytest_energy.cli.doctor import disturbances


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


def said(folder, load=0.1):
    return list(disturbances(folder, lambda: (load, 9.0, 9.0)))


@pytest.mark.parametrize("off", [{"intel_pstate__no_turbo": "1"}, {"cpufreq__boost": "0"}, {}])
def test_a_quiet_machine_is_worth_no_line(tmp_path, off):
    assert said(kernel(tmp_path, "performance", **off)) == []


def test_a_governor_that_follows_the_load(tmp_path):
    (line,) = said(kernel(tmp_path, "powersave"))
    assert line.startswith("governor: powersave") and line.endswith(
        "sudo cpupower frequency-set -g performance"
    )


@pytest.mark.parametrize(
    ("name", "on", "off"), [("intel_pstate/no_turbo", "0", "1"), ("cpufreq/boost", "1", "0")]
)
def test_turbo_and_how_to_switch_it_off(tmp_path, name, on, off):
    (line,) = said(kernel(tmp_path, "performance", **{name.replace("/", "__"): on}))
    assert line.startswith("turbo: on") and line.endswith(
        f"echo {off} | sudo tee {tmp_path / name}"
    )


def test_where_the_kernel_shows_nothing_that_is_said(tmp_path):
    (line,) = said(tmp_path)
    assert line.startswith("clocks: not shown here")


@pytest.mark.parametrize(("load", "lines"), [(0.49, 0), (0.5, 1), (7.0, 1)])
def test_others_at_work(tmp_path, load, lines):
    assert len(said(kernel(tmp_path, "performance"), load)) == lines


def test_doctor_shows_it(monkeypatch, capsys):
    monkeypatch.setattr(
        "pytest_energy.cli.doctor.disturbances", lambda: iter(["governor: powersave, so"])
    )
    main(["doctor"])
    assert "noise: governor: powersave, so" in capsys.readouterr().out


def test_where_the_system_tells_no_load_there_is_no_line_of_it(tmp_path):
    def none():
        raise OSError("no load average here")

    assert list(disturbances(kernel(tmp_path, "performance", cpufreq__boost="0"), none)) == []
