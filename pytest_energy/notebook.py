"""``%load_ext pytest_energy``: the magics ``%energy`` and ``%%energy`` of IPython and Jupyter."""

from __future__ import annotations

from typing import Any

from pytest_energy.measuring.once import once
from pytest_energy.measuring.single import measure
from pytest_energy.model import Measurement

LINE = "the line"
CELL = "the cell"


def load(ipython: Any) -> None:
    """Register the magics with a running IPython."""

    def energy(line: str, cell: str | None = None) -> Measurement | None:
        """Measure a line many times, as %timeit does, or a cell once.

        %energy model(x)     many windows, with an interval
        %%energy [NAME]      one window: the cell runs once, and its variables stay
        """
        if cell is not None:
            return _measure_cell(ipython, cell, line.strip())
        if not line.strip():
            print("%energy takes a statement, such as: %energy model(x)")
            return None
        return _measure_line(ipython, line)

    ipython.register_magic_function(energy, "line_cell", "energy")


def _measure_line(ipython: Any, line: str) -> Measurement:
    code = compile(ipython.transform_cell(line), LINE, "exec")
    scope = ipython.user_ns
    # The user typed this code.
    return measure(lambda: exec(code, scope), name=line.strip())  # noqa: S102


def _measure_cell(ipython: Any, cell: str, name: str) -> Measurement:
    # Compiled before the window, which then holds the cell alone.
    code = compile(ipython.transform_cell(cell), CELL, "exec")
    with once(name or CELL) as measured:
        exec(code, ipython.user_ns)  # noqa: S102
    return measured.measurement
