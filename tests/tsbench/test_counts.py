"""The committed counts of the shipped models: work that a change adds or saves is seen here."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
COUNTS = ROOT / "benchmarks" / "counts.json"


@pytest.mark.slow
@pytest.mark.skipif(
    shutil.which("valgrind") is None, reason="valgrind is not installed: apt-get install valgrind"
)
def test_the_shipped_models_do_the_work_that_was_committed(tmp_path):
    if not os.environ.get("TSBENCH_DATA"):
        pytest.skip("set TSBENCH_DATA to a UCR folder that holds PLAID")
    if not COUNTS.exists():
        pytest.skip(f"no counts are committed in {COUNTS.name}: save them with make bench-count")
    suite = (
        *(sys.executable, "-m", "pytest", "benchmarks", "-p", "no:cacheprovider"),
        *("-k", "PLAID and batch1", f"--basetemp={tmp_path}"),
    )
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    # Builds what is missing: under valgrind a compiled model takes minutes.
    subprocess.run(suite, check=True, cwd=ROOT, capture_output=True, env=environment)
    done = subprocess.run(
        [
            *suite,
            *("--energy-count", "--energy-allow-ungated", f"--energy-compare={COUNTS}"),
            "--energy-count-timeout=1800",
        ],
        check=False,
        cwd=ROOT,
        capture_output=True,
        text=True,
        env=environment,
    )
    for reason in ("other software", "is not comparable"):
        if f"NOT GATED against {COUNTS}" in done.stdout and reason in done.stdout:
            pytest.skip(f"the committed counts are of {reason}: make bench-count shows it")
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert "compared by counted work" in done.stdout
