"""Which Python functions did the work: the bytecodes that each executed itself.

Callgrind sees the interpreter's C functions, not Python's. Bytecodes are counted in a call of their
own, by tracing, outside of any count of instructions; they are exact and do not depend on the
machine. A bytecode is not a fixed number of instructions, so the two are never added up.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Callable
from types import CodeType, FrameType
from typing import Any

from pytest_energy.counting.memory_state import without_collector

# Tracing is slow: a call that executes more bytecodes than this is counted in part, and not used.
MOST_BYTECODES = 20_000_000


class _TooMany(BaseException):
    """Ends a trace that takes too long; no Exception, so that no code under test catches it."""


def bytecodes_by_function(call: Callable[[], object]) -> dict[str, int]:
    """Call once; give each function's own bytecodes, as ``file.py::name``.

    Empty after `MOST_BYTECODES`, and where a debugger or coverage traces already. Raises what
    ``call`` raises.
    """
    if sys.gettrace() is not None:
        return {}
    found: dict[int, tuple[CodeType, list[int]]] = {}  # by id: a code object's hash is slow
    steps: dict[int, Callable[..., Any]] = {}
    left = MOST_BYTECODES

    def begin(frame: FrameType, event: str, argument: object) -> Any:
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        code = frame.f_code
        step = steps.get(id(code))
        if step is None:
            tally = [0]
            found[id(code)] = code, tally
            step = steps[id(code)] = stepper(tally)
        return step

    def stepper(tally: list[int]) -> Callable[..., Any]:
        def step(frame: FrameType, event: str, argument: object) -> Any:
            nonlocal left
            if event == "opcode":
                tally[0] += 1
                left -= 1
                if left <= 0:
                    raise _TooMany
            return step

        return step

    with without_collector():  # its callbacks would be counted
        sys.settrace(begin)
        try:
            call()
        except _TooMany:
            return {}
        finally:
            sys.settrace(None)
    counts: Counter[str] = Counter()
    for code, (bytecodes,) in found.values():
        name = getattr(code, "co_qualname", code.co_name)  # Python 3.10 has no qualified one
        counts[f"{os.path.basename(code.co_filename)}::{name}"] += bytecodes
    return {name: bytecodes for name, bytecodes in counts.items() if bytecodes}
