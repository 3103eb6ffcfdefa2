"""Compiles and controls a fake libnvidia-ml.so.1 with known joules, for the real nvidia-ml-py.

::

    library = build_library(folder)                   # once; raises NoCompiler without a compiler
    with FakeNvml(library, folder, gpus=2) as nvml:   # pynvml loads it until the end of the block
        nvml.gpus[0].set_watts(250.0)
        truth = nvml.gpus[0].joules_between(start_s, end_s)

Another process loads it with ``env=nvml.environment()``. All instants are time.perf_counter's.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import shutil
import subprocess
import time
from pathlib import Path
from unittest import mock

MAX_GPUS = 8
MAX_STEPS = 16384  # over a minute with two steps every 10 ms

# NVML's error codes, as in nvml.h
NOT_SUPPORTED = 3
NO_PERMISSION = 4
DRIVER_NOT_LOADED = 9
GPU_IS_LOST = 15
LIB_RM_VERSION_MISMATCH = 18


class NoCompiler(Exception):
    """There is no C compiler to build the fake library."""


class _Step(ctypes.Structure):
    _fields_ = [
        ("at_s", ctypes.c_double),
        ("watts", ctypes.c_double),
        ("joules_before", ctypes.c_double),
    ]


class FakeGpu(ctypes.Structure):
    """One GPU. A test may set its fields, errors included, at any time."""

    _fields_ = [
        ("name", ctypes.c_char * 64),
        ("uuid", ctypes.c_char * 64),
        ("mig_uuid", ctypes.c_char * 64),
        ("handle_error", ctypes.c_int32),
        ("energy_error", ctypes.c_int32),
        ("power_error", ctypes.c_int32),
        ("mig_mode", ctypes.c_int32),
        ("clock_error", ctypes.c_int32),
        ("reasons_error", ctypes.c_int32),
        ("violation_error", ctypes.c_int32),
        ("mhz", ctypes.c_int32),
        ("reasons", ctypes.c_int64),
        ("power_ns", ctypes.c_int64),
        ("thermal_ns", ctypes.c_int64),
        ("update_interval_s", ctypes.c_double),
        ("jitter_s", ctypes.c_double),
        ("origin_s", ctypes.c_double),
        ("joules_at_origin", ctypes.c_double),
        ("step_count", ctypes.c_int64),
        ("steps", _Step * MAX_STEPS),
    ]

    def set_watts(self, watts: float, at_s: float | None = None) -> None:
        """Draw ``watts`` from ``at_s`` on: now, in the future, but never before the last step."""
        at_s = time.perf_counter() if at_s is None else at_s
        joules = self._joules_at(at_s) if self.step_count else 0.0
        # Write the step before the count, so that a reader never sees half a step.
        self.steps[self.step_count] = _Step(at_s, watts, joules)
        self.step_count += 1

    def joules_between(self, start_s: float, end_s: float) -> float:
        """The true joules between two instants, whatever the counter shows."""
        return self._joules_at(end_s) - self._joules_at(start_s)

    def _joules_at(self, at_s: float) -> float:
        i = self.step_count - 1
        while i > 0 and self.steps[i].at_s > at_s:
            i -= 1
        step = self.steps[i]
        return step.joules_before + step.watts * max(0.0, at_s - step.at_s)


class _State(ctypes.Structure):
    _fields_ = [
        ("init_error", ctypes.c_int32),
        ("any_error", ctypes.c_int32),
        ("gpu_count", ctypes.c_int32),
        ("starts", ctypes.c_int32),
        ("gpus", FakeGpu * MAX_GPUS),
    ]


def build_library(folder: Path) -> Path:
    """Compile the library into ``folder``, with the name that nvidia-ml-py searches for."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise NoCompiler("building the fake libnvidia-ml.so.1 requires cc, gcc or clang on PATH")
    library = folder / "libnvidia-ml.so.1"
    source = Path(__file__).with_suffix(".c")
    # No soname: with one, the library would replace the real libnvidia-ml.so.1 in this process.
    subprocess.run(
        [compiler, "-O1", "-Wall", "-Werror", "-shared", "-fPIC", "-o", library, source, "-lm"],
        check=True,
    )
    built = ctypes.CDLL(str(library)).fake_nvml_state_size
    built.restype = ctypes.c_size_t
    if built() != ctypes.sizeof(_State):
        raise RuntimeError(
            f"the state has {built()} bytes in fake_nvml.c and {ctypes.sizeof(_State)} in "
            "fake_nvml.py; make the two layouts equal"
        )
    return library


class FakeNvml:
    """A driver with ``gpus`` GPUs. Each draws ``watts`` and updates at ``update_interval_s``.

    In a ``with`` block, it replaces the driver in this process.
    """

    def __init__(
        self,
        library: Path,
        folder: Path,
        gpus: int = 1,
        watts: float = 100.0,
        update_interval_s: float = 0.02,
        jitter_s: float = 0.0,
    ):
        self.library = library
        self.state_file = folder / "fake_nvml.state"
        with self.state_file.open("w+b") as file:
            file.truncate(ctypes.sizeof(_State))
            self._map = mmap.mmap(file.fileno(), 0)
        self.state = _State.from_buffer(self._map)
        self.state.gpu_count = gpus
        self.gpus = [self.state.gpus[i] for i in range(gpus)]
        # Ten seconds ago, so that the counter already has joules and ticks.
        origin_s = time.perf_counter() - 10.0
        for i, gpu in enumerate(self.gpus):
            gpu.name = f"Fake GPU {i}".encode()
            gpu.uuid = f"GPU-{i}{i}{i}{i}abcd-0000-4000-8000-00000000000{i}".encode()
            gpu.mig_uuid = f"MIG-{i}1e5c0de-0000-5000-8000-00000000000{i}".encode()
            gpu.mig_mode = -1
            gpu.mhz = 1410
            gpu.update_interval_s = update_interval_s
            gpu.jitter_s = jitter_s
            gpu.origin_s = origin_s
            gpu.joules_at_origin = 1000.0
            gpu.set_watts(watts, origin_s)
        self._patches: list = []

    def environment(self) -> dict[str, str]:
        """The environment for a process that loads this driver instead of the machine's."""
        return {
            **os.environ,
            "LD_LIBRARY_PATH": str(self.library.parent),
            "FAKE_NVML_STATE": str(self.state_file),
        }

    def __enter__(self) -> FakeNvml:
        import pynvml

        self._patches = [
            mock.patch.dict(os.environ, {"FAKE_NVML_STATE": str(self.state_file)}),
            mock.patch.object(pynvml, "CDLL", lambda name: ctypes.CDLL(str(self.library))),
            mock.patch.object(pynvml, "nvmlLib", None),
            mock.patch.dict(pynvml._nvmlGetFunctionPointer_cache, clear=True),
        ]
        for patch in self._patches:
            patch.start()
        os.environ.pop("CUDA_VISIBLE_DEVICES", None)  # the patch of os.environ restores it
        return self

    def __exit__(self, *exc_info: object) -> None:
        for patch in reversed(self._patches):
            patch.stop()
