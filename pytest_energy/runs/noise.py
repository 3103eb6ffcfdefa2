"""How much a single run on this machine may differ from the next of the same code: the floor under saved runs.

Found by ``pytest-energy doctor --noise`` (see noise_runs.py), kept in the user's configuration, one file for
each machine and meter. Where it was never found, `DEFAULT_NOISE` stands in.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pytest_energy.errors import RunUnreadable
from pytest_energy.machine import config_folder, write_config
from pytest_energy.stats.unpaired import few_shift

NOISE_SCHEMA = 1

Quantity = Literal["joules", "seconds"]


@dataclass(frozen=True)
class Noise:
    """The spread between single runs of unchanged code: standard deviations of log medians."""

    seconds_sd: float
    joules_sd: float
    runs: int | None
    """How many runs it was found from; None: taken as known."""
    source: str

    def sd(self, quantity: Quantity) -> float:
        return self.seconds_sd if quantity == "seconds" else self.joules_sd

    def floor(self, quantity: Quantity, alpha: float) -> float:
        """The change between two single runs that is still inside the noise, as a share: 0.93 means +93 %."""
        logs = few_shift([0.0], [0.0], self.sd(quantity), self.runs, alpha)
        return math.expm1(min(logs.high, 700.0))


# Medians over two seconds of one unchanged kernel moved by 7 to 20 % (SD) within four minutes on a shared virtual
# machine with two cores. The upper end, because a machine of which nothing is known may be as bad.
DEFAULT_NOISE = Noise(
    0.20,
    0.20,
    None,
    "never measured for this machine and meter, so taken as 20 % (SD); `pytest-energy doctor --noise` finds it",
)


def noise_path(machine: Mapping[str, object], meter_name: str) -> Path:
    """Where the noise of this machine with this meter is kept."""
    key = json.dumps({"machine": machine, "meter": meter_name}, sort_keys=True)
    return config_folder() / f"noise-{hashlib.sha256(key.encode()).hexdigest()[:16]}.json"


def save_noise(noise: Noise, machine: Mapping[str, object], meter_name: str) -> Path:
    """Write it, whole or not at all; gives the file."""
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
    """What is known of this machine's noise, else `DEFAULT_NOISE`. Raises `RunUnreadable` where the file is broken."""
    path = noise_path(machine, meter_name)
    try:
        saved = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return DEFAULT_NOISE
    except (OSError, ValueError) as error:
        raise _broken(path, str(error)) from None
    try:
        sds = [float(saved[key]) for key in ("seconds_sd", "joules_sd")]
        runs = int(saved["runs"])
        if saved["schema"] != NOISE_SCHEMA or runs < 2 or not all(0 <= sd < math.inf for sd in sds):
            raise ValueError(f"schema {saved['schema']!r}, {runs} runs, standard deviations {sds}")
        return Noise(sds[0], sds[1], runs, str(saved["source"]))
    except (KeyError, TypeError, ValueError) as error:
        raise _broken(path, f"{type(error).__name__}: {error}") from None


def _broken(path: Path, what: str) -> RunUnreadable:
    return RunUnreadable(
        f"{path}: not a noise file: {what}; find it anew with `pytest-energy doctor --noise`, or delete it"
    )
