"""What an import and a start of pytest cost with the plugin installed but off. Run by hand::

    python -m studies.startup

Times whole processes from outside, each kind in turn, so that a busy minute affects all of them.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

IMPORT_LIMIT_S = 0.050  # of importing the library
START_LIMIT_S = 0.010  # of a pytest run without --energy
ROUNDS = 60

# The plugins of hypothesis and xdist only add noise to both sides.
PYTEST = (
    sys.executable,
    "-m",
    "pytest",
    "-q",
    "-p",
    "no:cacheprovider",
    "-p",
    "no:hypothesispytest",
    "-p",
    "no:xdist",
)
KINDS = {
    "python, nothing imported": (sys.executable, "-c", "pass"),
    "python, import pytest_energy": (sys.executable, "-c", "import pytest_energy"),
    "python, all of pytest_energy": (sys.executable, "-c", "from pytest_energy import *"),
    "pytest, no pytest-benchmark": (*PYTEST, "-p", "no:energy", "-p", "no:benchmark"),
    "pytest": (*PYTEST, "-p", "no:energy"),
    "pytest, plugin installed but off": PYTEST,
}


def seconds_of(command: tuple[str, ...], folder: str) -> float:
    # An installed package has its bytecode beside it. Where bytecode may not be written, a checkout
    # would be compiled anew in each process.
    environment = {
        name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"
    }
    environment["PYTHONPYCACHEPREFIX"] = str(Path(folder, "bytecode"))
    started_s = time.perf_counter()
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL, env=environment)
    return time.perf_counter() - started_s


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "test_nothing.py").write_text("def test_nothing():\n    pass\n")
        Path(folder, "pytest.ini").write_text("[pytest]\n")
        for command in KINDS.values():
            seconds_of(command, folder)  # so that all find their bytecode and the page cache warm
        seconds = {kind: [] for kind in KINDS}
        for _ in range(rounds):
            for kind, command in KINDS.items():
                seconds[kind].append(seconds_of(command, folder))
    print(f"{rounds} rounds of whole processes, in turns; ms")
    for kind, spans in seconds.items():
        fastest, middle, slowest = (
            min(spans) * 1e3,
            statistics.median(spans) * 1e3,
            max(spans) * 1e3,
        )
        print(f"  {kind:<36} median {middle:7.1f}   from {fastest:7.1f} to {slowest:7.1f}")

    def more_s(kind: str, than: str) -> float:
        """The median of how much longer one kind took than the other in the same round."""
        return statistics.median(a - b for a, b in zip(seconds[kind], seconds[than], strict=True))

    told = (
        (
            "import pytest_energy",
            more_s("python, import pytest_energy", "python, nothing imported"),
            IMPORT_LIMIT_S,
        ),
        (
            "from pytest_energy import *",
            more_s("python, all of pytest_energy", "python, nothing imported"),
            IMPORT_LIMIT_S,
        ),
        (
            "the plugin, installed but off",
            more_s("pytest, plugin installed but off", "pytest"),
            START_LIMIT_S,
        ),
    )
    for what, took_s, limit_s in told:
        print(
            f"{what}: {took_s * 1e3:.1f} ms more, {limit_s * 1e3:.0f} ms allowed: "
            f"{'kept' if took_s <= limit_s else 'NOT KEPT'}"
        )
    benchmark_s = more_s("pytest", "pytest, no pytest-benchmark")
    print(f"for comparison, pytest-benchmark, installed and idle: {benchmark_s * 1e3:.1f} ms more")


if __name__ == "__main__":
    main()
