"""print() of a measurement, its figures and a comparison, and their tables in a notebook."""

import pytest

from pytest_energy import figures
from pytest_energy.report.shown import text
from tests.energy.rigs.made_up import ESTIMATE, SENSOR, block, compared, measurement, window

WINDOWS = tuple(window(0.1 + n / 1000, 1.0 + n / 100, 100) for n in range(9))
BLOCKS = tuple(block(window(0.2, 2.0), window(0.1 + n / 1000, 1.5)) for n in range(12))


def test_a_measurement_is_a_line_a_figure():
    assert str(measurement(*WINDOWS)) == (
        "test_it.py::test_it: 9 windows\n"
        "  time    1.04 ms [1.01, 1.07]\n"
        "  energy  10.4 mJ [10.1, 10.7]\n"
        "  power   10.0 W [10.0, 10.0]\n"
        "  joules measured by made-up"
    )


def test_a_single_window_has_no_interval():
    shown = str(measurement(window(0.5, 2.0)))
    assert "1 window\n" in shown
    assert "time    500 ms\n" in shown


def test_figures_and_comparison_name_the_meter():
    assert str(figures(measurement(*WINDOWS))).endswith("joules measured by made-up")
    shown = str(compared(BLOCKS))
    assert shown.startswith("against fp32: 12 blocks\n  time      -47 % [")
    assert "category  3:" in shown
    assert shown.endswith("joules measured by made-up")


def test_an_estimate_is_labelled_and_repeats_no_time():
    for value in (measurement(*WINDOWS, meter=ESTIMATE), compared(BLOCKS, ESTIMATE)):
        assert "ESTIMATED by guess" in str(value)
        assert "power" not in str(value)
        assert "greenup" not in str(value)


@pytest.mark.parametrize("meter", [SENSOR, ESTIMATE])
def test_the_table_of_a_notebook_holds_the_same_and_no_markup_of_names(meter):
    made = measurement(*WINDOWS, meter=meter)
    html = made._repr_html_()
    assert html.startswith("<table><caption>test_it.py::test_it: 9 windows")
    assert "1.04 ms [1.01, 1.07]" in html
    evil = type(made)("<script>", meter, WINDOWS)
    assert "<script>" not in evil._repr_html_()


def test_other_values_are_refused():
    with pytest.raises(TypeError, match="str is neither"):
        text("a")
