"""The tasks of a sweep, and their execution on this machine.

A model is trained, its variants are built, and then they are measured. Building may take a minute
of autotuning or another training, so it is a task of its own: its files are kept with the results,
and a measurement holds the machine's lock only while it measures.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from tsbench.errors import TsbenchError
from tsbench.sweep.spec import Spec

if TYPE_CHECKING:
    from tsbench.data.prepared import Prepared
    from tsbench.model import Classifier

KINDS = ("train", "build", "measure")  # in this order
LOCK_TIMEOUT_S = 3600.0  # other measurements take minutes: after an hour something hangs


@dataclass(frozen=True)
class Task:
    """One training; one variant of a model, built; or a model's variants, measured together.

    Variants are built for one batch size, and measured at it in shared blocks.
    """

    kind: str  # one of KINDS
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
        from tsbench.variants.classifier import BUILD_VERSION

        versions = {
            "train": [TRAINING_VERSION],
            "build": [TRAINING_VERSION, BUILD_VERSION],
            "measure": [TRAINING_VERSION, MEASURING_VERSION],
        }[self.kind]
        return hashlib.sha256(
            json.dumps([versions, asdict(self)], sort_keys=True).encode()
        ).hexdigest()[:16]

    def __str__(self) -> str:
        variant = f" {self.variants[0]}" if self.kind == "build" else ""
        where = "" if self.kind == "train" else f" on {self.device}, batch {self.batch_cases}"
        return f"{self.kind} {self.dataset} {self.config} seed {self.seed}{variant}{where}"

    @property
    def needs(self) -> tuple[Task, ...]:
        """The tasks whose results this one takes, in this order."""
        if self.kind == "train":
            return ()
        training = Task(
            "train", self.dataset, self.data_sha256, self.config, self.seed, self.epochs
        )
        if self.kind == "build":
            return (training,)
        builds = (
            replace(self, kind="build", variants=(variant,), max_time_s=0.0, meter="")
            for variant in self.variants
        )
        return (training, *builds)


@dataclass(frozen=True)
class Done:
    """The result of a task. `record` is JSON.

    `output` is what other tasks take: a training's checkpoint file, a build's `cache.pack`.
    """

    task: Task
    record: dict[str, object]
    output: bytes = b""


@dataclass(frozen=True)
class Failed:
    """A task that failed. It is not saved, so the next sweep retries it."""

    task: Task
    reason: str


def attempt(execute: Callable[..., Done], task: Task, inputs: tuple[bytes, ...]) -> Done | Failed:
    """The task's result. A failure must not end the hundreds of other tasks."""
    try:
        return execute(task, inputs)
    except Exception as error:  # noqa: BLE001 - it is reported with its task
        lines = str(error).splitlines()
        return Failed(task, f"{type(error).__name__}: {lines[0] if lines else ''}")


def without_input(task: Task, failed: Iterable[Task]) -> Failed | None:
    """The task as a failed one, if one of those it needs failed."""
    for need in task.needs:
        if need in failed:
            return Failed(task, f"a task that it needs failed: {need}")
    return None


def too_long(task: Task, limit_s: float) -> Failed:
    """The task as one that was ended at its limit."""
    return Failed(
        task, f"it took more than {limit_s:g} s and was ended; set task_limit_s in the spec"
    )


def expand(spec: Spec, folder: Path | None = None) -> tuple[list[Task], list[str]]:
    """Every task of the spec in the order of KINDS, and why some datasets cannot be read.

    Raises TsbenchError for an unknown config or variant, or if no dataset can be read.
    """
    from tsbench import variants
    from tsbench.errors import UnknownName
    from tsbench.model import CONFIGS
    from tsbench.training.recipes import plan_of

    for config in spec.configs:
        if config.lower() not in CONFIGS:
            raise UnknownName("config", config, CONFIGS)
    for name in spec.variants:
        variants.get(name)
    loaded, unreadable = _load_all(spec.datasets, folder)
    trainings = [
        Task(
            "train",
            name,
            fingerprint,
            config.lower(),
            seed,
            spec.epochs or plan_of(name).recipe_for(config).epochs,
        )
        for name, fingerprint in loaded.items()
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
    builds = [need for task in measuring for need in task.needs if need.kind == "build"]
    return list(dict.fromkeys((*trainings, *builds, *measuring))), unreadable


def _load_all(names: Iterable[str], folder: Path | None) -> tuple[dict[str, str], list[str]]:
    """The name and fingerprint of each dataset that can be read; and why the others cannot."""
    from tsbench.data import datasets

    loaded, unreadable = {}, []
    for name in names:
        try:
            data = datasets.load(name, folder)
        except TsbenchError as error:
            unreadable.append(str(error))
        else:
            loaded[data.name] = data.fingerprint
    if not loaded:
        raise TsbenchError(unreadable[0])
    return loaded, unreadable


def still_to_do(tasks: Iterable[Task], finished: Iterable[Task]) -> list[Task]:
    """The tasks that are not finished. A build without a measurement to come is needless."""
    done = set(finished)
    left = [task for task in tasks if task not in done]
    needed = {need for task in left if task.kind == "measure" for need in task.needs}
    return [task for task in left if task.kind != "build" or task in needed]


def execute(task: Task, inputs: tuple[bytes, ...] = ()) -> Done:
    """Executes the task on this machine. `inputs` are the outputs of `task.needs`."""
    started_s, cpu_s = time.perf_counter(), _cpu_seconds()
    runs: dict[str, Callable[..., Done]] = {"train": _train, "build": _build, "measure": _measure}
    done = runs[task.kind](task, *inputs)
    # Times are of the node's monotonic clock, as those of readings. No host name, for privacy.
    about = {
        "task": asdict(task),
        "node": _node(),
        "started_s": started_s,
        "ended_s": time.perf_counter(),
        "cpu_seconds": _cpu_seconds() - cpu_s,
    }
    return replace(done, record={**about, **done.record})


def _cpu_seconds() -> float:
    """Of this process and of the children that have ended, such as compilers."""
    return sum(os.times()[:4])


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


def _build(task: Task, weights: bytes) -> Done:
    from tsbench import variants
    from tsbench.data import cache
    from tsbench.threads import one_thread

    data, model = _prepared(task), _model(task, weights)
    with cache.recording() as files, one_thread():
        variants.get(task.variants[0]).build(model, data, task.batch_cases)
    return Done(task, {}, cache.pack(files))


def _measure(task: Task, weights: bytes, *built: bytes) -> Done:
    from pytest_energy import fingerprint, machine_lock, open_meter
    from tsbench import measure
    from tsbench.data import cache

    data, model = _prepared(task), _model(task, weights)
    for each in built:
        cache.unpack(each)
    # What was built elsewhere is loaded. What only serves another CPU is built again, here.
    models = measure.build(model, data, task.variants, task.batch_cases)
    with machine_lock(LOCK_TIMEOUT_S, lambda text: None), open_meter(task.meter) as meter:
        # The readings' clock before the first window and after the last.
        from_s = meter.read().at_s
        rows = measure.measure_built(models, data, task.max_time_s, meter)
        until_s = meter.read().at_s
    record: dict[str, object] = {
        "fingerprint": fingerprint(),
        "meter": meter.name,
        "measured_from_s": from_s,
        "measured_until_s": until_s,
        "rows": [row.as_json() for row in rows],
    }
    return Done(task, record)


def _model(task: Task, weights: bytes) -> Classifier:
    from tsbench import checkpoints

    # No temporary file: one would stay if this process is killed.
    return checkpoints.loads(weights, Path(f"models/{task.needs[0].key}.safetensors")).model
