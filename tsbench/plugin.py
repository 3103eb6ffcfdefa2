"""The pytest plugin: the marker `compress` and the fixture `compressed`.

It imports no torch unless a test has the marker.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tsbench.compression.suite import CompressedModel, Suite

MARKER = (
    "compress(model, example, calibration=(), techniques=None, retrain=None, speedup=None, "
    "greenup=None, agreement=0.9): run the test once for each technique of `tsbench variants` that "
    "makes the model cheaper, with the fixture `compressed`. speedup and greenup are lower bounds; "
    "without them ratios are shown and not gated. agreement is the floor of the share of cases "
    "that both predict alike."
)
PARAMETER = "tsbench_technique"


def pytest_configure(config: pytest.Config) -> None:
    """Registers the marker."""
    config.addinivalue_line("markers", MARKER)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test for each technique, with the ratios that the marker asks."""
    marker = metafunc.definition.get_closest_marker("compress")
    if marker is None:
        return
    from tsbench.compression.suite import Suite
    from tsbench.errors import TsbenchError

    try:
        suite = Suite(*marker.args, **marker.kwargs)
        names = suite.names()
    except (TypeError, TsbenchError) as error:
        raise pytest.Collector.CollectError(
            f"{metafunc.definition.nodeid}: the compress marker: {error}"
        ) from None
    asked = {
        name: value
        for name, value in (("speedup", suite.speedup), ("greenup", suite.greenup))
        if value is not None
    }
    metafunc.fixturenames.append(PARAMETER)
    marks = [pytest.mark.gps_up(**asked), pytest.mark.benchmark(group=metafunc.function.__name__)]
    metafunc.parametrize(
        PARAMETER,
        [pytest.param((suite, name), id=name, marks=marks) for name in names],
        indirect=False,
    )


@pytest.fixture
def compressed(request: pytest.FixtureRequest) -> CompressedModel:
    """The model of the test's `compress` marker, compressed by one technique.

    A technique that is unavailable for the model skips its test, with the reason.
    """
    from tsbench.compression import Unavailable
    from tsbench.compression.suite import CompressedModel
    from tsbench.errors import TsbenchError

    callspec = getattr(request.node, "callspec", None)
    if callspec is None or PARAMETER not in callspec.params:
        pytest.fail(
            "the fixture `compressed` requires the marker compress: "
            "@pytest.mark.compress(model, example)",
            pytrace=False,
        )
    suite: Suite
    suite, name = callspec.params[PARAMETER]
    try:
        result = suite.built(name)
    except TsbenchError as error:
        pytest.fail(str(error), pytrace=False)
    if isinstance(result, Unavailable):
        pytest.skip(result.reason)
    source = suite.source
    return CompressedModel(
        result, source.reference, source.inputs, request.getfixturevalue("energy"), suite.agreement
    )
