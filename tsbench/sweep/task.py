"""The tasks of a sweep, and their execution on this machine."""

from __future__ import annotations

import hashlib
import json
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from tsbench.errors import TsbenchError
from tsbench.sweep.spec import Spec

if TYPE_CHECKING:
    from tsbench.data.prepared import Prepared

LOCK_TIMEOUT_S = 3600.0  # other measurements take minutes: after an hour something hangs


@dataclass(frozen=True)
class Task:
    """One training; or one model's variants at one batch size, measured in shared blocks."""

    kind: str  # train, measure
    dataset: str
    data_sha256: str
    config: str
    seed: int
    epochs: int
    device: str = ""
    variants: tuple[str, ...] = ()
    batch_cases: int = 0
    max_time_s: float = 0.0
    meter: str = ""

    @property
    def key(self) -> str:
        """A hash of everything that the result depends on: data, config, code version."""
        from tsbench.measure import MEASURING_VERSION
        from tsbench.training.train import TRAINING_VERSION

        versions = (
            [TRAINING_VERSION] if self.kind == "train" else [TRAINING_VERSION, MEASURING_VERSION]
        )
        return hashlib.sha256(
            json.dumps([versions, asdict(self)], sort_keys=True).encode()
        ).hexdigest()[:16]

    def __str__(self) -> str:
        where = f" on {self.device}, batch {self.batch_cases}" if self.kind == "measure" else ""
        return f"{self.kind} {self.dataset} {self.config} seed {self.seed}{where}"

    @property
    def training(self) -> Task:
        """The training whose model this task measures."""
        return Task("train", self.dataset, self.data_sha256, self.config, self.seed, self.epochs)


@dataclass(frozen=True)
class Done:
    """The result of a task. `record` is JSON; `weights` is a trained model's checkpoint file."""

    task: Task
    record: dict[str, object]
    weights: bytes = b""


@dataclass(frozen=True)
class Failed:
    """A task that failed. It is not saved, so the next sweep retries it."""

    task: Task
    reason: str


def attempt(execute: Callable[..., Done], task: Task, weights: bytes) -> Done | Failed:
    """The task's result. A failure must not end the hundreds of other tasks."""
    try:
        return execute(task, weights)
    except Exception as error:  # noqa: BLE001 - it is reported with its task
        lines = str(error).splitlines()
        return Failed(task, f"{type(error).__name__}: {lines[0] if lines else ''}")


def expand(spec: Spec, folder: Path | None = None) -> list[Task]:
    """Every task of the spec, trainings first. Raises TsbenchError for an unknown name."""
    from tsbench import variants
    from tsbench.data import datasets
    from tsbench.errors import UnknownName
    from tsbench.model import CONFIGS
    from tsbench.training.recipes import plan_of

    for config in spec.configs:
        if config.lower() not in CONFIGS:
            raise UnknownName("config", config, CONFIGS)
    for name in spec.variants:
        variants.get(name)
    loaded = [datasets.load(name, folder) for name in spec.datasets]
    trainings = [
        Task(
            "train",
            data.name,
            data.fingerprint,
            config.lower(),
            seed,
            spec.epochs or plan_of(data.name).recipe_for(config).epochs,
        )
        for data in loaded
        for config in spec.configs
        for seed in spec.seeds
    ]
    measuring = [
        replace(
            task,
            kind="measure",
            device=device,
            variants=spec.variants,
            batch_cases=batch_cases,
            max_time_s=spec.max_time_s,
            meter=spec.meter,
        )
        for task in trainings
        for device in spec.devices
        for batch_cases in spec.batches
        if spec.variants
    ]
    return list(dict.fromkeys(trainings + measuring))


def execute(task: Task, weights: bytes = b"") -> Done:
    """Executes the task on this machine. A measurement requires the weights of its training."""
    started_s = time.perf_counter()
    done = _train(task) if task.kind == "train" else _measure(task, weights)
    # Times are of the node's monotonic clock, as those of readings. No host name, for privacy.
    about = {
        "task": asdict(task),
        "node": _node(),
        "started_s": started_s,
        "ended_s": time.perf_counter(),
    }
    return replace(done, record={**about, **done.record})


def _node() -> str:
    """Ray's id of this node, or "here"."""
    ray = sys.modules.get("ray")
    return (
        str(ray.get_runtime_context().get_node_id())
        if ray is not None and ray.is_initialized()
        else "here"
    )


def _prepared(task: Task) -> Prepared:
    from tsbench.data import datasets
    from tsbench.training.recipes import prepare_by_plan

    loaded = datasets.load(task.dataset)
    if loaded.fingerprint != task.data_sha256:
        raise TsbenchError(
            f"{task.dataset} on {platform.node()} differs from the driver's data; copy the "
            f"driver's files there"
        )
    return prepare_by_plan(loaded)


def _train(task: Task) -> Done:
    from tsbench.training.evaluate import accuracy, batched_logits
    from tsbench.training.load_or_train import (
        cached_path,
        config_of,
        train_by_plan,
        weights_sha256,
    )

    data = _prepared(task)
    result = train_by_plan(data, task.config, task.seed, task.epochs)
    record: dict[str, object] = {
        "accuracy": accuracy(batched_logits(result.model, data.test_x), data.test_y),
        "weights_sha256": weights_sha256(result.model),
        "cpu_seconds": result.cpu_seconds,
        "joules": result.joules,
        "provenance": result.provenance,
    }
    return Done(
        task, record, cached_path(data, config_of(data, task.config), result.recipe).read_bytes()
    )


def _measure(task: Task, weights: bytes) -> Done:
    from pytest_energy import fingerprint, machine_lock, open_meter
    from tsbench import checkpoints, measure

    data = _prepared(task)
    # No temporary file: one would stay if this process is killed.
    model = checkpoints.loads(weights, Path(f"models/{task.training.key}.safetensors")).model
    with machine_lock(LOCK_TIMEOUT_S, lambda text: None), open_meter(task.meter) as meter:
        # The readings' clock before the first window and after the last.
        from_s = meter.read().at_s
        rows = measure.measure(
            model, data, task.variants, [task.batch_cases], task.max_time_s, meter
        )
        until_s = meter.read().at_s
    record: dict[str, object] = {
        "fingerprint": fingerprint(),
        "meter": meter.name,
        "measured_from_s": from_s,
        "measured_until_s": until_s,
        "rows": [row.as_json() for row in rows],
    }
    return Done(task, record)
