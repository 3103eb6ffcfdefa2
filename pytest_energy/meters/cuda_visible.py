"""Which GPUs a CUDA program sees, by the rules of CUDA_VISIBLE_DEVICES.

CUDA C Programming Guide, "CUDA Environment Variables": entries are numbers, UUIDs or MIG ids. CUDA
reads them from left to right and stops at the first invalid one. A repeated entry leaves none.
Numbers follow CUDA_DEVICE_ORDER: the fastest GPU first, unless it is PCI_BUS_ID.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pytest_energy.errors import MeterUnavailable, OptionError

VISIBLE, ORDER, PCI_ORDER = "CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "PCI_BUS_ID"
_LEADING_NUMBER = re.compile(r"[+-]?\d+")
_OLD_MIG = re.compile(r"MIG-(GPU-[0-9a-fA-F-]+)/\d+/\d+")


@dataclass(frozen=True)
class Gpu:
    """One GPU, by NVML. ``uuid`` is "" if NVML has none."""

    index: int
    """NVML's number, which follows the PCI bus."""
    name: str
    uuid: str


def visible_gpus(
    environment: Mapping[str, str],
    gpus: Sequence[Gpu],
    mig_parent: Callable[[str], int | None],
    cuda_uuids: Callable[[], Sequence[str]],
) -> tuple[list[int], tuple[str, ...]]:
    """NVML's numbers of the visible GPUs in ascending order, and notes.

    ``mig_parent`` gives the GPU of a MIG id. ``cuda_uuids`` gives the GPUs that CUDA already shows
    to this process, or none. Raises `MeterUnavailable` if no GPU is visible, and `OptionError` if
    numbers alone are ambiguous.
    """
    wanted = environment.get(VISIBLE)
    if wanted is None:
        return [gpu.index for gpu in gpus], ()
    entries = [entry.strip() for entry in wanted.split(",")]
    if entries[0].startswith("MIG-"):
        found = _of_mig(entries, gpus, mig_parent)
    elif entries[0].startswith("GPU-"):
        found = _of_uuids(entries, gpus)
    else:
        numbers = _numbers(entries, len(gpus))
        found = _of_numbers(numbers, environment, gpus, cuda_uuids)
    if not found:
        raise MeterUnavailable(
            f"{VISIBLE}={wanted!r} leaves no GPU visible",
            "unset it, or name the GPUs to count, as nvml:0",
        )
    counted = ", ".join(f"gpu-{index}" for index in sorted(found))
    return sorted(found), (f"nvml: {VISIBLE}={wanted} makes only {counted} count",)


def _numbers(entries: Sequence[str], count: int) -> list[int]:
    numbers: list[int] = []
    for entry in entries:
        match = _LEADING_NUMBER.match(entry)
        number = int(match[0]) if match else -1
        if not 0 <= number < count:
            break
        if number in numbers:
            return []
        numbers.append(number)
    return numbers


def _of_numbers(
    numbers: Sequence[int],
    environment: Mapping[str, str],
    gpus: Sequence[Gpu],
    cuda_uuids: Callable[[], Sequence[str]],
) -> list[int]:
    by_bus = environment.get(ORDER) == PCI_ORDER
    all_equal = len({gpu.name for gpu in gpus}) == 1
    if by_bus or all_equal or len(numbers) in (0, len(gpus)):
        return [gpus[number].index for number in numbers]
    known = [gpu.index for uuid in cuda_uuids() for gpu in gpus if uuid and gpu.uuid == uuid]
    if len(known) == len(numbers):
        return known
    names = ", ".join(f"gpu-{gpu.index} {gpu.name}" for gpu in gpus)
    raise OptionError(
        f"{VISIBLE}={environment[VISIBLE]}: CUDA numbers the fastest GPU first and NVML by the "
        f"bus; on unequal GPUs ({names}) it is unknown which are meant; use {ORDER}={PCI_ORDER}, "
        f"or UUIDs in {VISIBLE}, or name the GPUs, as --energy-meter nvml:0"
    )


def _of_uuids(entries: Sequence[str], gpus: Sequence[Gpu]) -> list[int]:
    found: list[int] = []
    for entry in entries:
        match = [gpu.index for gpu in gpus if entry.startswith("GPU-") and _is(gpu, entry)]
        if len(match) != 1:  # unknown, or an abbreviation of two
            break
        if match[0] in found:
            return []
        found += match
    return found


def _is(gpu: Gpu, uuid: str) -> bool:
    return uuid != "GPU-" and gpu.uuid.lower().startswith(uuid.lower())


def _of_mig(
    entries: Sequence[str], gpus: Sequence[Gpu], mig_parent: Callable[[str], int | None]
) -> list[int]:
    """CUDA uses one MIG instance, the first. Its GPU's counter has all instances' joules."""
    if old := _OLD_MIG.fullmatch(entries[0]):
        return _of_uuids([old[1]], gpus)
    parent = mig_parent(entries[0])
    return [] if parent is None else [parent]


def uuids_from_torch() -> list[str]:
    """The UUIDs of torch's GPUs, if torch is loaded and already uses CUDA; else none.

    Asking earlier would start CUDA in the process of the user.
    """
    torch: Any = sys.modules.get("torch")
    cuda = getattr(torch, "cuda", None)
    if cuda is None or not cuda.is_initialized():
        return []
    uuids = []
    for index in range(cuda.device_count()):
        uuid = getattr(cuda.get_device_properties(index), "uuid", None)
        if uuid is None:  # torch before 2.4
            return []
        uuids.append(f"GPU-{str(uuid).removeprefix('GPU-')}")
    return uuids
