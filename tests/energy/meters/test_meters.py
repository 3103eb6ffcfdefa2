"""The installed meters, the choice of one, and several meters as one."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint

import pytest

from pytest_energy.errors import MeterFailed, MeterUnavailable, OptionError
from pytest_energy.meters import CombinedMeter, Meter, info, installed, open_meter, split_root
from pytest_energy.model import Domain, Reading
from pytest_energy.report.doctor import doctor_report


class Board(Meter):
    """A meter with constant watts on one domain, at a fixed instant."""

    update_interval_s, resolution_joules = 0.001, 1e-6

    def __init__(
        self,
        name: str,
        domain: str,
        watts: float = 1.0,
        provenance: str = "measured",
        at_s: float = 10.0,
    ):
        self.name, self.provenance, self.domains = name, provenance, (Domain(domain),)
        self.watts, self.at_s, self.closed = watts, at_s, 0

    def read(self) -> Reading:
        return Reading(self.at_s, {self.domains[0].name: self.watts * self.at_s})

    def close(self) -> None:
        self.closed += 1


class Slow(Board):
    update_interval_s, resolution_joules, band, ticks = 0.1, 1e-3, (0.5, 2.0), False
    notes = ("sampled",)


@pytest.fixture
def only(monkeypatch):
    """Replace the installed meters. Each name has a meter, or an error that opening it raises."""

    def install(**meters: Meter | Exception):
        def factory(meter):
            def open_it(settings, argument):
                if isinstance(meter, Exception):
                    raise meter
                return meter

            return open_it

        factories = {name: factory(meter) for name, meter in meters.items()}
        monkeypatch.setattr(
            sys.modules["pytest_energy.meters.registry"], "installed", lambda: factories
        )

    return install


def test_several_meters_read_as_one_as_coarse_as_the_coarsest():
    both = CombinedMeter(
        [Board("cpu", "package-0", 20.0), Slow("gpu", "gpu-0", 300.0, at_s=10.001)]
    )
    about = info(both)
    assert (about.name, about.provenance) == ("cpu+gpu", "measured")
    assert about.domains == (Domain("package-0"), Domain("gpu-0"))
    assert (about.update_interval_s, about.resolution_joules, about.band, about.ticks) == (
        0.1,
        1e-3,
        (0.5, 2.0),
        False,
    )
    assert about.notes == ("sampled",)
    reading = both.read()
    assert reading == Reading(10.0, {"package-0": 200.0, "gpu-0": pytest.approx(3000.3)})
    assert about.total_joules(reading.joules) == pytest.approx(3200.3)


@pytest.mark.parametrize(
    ("second", "why"),
    [
        (Board("guess", "board-0", provenance="estimated"), "is measured.*is estimated"),
        (Board("again", "package-0"), "'package-0'.* would count twice"),
    ],
    ids=["two provenances", "one domain twice"],
)
def test_meters_that_do_not_add_up_are_refused_and_closed(only, second, why):
    first = Board("cpu", "package-0")
    only(first=first, second=second)
    with pytest.raises(OptionError, match=why):
        open_meter("first, second")
    assert (first.closed, second.closed) == (1, 1)


def test_an_unavailable_meter_closes_the_others(only):
    first = Board("cpu", "package-0")
    only(first=first, second=MeterUnavailable("no GPU here"))
    with pytest.raises(MeterUnavailable, match="no GPU here"):
        open_meter("first,second")
    assert first.closed == 1


def test_close_closes_all_meters(only):
    meters = Board("cpu", "package-0"), Board("gpu", "gpu-0")
    only(first=meters[0], second=meters[1])
    with open_meter("first,second") as both:
        assert isinstance(both, CombinedMeter) and [meter.closed for meter in meters] == [0, 0]
    assert [meter.closed for meter in meters] == [1, 1]


def test_auto_opens_one_sensor_per_kind_or_else_the_estimate(only):
    absent = MeterUnavailable("not here")
    cpu, gpu, guess = (
        Board("cpu", "package-0"),
        Board("gpu", "gpu-0"),
        Board("guess", "cpu-estimate", provenance="estimated"),
    )
    only(powercap=absent, perf=cpu, nvml=gpu, estimate=guess)
    assert open_meter().name == "cpu+gpu"
    only(
        powercap=cpu,
        perf=MeterFailed("not tried, because powercap is available"),
        nvml=absent,
        estimate=guess,
    )
    assert open_meter() is cpu
    only(powercap=absent, perf=absent, nvml=absent, estimate=guess)
    assert open_meter() is guess


def test_without_the_packages_metadata_the_error_says_so(only):
    only()
    with pytest.raises(MeterUnavailable, match="no meter is installed: .*; install the package"):
        open_meter()
    assert doctor_report([]).startswith("Nothing can be measured: no meter is installed")


def test_an_unknown_name_lists_the_installed_meters(only):
    only(powercap=Board("cpu", "package-0"))
    with pytest.raises(
        OptionError, match="no meter is called 'watt'; installed are: auto, powercap"
    ):
        open_meter("watt")


def test_a_meter_from_a_broken_package_is_one_line(monkeypatch):
    broken = EntryPoint("broken", "package_that_is_not:open_it", "pytest_energy.meters")
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: [broken])
    monkeypatch.setattr(sys, "path", [*sys.path, "a path that was not searched before"])
    assert list(installed()) == ["broken"]
    with pytest.raises(
        MeterUnavailable, match="broken cannot be loaded from package_that_is_not:open_it"
    ):
        open_meter("broken")


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        (None, (None, "/default")),
        ("psys", ("psys", "/default")),
        ("root=/host/x", (None, "/host/x")),
        ("package-0+core-0+root=/host/a+b", ("package-0+core-0", "/host/a+b")),
    ],
)
def test_root_comes_last_in_an_argument(argument, expected):
    assert split_root(argument, "/default") == expected


@pytest.mark.parametrize("argument", ["root=", "psys+root="])
def test_a_root_without_a_folder_is_refused(argument):
    with pytest.raises(OptionError, match="root= names no folder, such as root=/default"):
        split_root(argument, "/default")
