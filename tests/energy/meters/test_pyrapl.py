"""The pyrapl meter, with a stand-in for pyRAPL and, if it is installed, with pyRAPL."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import types

import pytest

from pytest_energy.errors import MeterFailed, MeterUnavailable, OptionError
from pytest_energy.meters import MeterSettings, pyrapl
from pytest_energy.meters.pyrapl import PyraplMeter, open_pyrapl
from pytest_energy.model import Domain
from tests.energy.rigs.powercap_tree import LAYOUTS, RANGE_15_UJ, RANGE_61_UJ, Tree


class PyRAPLError(Exception):
    """In place of the package's PyRAPLException."""


class StandIn:
    """The part of pyRAPL that the meter uses. It returns package and DRAM of each socket in turn.

    A value of -1 means that the socket or its DRAM is absent.
    """

    def __init__(self):
        self.values_uj: list[float] | Exception = [1000.0, 500.0]

    def energy(self):
        if isinstance(self.values_uj, Exception):
            raise self.values_uj
        return list(self.values_uj)


@pytest.fixture
def sensor(monkeypatch, tmp_path):
    stand_in = StandIn()
    module = types.ModuleType("pyRAPL")
    module.PyRAPLException = PyRAPLError
    module.Sensor = lambda: stand_in
    monkeypatch.setitem(sys.modules, "pyRAPL", module)
    Tree(tmp_path / "powercap", LAYOUTS["two sockets"])
    monkeypatch.setattr(pyrapl, "PYRAPL_ROOT", str(tmp_path / "powercap"))
    return stand_in


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(pyrapl, "now_s", lambda: now[0])
    return now


def test_packages_and_dram_of_the_present_sockets(sensor):
    sensor.values_uj = [1e6, 2e6, -1, -1, 3e6, -1]
    with PyraplMeter() as meter:
        assert meter.domains == (Domain("package-0"), Domain("dram-0"), Domain("package-2"))
        assert meter.read().joules == pytest.approx(
            {"package-0": 1.0, "dram-0": 2.0, "package-2": 3.0}
        )
        assert any("does not handle wraps" in note for note in meter.notes)


def test_a_wrap_is_undone_with_the_range_of_its_zone(sensor, clock):
    sensor.values_uj = [RANGE_61_UJ - 1e6, RANGE_15_UJ - 2e6]
    with PyraplMeter() as meter:
        before = meter.read()
        clock[0] += 1
        sensor.values_uj = [4e6, 1e6]
        after = meter.read()
    assert after.joules["package-0"] - before.joules["package-0"] == pytest.approx(5.0)
    assert after.joules["dram-0"] - before.joules["dram-0"] == pytest.approx(3.0)


def test_a_fall_that_no_wrap_explains_voids_the_window(sensor, clock):
    sensor.values_uj = [5e6, 1e6]
    with PyraplMeter() as meter:
        sensor.values_uj = [4e6, 1e6]
        clock[0] += 0.1
        with pytest.raises(
            MeterFailed,
            match="package-0 fell from 5000000 to 4000000 uJ in 0.1.* the counter was reset",
        ):
            meter.read()
        before = meter.read()
        sensor.values_uj = [6e6, 1e6]
        assert meter.read().joules["package-0"] - before.joules["package-0"] == pytest.approx(2.0)


def test_a_window_long_enough_for_two_wraps_is_void(sensor, clock):
    with PyraplMeter() as meter:
        clock[0] += 66  # DRAM at 65.5 kJ and 1000 W
        with pytest.raises(MeterFailed, match="not read for 66 s"):
            meter.read()


def test_a_fall_in_an_unknown_range_voids_the_window(sensor, clock, monkeypatch):
    monkeypatch.setattr(pyrapl, "PYRAPL_ROOT", "/nowhere")
    sensor.values_uj = [65e9, -1]
    with PyraplMeter() as meter:
        sensor.values_uj = [1e6, -1]
        with pytest.raises(MeterFailed, match="its range is unknown"):
            meter.read()


@pytest.mark.parametrize(
    "failure", [OSError(19, "No such device"), ValueError("could not convert string to float: ''")]
)
def test_an_error_of_pyrapl_voids_the_window(sensor, failure):
    with PyraplMeter() as meter:
        sensor.values_uj = failure
        with pytest.raises(MeterFailed, match="pyRAPL failed to read"):
            meter.read()


def test_without_the_package_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyRAPL", None)
    with pytest.raises(MeterUnavailable, match="cannot be imported") as caught:
        open_pyrapl(MeterSettings(), None)
    assert "pytest-energy[rapl]" in caught.value.remedy


@pytest.mark.parametrize("failure", [PyRAPLError(), PermissionError(13, "Permission denied")])
def test_without_a_sensor_powercap_is_named(sensor, monkeypatch, failure):
    def no_sensor():
        raise failure

    monkeypatch.setattr(sys.modules["pyRAPL"], "Sensor", no_sensor)
    with pytest.raises(MeterUnavailable) as caught:
        open_pyrapl(MeterSettings(), None)
    assert "powercap" in caught.value.remedy


def test_an_argument_is_refused():
    with pytest.raises(OptionError, match="takes no argument, got 'psys'"):
        open_pyrapl(MeterSettings(), "psys")


def test_closing_twice_is_harmless_and_reading_after_it_fails(sensor):
    meter = PyraplMeter()
    meter.close()
    meter.close()
    with pytest.raises(MeterFailed, match="closed"):
        meter.read()


IN_A_NAMESPACE = """
mount -t tmpfs none /sys/class && mkdir /sys/class/powercap && exec "$0" -W error -c '
import sys
sys.path.insert(0, sys.argv[1])
from tests.energy.rigs.powercap_tree import LAYOUTS, Tree
from pytest_energy.meters.pyrapl import PyraplMeter
tree = Tree("/sys/class/powercap", LAYOUTS["client"])
with PyraplMeter() as meter:
    before = meter.read()
    tree.write("intel-rapl:0", 1_002_500_000)
    after = meter.read()
    names = [domain.name for domain in meter.domains]
    print(after.joules["package-0"] - before.joules["package-0"], names)
' "$1"
"""


@pytest.mark.skipif(
    importlib.util.find_spec("pyRAPL") is None,
    reason="pyRAPL is not installed: pip install 'pytest-energy[rapl]'",
)
def test_the_real_package_on_a_tree_in_sys_class_powercap(request):
    command = [
        "unshare",
        "--mount",
        "sh",
        "-c",
        IN_A_NAMESPACE,
        sys.executable,
        str(request.config.rootpath),
    ]
    if (
        os.getuid() != 0
        or subprocess.run(
            ["unshare", "--mount", "true"], capture_output=True, check=False
        ).returncode
    ):
        pytest.skip(
            "pyRAPL reads only /sys/class/powercap, and this user cannot make a mount namespace"
        )
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.stdout == "2.5 ['package-0', 'dram-0']\n", run.stderr


def test_the_import_of_pyrapl_logs_nothing_and_leaves_logging_as_it_was():
    """pyRAPL logs that MongoDB's client is missing, which also installs a handler."""
    code = (
        "import logging, sys, types\n"
        "from pytest_energy.meters import pyrapl\n"
        "with pyrapl._quiet_pyrapl():\n"
        "    logging.warning('imports error')\n"
        "assert not logging.getLogger().handlers\n"
        "logging.warning('shown')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "WARNING:root:shown\n"
