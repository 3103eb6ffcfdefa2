"""Made-up windows, blocks and results, for tests of the statistics and the reports."""

from __future__ import annotations

import math

from hypothesis import strategies as st

from pytest_energy.model import (
    ORDERS,
    Block,
    Comparison,
    CpuSeconds,
    Domain,
    Interval,
    Measurement,
    MeterInfo,
    Quality,
    Result,
    Verdict,
    VerdictName,
    Window,
)
from pytest_energy.stats.gps_up import gps_up

# core-0 is inside package-0 and must not count twice; dram-0 is beside it.
DOMAINS = (Domain("package-0"), Domain("core-0", "package-0"), Domain("dram-0"))
SENSOR = MeterInfo("made-up", "measured", DOMAINS, 0.001, 1e-6)
ESTIMATE = MeterInfo("guess", "estimated", DOMAINS, 0.01, 1e-3, (0.5, 2.0), ("worked out",))


def window(seconds: float, joules: float, calls: int = 1) -> Window:
    """A window with ``joules`` in total: 3/4 in the package, 1/4 in the DRAM."""
    return Window(
        seconds,
        {"package-0": joules * 0.75, "core-0": joules * 0.5, "dram-0": joules * 0.25},
        calls,
    )


def block(baseline: Window, candidate: Window, order: str = "ABBA") -> Block:
    return Block(order, tuple({"A": baseline, "B": candidate}[letter] for letter in order))


def measurement(
    *windows: Window, meter: MeterInfo = SENSOR, idle: tuple[Window, ...] = ()
) -> Measurement:
    return Measurement("test_it.py::test_it", meter, windows, idle)


def result(made: Measurement, comparison: Comparison | None = None, *qualities: Quality) -> Result:
    return Result(made.name, made, comparison, qualities)


def compared(
    blocks: tuple[Block, ...], meter: MeterInfo = SENSOR, alpha: float = 0.01
) -> Comparison:
    ratios = gps_up(blocks, meter, alpha)
    return Comparison(
        "fp32",
        ratios.speedup,
        ratios.greenup,
        ratios.powerup,
        ratios.category,
        blocks,
        1 - alpha,
        meter,
    )


def exactly(value: float) -> Interval:
    return Interval(value, value, value)


UNKNOWN = Interval(1.0, 0.0, math.inf)

# From a nanosecond to an hour, and from a nanojoule to a megajoule.
seconds = st.floats(1e-9, 3600.0)
joules = st.one_of(st.just(0.0), st.floats(1e-9, 1e6))
# In milliseconds, as saved; a window's own ticks may be a few more than the machine's.
cpu_seconds = st.builds(
    lambda own, others: CpuSeconds(own / 1000, others / 1000),
    st.integers(0, 10**7),
    st.integers(-30, 10**7),
)
texts = st.text(max_size=20)
finite = st.floats(allow_nan=False, allow_infinity=False)


def windows_of(
    meter: MeterInfo,
    calls: st.SearchStrategy[int],
    cpu: st.SearchStrategy[CpuSeconds | None] = st.none(),  # noqa: B008 - strategies are constants
) -> st.SearchStrategy[Window]:
    counted = st.fixed_dictionaries({domain.name: joules for domain in meter.domains})
    return st.builds(Window, seconds, counted, calls, cpu)


@st.composite
def meters(draw: st.DrawFn) -> MeterInfo:
    names = draw(st.lists(texts, min_size=1, max_size=3, unique=True))
    domains = tuple(
        Domain(name, draw(st.sampled_from([None, names[0]])) if name != names[0] else None)
        for name in names
    )
    band = draw(st.floats(0.1, 1.0)), draw(st.floats(1.0, 10.0))
    provenance, notes = (
        draw(st.sampled_from(["measured", "estimated"])),
        tuple(draw(st.lists(texts, max_size=2))),
    )
    return MeterInfo(
        draw(texts),
        provenance,
        domains,
        draw(seconds),
        draw(joules),
        band,
        notes,
        draw(st.booleans()),
    )


@st.composite
def results(draw: st.DrawFn) -> Result:
    meter = draw(meters())
    some = windows_of(meter, st.integers(1, 10**9), st.one_of(st.none(), cpu_seconds))
    windows = tuple(draw(st.lists(some, min_size=1, max_size=8)))
    idle = tuple(draw(st.lists(windows_of(meter, st.just(0)), max_size=7)))
    comparison = None
    if draw(st.booleans()):
        four = st.tuples(some, some, some, some)
        blocks = tuple(
            draw(st.lists(st.builds(Block, st.sampled_from(ORDERS), four), min_size=1, max_size=12))
        )
        comparison = compared(blocks, meter, draw(st.sampled_from([0.05, 0.01, 0.001])))
    verdict = st.builds(Verdict, texts, st.sampled_from(VerdictName.__args__), texts)
    qualities = st.lists(
        st.builds(Quality, texts, finite, st.one_of(st.none(), finite)),
        max_size=3,
        unique_by=lambda quality: quality.name,
    )
    name, warnings = draw(texts), tuple(draw(st.lists(texts, max_size=2)))
    return Result(
        name,
        Measurement(name, meter, windows, idle, warnings),
        comparison,
        tuple(draw(qualities)),
        tuple(draw(st.lists(verdict, max_size=3))),
        draw(st.one_of(st.none(), texts)),
    )
