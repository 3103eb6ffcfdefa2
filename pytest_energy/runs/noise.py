"""The noise of a machine: how far two single runs of the same code differ.

``pytest-energy noise`` measures it (noise_kernels.py). It is saved in the user's
configuration, one file per machine and meter. `DEFAULT_NOISE` is used where no file exists.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pytest_energy.errors import OptionError, RunUnreadable
from pytest_energy.machine import config_folder, write_config
from pytest_energy.runs.json_values import UNREADABLE
from pytest_energy.stats.unpaired import noise_errors, t_shift

NOISE_SCHEMA = 1

Quantity = Literal["joules", "seconds"]


@dataclass(frozen=True)
class Noise:
    """Standard deviations of log medians between single runs of unchanged code."""

    seconds_sd: float
    joules_sd: float
    runs: int | None
    """The number of runs that it was measured from. None: assumed."""
    source: str
    """A sentence on where these figures come from."""

    def sd(self, quantity: Quantity) -> float:
        return self.seconds_sd if quantity == "seconds" else self.joules_sd

    def floor(self, quantity: Quantity, alpha: float) -> float:
        """The largest change of two single runs that noise explains, as a share: 0.93 is +93 %."""
        errors = noise_errors([0.0], [0.0], self.sd(quantity), self.runs)
        logs = t_shift([0.0], [0.0], errors, alpha)
        return math.expm1(min(logs.high, 700.0))


# On a shared virtual machine, medians of an unchanged kernel moved by 7 to 20 % (SD) within four
# minutes. An unknown machine may be as noisy.
DEFAULT_NOISE = Noise(
    0.20,
    0.20,
    None,
    "assumed to be 20 % (SD); measure it with pytest-energy noise",
)


def noise_path(machine: Mapping[str, object], meter_name: str) -> Path:
    """The file for the noise of this machine with this meter."""
    key = json.dumps({"machine": machine, "meter": meter_name}, sort_keys=True)
    return config_folder() / f"noise-{hashlib.sha256(key.encode()).hexdigest()[:16]}.json"


def save_noise(noise: Noise, machine: Mapping[str, object], meter_name: str) -> Path:
    """Save the noise in a file, atomically, and return the file's path."""
    path = noise_path(machine, meter_name)
    content = {
        "schema": NOISE_SCHEMA,
        "machine": dict(machine),
        "meter": meter_name,
        "seconds_sd": noise.seconds_sd,
        "joules_sd": noise.joules_sd,
        "runs": noise.runs,
        "source": noise.source,
    }
    write_config(path, content)
    return path


def load_noise(machine: Mapping[str, object], meter_name: str) -> Noise:
    """The saved noise of this machine, or `DEFAULT_NOISE`.

    Raises `RunUnreadable` for a broken file.
    """
    try:
        path = noise_path(machine, meter_name)
    except OptionError:
        return DEFAULT_NOISE  # a user without a home folder has no noise file
    try:
        saved = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return DEFAULT_NOISE
    except (OSError, ValueError, RecursionError) as error:
        raise _broken(path, str(error)) from None
    try:
        sds = [float(saved[key]) for key in ("seconds_sd", "joules_sd")]
        runs = int(saved["runs"])
        if saved["schema"] != NOISE_SCHEMA or runs < 2 or not all(0 <= sd < math.inf for sd in sds):
            raise ValueError(f"schema {saved['schema']!r}, {runs} runs, standard deviations {sds}")
        return Noise(sds[0], sds[1], runs, str(saved["source"]))
    except (KeyError, *UNREADABLE) as error:
        raise _broken(path, f"{type(error).__name__}: {error}") from None


def _broken(path: Path, what: str) -> RunUnreadable:
    return RunUnreadable(
        f"{path}: not a noise file: {what}; delete it, or measure again with `pytest-energy noise`"
    )
