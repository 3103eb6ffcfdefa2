"""Options: the command line over the ini file over the default; and what the markers say."""

from __future__ import annotations

import math
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_energy.errors import OptionError
from pytest_energy.gate import Budget, Gate, Thresholds
from pytest_energy.meters import MeterSettings
from pytest_energy.options import OPTIONS, Options
from pytest_energy.plan import Plan
from pytest_energy.plugin.command_line import options_of
from pytest_energy.plugin.markers import Mark, gate_from_marks
from pytest_energy.plugin.worker_options import worker_command_line

FLAGS = {option.name: option.flag for option in OPTIONS}
PLAN_FIELDS = {
    "max_time": "max_time_s",
    "quantisation": "max_quantisation",
    "alpha": "alpha",
    "tolerance": "tolerance",
}
NUMBERS = {name: getattr(Plan(), field) for name, field in PLAN_FIELDS.items()}


def of(**given_texts: str | None) -> Options:
    return Options.of(given_texts)


def test_defaults():
    assert of() == Options()
    assert of(**dict.fromkeys(FLAGS)) == Options()
    assert of(**dict.fromkeys(FLAGS, "")) == Options()


def test_help_names_the_defaults():
    helps = {option.name: option.help for option in OPTIONS}
    for name, default in NUMBERS.items():
        shown = f"{default:.0%}" if name != "max_time" else f"{default:g}"
        assert f"default: {shown})" in helps[name]


def test_every_option():
    options = of(
        meter="powercap,nvml",
        watts="8, 65.5",
        max_time="2.5",
        tolerance="5%",
        alpha="0.05",
        suite_alpha="2%",
        family_wise=True,
        quantisation=" 2 % ",
        gate_estimates=True,
        quality_tolerance="1%",
        carbon_intensity="400",
        lock_timeout="0",
        strict=True,
        allow_ungated=True,
    )
    assert options == Options(
        meter="powercap,nvml",
        watts=(8.0, 65.5),
        plan=Plan(2.5, max_quantisation=0.02, alpha=0.05, tolerance=0.05, gate_estimates=True),
        suite_alpha=0.02,
        family_wise=True,
        gate_estimates=True,
        quality_tolerance=0.01,
        grams_per_kwh=400.0,
        lock_timeout_s=0.0,
        strict=True,
        allow_ungated=True,
    )
    assert options.meter_settings == MeterSettings(watts=(8.0, 65.5))


def test_an_error_names_where_the_text_stood():
    with pytest.raises(OptionError, match="energy_alpha of pytest.ini takes a share"):
        Options.of({"alpha": "2"}, {"alpha": "energy_alpha of pytest.ini"})


@pytest.mark.parametrize(
    ("command_line", "ini", "expected"),
    [
        ((), "", 0.03),
        ((), "energy_tolerance = 7%", 0.07),
        (("--energy-tolerance=5%",), "energy_tolerance = 7%", 0.05),
    ],
)
def test_command_line_over_ini_over_default(pytester, command_line, ini, expected):
    pytester.makeini(f"[pytest]\n{ini}\n")
    assert options_of(pytester.parseconfig(*command_line)).plan.tolerance == expected


@pytest.mark.parametrize("value", [True, ["3%"], {"share": 0.03}])
@pytest.mark.parametrize("name", [option.name for option in OPTIONS if option.parse is not None])
def test_a_toml_value_that_is_neither_text_nor_number_is_refused(name, value):
    with pytest.raises(OptionError, match="takes a text or a number, not"):
        Options.of({name: value})


def test_a_number_in_a_toml_file_is_as_good_as_its_text():
    assert Options.of({"max_time": 7, "tolerance": 0.25}) == Options.of(
        {"max_time": "7", "tolerance": "25%"}
    )


@pytest.mark.parametrize("name", [option.name for option in OPTIONS if option.parse is None])
def test_switches(pytester, name):
    assert getattr(options_of(pytester.parseconfig()), name) is False
    assert getattr(options_of(pytester.parseconfig(FLAGS[name])), name) is True
    pytester.makeini(f"[pytest]\nenergy_{name} = true\n")
    assert getattr(options_of(pytester.parseconfig()), name) is True


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(
            (name, value)
            for name in NUMBERS
            for value in ("x", "nan", "inf", "-1", "0", "1e999", " ", "1,2")
        ),
        *(
            (name, value)
            for name in NUMBERS
            if name != "max_time"
            for value in ("%", "x%", "0%", "-1%", "nan%", "101%")
        ),
        ("max_time", "5%"),
        ("quantisation", "1.01"),
        ("alpha", "0.5"),
        ("tolerance", "1"),
        *(
            ("watts", value)
            for value in (
                "8",
                "8,65,90",
                "65,8",
                "8,8",
                "-1,5",
                "8,x",
                "nan,5",
                "5,nan",
                "5,inf",
                ",",
                "8W,65W",
            )
        ),
    ],
)
def test_bad_value_is_named_with_its_flag(name, value):
    with pytest.raises(OptionError) as raised:
        of(**{name: value})
    assert FLAGS[name] in str(raised.value)
    assert value in str(raised.value)


numerals = st.from_regex(r"-?[0-9]{1,4}(\.[0-9]+)?(e[0-9])? ?%?", fullmatch=True)


