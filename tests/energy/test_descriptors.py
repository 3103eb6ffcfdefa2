"""Code under test may close our descriptors, and get one of the numbers for a file of its own."""

from __future__ import annotations

import os

import pytest

from pytest_energy.descriptors import OwnDescriptor
from pytest_energy.errors import MeterFailed
from pytest_energy.meters.hwmon import HwmonMeter
from pytest_energy.meters.process_cpu import ProcessTreeClock


@pytest.fixture
def pipe():
    read, write = os.pipe()
    yield read, write
    for number in (read, write):
        try:
            os.close(number)
        except OSError:
            pass


def give_number_to(path, number):
    """Another file under this number, as after ``os.closerange`` and ``open``."""
    opened = os.open(path, os.O_RDWR | os.O_CREAT)
    os.dup2(opened, number)
    os.close(opened)


def test_a_closed_number_is_not_ours(pipe):
    descriptor = OwnDescriptor(pipe[1])
    assert descriptor.is_ours()
    os.close(pipe[1])
    assert not descriptor.is_ours()
    descriptor.close()
    with pytest.raises(OSError, match="code under test has closed it"):
        descriptor.check()


def test_the_next_file_with_the_number_is_not_closed(pipe, tmp_path):
    descriptor = OwnDescriptor(pipe[1])
    give_number_to(tmp_path / "users", pipe[1])
    descriptor.close()
    assert os.write(pipe[1], b"still open") == 10


def test_a_copy_of_the_same_file_is_ours(pipe):
    descriptor = OwnDescriptor(pipe[0])
    copy = os.dup(pipe[0])
    os.dup2(copy, pipe[0])
    os.close(copy)
    assert descriptor.is_ours()


def test_a_patched_fstat_does_not_matter(pipe, monkeypatch):
    descriptor = OwnDescriptor(pipe[0])
    with monkeypatch.context() as patch:
        patch.setattr(os, "fstat", None)
        ours = descriptor.is_ours()
    assert ours


@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="needs Linux")
def test_the_clock_of_the_estimate_opens_its_folder_again(tmp_path):
    clock = ProcessTreeClock()
    assert clock._tasks is not None
    number = clock._tasks.number
    give_number_to(tmp_path / "users", number)
    assert clock.read()[1] >= 0
    clock.close()
    assert os.write(number, b"still open") == 10
    os.close(number)


def test_a_meter_neither_reads_nor_closes_the_users_file(tmp_path):
    chip = tmp_path / "hwmon0"
    chip.mkdir()
    (chip / "name").write_text("amd_energy\n")
    (chip / "energy1_label").write_text("Esocket0\n")
    (chip / "energy1_input").write_text("5000000\n")
    meter = HwmonMeter(str(tmp_path), "amd_energy")
    number = meter._open[0].files[0].number
    (tmp_path / "users").write_text("7000000\n")
    give_number_to(tmp_path / "users", number)
    with pytest.raises(MeterFailed, match="code under test has closed it"):
        meter.read()
    meter.close()
    assert os.read(number, 20) == b"7000000\n"
    os.close(number)
