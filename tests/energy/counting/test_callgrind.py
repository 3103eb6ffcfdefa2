"""Dumps of Callgrind, and counts of a process under it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import pytest

from pytest_energy.counting.callgrind import command_line, read_dump, version
from pytest_energy.counting.client_requests import ClientRequests
from pytest_energy.counting.counter import CallgrindCounter
from pytest_energy.counting.process import FIXED_ENVIRONMENT
from pytest_energy.errors import CountingUnavailable
from pytest_energy.plan import PROCESS_SPREAD

DUMP = """\
# callgrind format
version: 1
creator: callgrind-3.19.0
positions: line
events: Ir Dr Dw I1mr D1mr D1mw ILmr DLmr DLmw
summary: 1000 300 200 4 3 2 1 1 1

fl=(1) a.c
fn=(7) outer
10 100 20 10
+2 50
cfn=(8) inner
calls=3 40
* 700 200 150
-1 5

fn=(9) apply'2
1 25
fn=(8)
40 600 200 150
41 100

fn=(10) apply
3 20 1

totals: 1100 310 200
"""


def test_events_are_summed_under_our_names(tmp_path):
    (tmp_path / "dump").write_text(DUMP)
    assert read_dump(tmp_path / "dump").events == {
        "instructions": 1000,
        "data_reads": 300,
        "data_writes": 200,
        "first_level_misses": 9,
        "last_level_misses": 3,
    }


def test_a_function_owns_what_it_executes_itself(tmp_path):
    """Not what it calls; a recursion counts with its function."""
    (tmp_path / "dump").write_text(DUMP)
    assert read_dump(tmp_path / "dump").functions == {"outer": 155, "inner": 700, "apply": 45}


@pytest.mark.parametrize("text", ["", "no dump", "events: Ir\nsummary: many\n", "summary: 1\n"])
def test_another_file_is_refused(tmp_path, text):
    (tmp_path / "dump").write_text(text)
    with pytest.raises(CountingUnavailable, match="not a dump of Callgrind"):
        read_dump(tmp_path / "dump")


def test_a_missing_dump_is_refused(tmp_path):
    with pytest.raises(CountingUnavailable, match="not a dump of Callgrind"):
        read_dump(tmp_path / "none")


def test_requests_do_nothing_on_a_real_cpu():
    if os.environ.get("LD_PRELOAD", "").find("valgrind") >= 0:
        pytest.skip("these tests run under valgrind themselves")
    assert not ClientRequests().on_valgrind


def test_an_unknown_architecture_is_refused():
    with pytest.raises(CountingUnavailable, match="counting does not work on sparc64"):
        ClientRequests("sparc64")


def test_without_valgrind_the_remedy_is_named(monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(CountingUnavailable, match="apt-get install valgrind"):
        version()


def test_a_counter_needs_a_process_under_callgrind(tmp_path):
    with pytest.raises(CountingUnavailable, match="does not run under Callgrind"):
        CallgrindCounter(tmp_path)


PROGRAM = """
import json, pathlib, sys
from pytest_energy.counting.pymalloc import AlignedArenas
arenas = AlignedArenas()  # as a counting worker starts
from pytest_energy.counting.count import WorkCounter
from pytest_energy.counting.counter import CallgrindCounter
junk = [bytes(n) for n in range(int(sys.argv[2])) for _ in range(20)]  # another heap
del junk[::2]
counter = WorkCounter(CallgrindCounter(pathlib.Path(sys.argv[1])))
def mix(turns):
    total = 0
    for x in range(turns):  # allocates an integer in each turn, and frees it
        total = (total * 3 + x) % 79
    return total
found = []
for turns in (3000, 3000, 3060):
    work = counter.count(lambda: mix(turns))
    found.append([work.tool, dict(work.events), work.spread, dict(work.functions)])
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def counted(tmp_path_factory):
    """The same program under Callgrind in two processes: one beside a busy neighbour, and with
    another heap."""
    if shutil.which("valgrind") is None:
        pytest.skip("valgrind is not installed: apt-get install valgrind")
    outputs = []
    for busy in (False, True):
        folder = tmp_path_factory.mktemp("dumps")
        neighbour = subprocess.Popen([sys.executable, "-c", "while True: pass"]) if busy else None
        try:
            done = subprocess.run(
                [
                    *command_line(folder),
                    sys.executable,
                    "-c",
                    PROGRAM,
                    str(folder),
                    str(700 * busy),
                ],
                capture_output=True,
                text=True,
                check=True,
                env=os.environ | FIXED_ENVIRONMENT,
            )
        finally:
            if neighbour is not None:
                neighbour.kill()
                neighbour.wait()
        assert len(list(folder.iterdir())) <= 1  # the one that Callgrind writes at the end
        outputs.append(json.loads(done.stdout))
    return outputs


@pytest.mark.slow
def test_equal_code_counts_the_same_in_every_process(counted):
    """A loop that allocates differed by 2.8 % before the memory was put into a known state."""
    (first, again, _), (elsewhere, *_) = counted
    assert first[0].startswith("callgrind 3.")
    instructions = [work[1]["instructions"] for work in (first, again, elsewhere)]
    assert instructions == pytest.approx([instructions[0]] * 3, rel=2 * PROCESS_SPREAD)
    assert first[2] <= PROCESS_SPREAD


@pytest.mark.slow
def test_two_per_cent_more_work_counts_two_per_cent_more(counted):
    (first, _, more), _ = counted
    assert more[1]["instructions"] / first[1]["instructions"] == pytest.approx(
        1.02, abs=2 * PROCESS_SPREAD
    )


@pytest.mark.slow
def test_the_functions_of_the_interpreter_are_told_apart(counted):
    (first, *_), _ = counted
    assert sum(first[3].values()) == pytest.approx(first[1]["instructions"], rel=0.01)
    assert len(first[3]) > 5