@given(st.sampled_from([*NUMBERS, "watts"]), st.text(max_size=12) | numerals)
def test_any_text_is_a_value_or_an_error_that_names_it(name, value):
    try:
        options = of(**{name: value})
    except OptionError as error:
        assert FLAGS[name] in str(error)
        assert value in str(error) or repr(value) in str(error)
    else:
        assert all(math.isfinite(getattr(options.plan, field)) for field in PLAN_FIELDS.values())


@given(st.floats(0.01, 99))
def test_percent_is_a_hundredth(percent):
    assert of(tolerance=f"{percent!r}%").plan.tolerance == percent / 100
    assert of(tolerance=f"{percent / 100!r}").plan.tolerance == percent / 100


def marks(**keywords_of) -> Gate:
    energy, gps_up = (
        Mark(name, (), keywords_of[name]) if name in keywords_of else None
        for name in ("energy", "gps_up")
    )
    return gate_from_marks(energy, gps_up, Options(plan=Plan(tolerance=0.04)))


def test_gate_of_markers():
    assert marks() == Gate(Budget(), None, 0.04)
    assert marks(energy={}, gps_up={}) == Gate(Budget(), Thresholds(), 0.04)
    assert marks(energy={"max_joules": 1, "max_watts": 2.5, "tolerance": 0.1}) == Gate(
        Budget(1.0, 2.5), None, 0.1
    )
    assert marks(gps_up={"speedup": 1.2}) == Gate(Budget(), Thresholds(1.2), 0.04)
    assert gate_from_marks(None, None, Options(gate_estimates=True)).gate_estimates


BAD_NUMBERS = [True, False, -1, 0, -0.5, math.nan, math.inf, 10**400, "1", None, [1], 1j]


@pytest.mark.parametrize("value", BAD_NUMBERS, ids=lambda value: repr(value)[:10])
@pytest.mark.parametrize(
    ("marker", "keyword"),
    [("energy", key) for key in ("max_joules", "max_watts", "max_seconds", "tolerance")]
    + [("gps_up", "speedup"), ("gps_up", "greenup")],
)
def test_impossible_value_in_a_marker(marker, keyword, value):
    with pytest.raises(OptionError) as raised:
        marks(**{marker: {keyword: value}})
    assert f"{keyword} of the {marker} marker" in str(raised.value)
    assert repr(value) in str(raised.value)


@pytest.mark.parametrize("value", [1, 1.0, 3, sys.float_info.max])
def test_tolerance_of_a_marker_is_a_share(value):
    with pytest.raises(OptionError, match="tolerance of the energy marker must lie in"):
        marks(energy={"tolerance": value})


@pytest.mark.parametrize(
    ("marker", "keyword"), [("energy", "max_joule"), ("energy", "speedup"), ("gps_up", "powerup")]
)
def test_unknown_keyword_in_a_marker(marker, keyword):
    with pytest.raises(
        OptionError, match=f"the {marker} marker has no keyword '{keyword}'; it has "
    ):
        marks(**{marker: {keyword: 1.0}})


@pytest.mark.parametrize("marker", ["energy", "gps_up"])
def test_marker_takes_keywords_only(marker):
    mark = Mark(marker, (0.5,), {})
    with pytest.raises(
        OptionError, match=rf"the {marker} marker takes keywords only \(.*\), not \(0.5,\)"
    ):
        gate_from_marks(
            mark if marker == "energy" else None, mark if marker == "gps_up" else None, Options()
        )


COMPARE_THEN_A_PATH = [
    (["--energy-compare", "sub/test_one.py"], ""),
    (["sub/test_one.py", "--energy-compare"], ""),
    (["--energy-compare=", "sub/test_one.py"], ""),
    (["--energy-compare=run.json", "sub/test_one.py"], "run.json"),
    (["--energy-compare", "--", "sub/test_one.py"], ""),
]


@pytest.mark.parametrize(("arguments", "run"), COMPARE_THEN_A_PATH)
def test_energy_compare_never_takes_the_argument_after_it(pytester, arguments, run):
    pytester.mkdir("sub").joinpath("test_one.py").write_text("def test_it(): pass")
    # pytest looks for the initial conftest files before it parses all options.
    pytester.path.joinpath("sub", "conftest.py").write_text(
        "def pytest_addoption(parser): parser.addoption('--mine')"
    )
    config = pytester.parseconfig("--energy", *arguments, "--mine=x")
    assert config.getoption("--energy-compare") == run
    assert config.args == ["sub/test_one.py"]


@pytest.mark.parametrize("place", ["addopts", "environment"])
def test_a_bare_energy_compare_of_addopts_takes_no_path(pytester, monkeypatch, place):
    pytester.makepyfile(test_one="def test_it(): pass")
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    if place == "addopts":
        pytester.makeini("[pytest]\naddopts = --energy-compare\n")
    else:
        monkeypatch.setenv("PYTEST_ADDOPTS", "--energy-compare")
    config = pytester.parseconfig("test_one.py")
    assert config.getoption("--energy-compare") == ""
    assert config.args == ["test_one.py"]


def test_workers_get_the_path_after_a_bare_energy_compare(pytester):
    pytester.makepyfile(test_one="def test_it(): pass")
    config = pytester.parseconfig("--energy-compare", "test_one.py")
    assert worker_command_line(config).paths == ("test_one.py",)
