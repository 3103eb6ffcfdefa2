"""A sweep that is killed leaves no process and no temporary file."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from multiprocessing import get_context
from pathlib import Path

import pytest

from tsbench.sweep import pool_worker

LIMIT_S = 60  # a busy machine starts two processes


def wait_until(holds):
    until_s = time.monotonic() + LIMIT_S
    while not holds():
        assert time.monotonic() < until_s
        time.sleep(0.01)


def is_running(process):
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="looks for processes in /proc")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_killed_sweep_leaves_no_process_and_no_temporary_file(tmp_path, how):
    started, temporary = tmp_path / "started", tmp_path / "tmp"
    temporary.mkdir()
    sweep = subprocess.Popen(
        [sys.executable, "-m", "tests.tsbench.sweep.long_task", str(started)],
        env={**os.environ, "TMPDIR": str(temporary)},
        stderr=subprocess.DEVNULL,
    )
    wait_until(started.exists)
    process, folder = started.read_text().split()
    assert Path(folder).is_dir() and Path(folder).is_relative_to(temporary)
    sweep.send_signal(how)
    sweep.wait(LIMIT_S)
    wait_until(lambda: not is_running(process))
    wait_until(lambda: not list(temporary.iterdir()))


def test_a_worker_that_ends_before_its_parent_deletes_its_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    context = get_context("spawn")
    alive, ours = context.Pipe(duplex=False)
    worker = context.Process(target=pool_worker.start, args=(os.getpid(), alive))
    worker.start()
    worker.join(LIMIT_S)
    assert worker.exitcode == 0
    assert not list(tmp_path.iterdir())
    ours.close()


def test_temporary_folders_of_killed_workers_are_deleted(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    own, other = (tmp_path / f"{pool_worker.PREFIX}{parent}-a" for parent in (12, 123))
    for folder in (own, other):
        (folder / "inner").mkdir(parents=True)
    pool_worker.delete_temporary(12)
    assert list(tmp_path.iterdir()) == [other]
