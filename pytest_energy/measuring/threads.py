"""The threads of the code under test: how long they wait for a CPU, and pools of a set size."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from pytest_energy.clock import process_cpu_ns, thread_cpu_ns

# Libraries read these when they load, in this process and in those that it starts.
VARIABLES = (
    *("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS"),
    *("VECLIB_MAXIMUM_THREADS", "NUMEXPR_NUM_THREADS"),
)
# Beside its own thread, code of several threads has at least this share of the CPU time: in the
# example of docs/your-model.md others have 46 to 50 % where torch uses its pool, else 0 to 5 %.
POOL_SHARE = 0.1


class _Times(NamedTuple):
    """CPU seconds of the process and of this thread, and what all threads waited for a CPU."""

    process_s: float
    thread_s: float
    waited_s: float


class ThreadWaits:
    """What the threads of this process wait for a CPU, from here on."""

    def __init__(self) -> None:
        self._began = _times()

    def share(self) -> float:
        """The share of the threads' time that they were ready to run and had no CPU.

        0 also where the kernel does not report it.
        """
        used = self._used()
        waited_s = max(0.0, used.waited_s)
        return waited_s / (waited_s + used.process_s) if waited_s > 0 else 0.0

    def share_of_several(self) -> float:
        """`share`, or 0 where the work is that of this thread alone.

        A neighbour slows one thread on both sides of a block equally. A pool is as slow as its last
        thread, and while that waits, the others spin.
        """
        used = self._used()
        several = used.process_s - used.thread_s >= POOL_SHARE * used.process_s
        return self.share() if several else 0.0

    def _used(self) -> _Times:
        return _Times(*(now - then for now, then in zip(_times(), self._began, strict=True)))


def _times() -> _Times:
    return _Times(process_cpu_ns() * 1e-9, thread_cpu_ns() * 1e-9, _waited_s())


def _waited_s() -> float:
    """Documentation/scheduler/sched-stats.rst: the second number is ns waited for a CPU."""
    waited_ns = 0
    with suppress(OSError):  # no Linux
        for thread in Path("/proc/self/task").iterdir():
            with suppress(OSError, IndexError, ValueError):  # a thread that ended, or no schedstat
                waited_ns += int((thread / "schedstat").read_text().split()[1])
    return waited_ns * 1e-9


@contextmanager
def pool_variables(threads: int) -> Iterator[None]:
    """Thread pools of libraries that are loaded from here on have so many threads."""
    before = {name: os.environ.get(name) for name in VARIABLES}
    os.environ.update(dict.fromkeys(VARIABLES, str(threads)))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def limit_loaded_pools(threads: int) -> None:
    """Give loaded pools so many threads: torch's by its own call, others by threadpoolctl's."""
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(threads)
    try:
        from threadpoolctl import threadpool_limits
    except ImportError:
        return  # the variables hold for what loads later
    threadpool_limits(limits=threads)
