"""Tasks on a Ray cluster: trainings pack, one CPU each; a measurement takes every CPU and GPU of its node.

Ray by itself would let a measurement wait for ever behind trainings that take each CPU as it becomes free. So each task is sent
to a node by name, and a node that is to measure next gets no more trainings.
"""

from __future__ import annotations

import logging
import socket
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tsbench.errors import TsbenchError
from tsbench.sweep.spec import HERE
from tsbench.sweep.task import Done, Failed, Task, attempt

CONNECT_TIMEOUT_S = 10.0
RETRIES = 3  # of one task, each time on another loss of its node
LOOK_AGAIN_S = 1.0  # for new nodes, and for lost ones
# A board that is started again is back in a few minutes.
WAIT_FOR_NODE_S = 600.0


@dataclass(frozen=True)
class Node:
    """One machine of the cluster; `resources` as Ray has them: CPU, GPU and the names given to `ray start --resources`."""

    id: str
    resources: dict[str, float]

    @property
    def cpus(self) -> int:
        return int(self.resources.get("CPU", 0))

    def fits(self, device: str) -> bool:
        return self.cpus > 0 and (device == HERE or self.resources.get(device, 0) > 0)


@dataclass(frozen=True)
class Running:
    """A task, and the node that it was sent to."""

    task: Task
    node_id: str


def connect(address: str) -> None:
    """Raises TsbenchError without Ray, or where nothing answers there within ten seconds."""
    try:
        import ray
    except ModuleNotFoundError:
        raise TsbenchError("--ray needs Ray: pip install 'tsbench[ray]'") from None
    if ray.is_initialized():
        return
    host, separator, port = address.removeprefix("ray://").rpartition(":")
    try:
        if separator:  # Ray itself would try for minutes
            socket.create_connection((host, int(port)), CONNECT_TIMEOUT_S).close()
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, RuntimeError, ValueError, OverflowError) as error:
        first = (str(error) or type(error).__name__).splitlines()[0]
        raise TsbenchError(
            f"--ray {address}: no cluster answers: {first}; start one with `ray start --head`"
        ) from None


def check_devices(tasks: Sequence[Task]) -> None:
    """Raises TsbenchError for a device that no node of the cluster has."""
    nodes = alive_nodes()
    for device in dict.fromkeys(task.device for task in tasks if task.kind == "measure"):
        if not any(node.fits(device) for node in nodes):
            raise TsbenchError(
                f"device {device!r}: no node of the cluster has it; there are: {_devices(nodes)}"
            )


def alive_nodes() -> list[Node]:
    import ray

    alive = [Node(node["NodeID"], dict(node["Resources"])) for node in ray.nodes() if node["Alive"]]
    return sorted(alive, key=lambda node: node.id)


def place(
    nodes: Sequence[Node],
    ready: Sequence[Task],
    trainings: Sequence[Task],
    running: Sequence[Running],
) -> list[Running]:
    """What to send where now: at most one measurement to a node, and to that node nothing else."""
    measuring = {each.node_id for each in running if each.task.kind == "measure"}
    load = Counter(each.node_id for each in running)
    placed = []
    for task in ready:
        fitting = [node for node in nodes if node.id not in measuring and node.fits(task.device)]
        if fitting:
            node = min(fitting, key=lambda node: load[node.id])
            measuring.add(node.id)
            placed.append(Running(task, node.id))
    free = [
        node.id
        for node in nodes
        if node.id not in measuring
        for _ in range(node.cpus - load[node.id])
    ]
    return placed + [Running(task, node_id) for task, node_id in zip(trainings, free, strict=False)]


def run(
    tasks: Sequence[Task], execute: Callable[..., Done], weights: Callable[[Task], bytes]
) -> Iterator[Done | Failed]:
    """Each task as it finishes; a measurement starts once its training was kept. Raises TsbenchError where no node is left."""
    import ray
    from ray.exceptions import RayError

    trainings = deque(task for task in tasks if task.kind == "train")
    measuring = [task for task in tasks if task.kind == "measure"]
    unfinished, without_model = set(trainings), set()
    running: dict[ray.ObjectRef, Running] = {}
    losses: Counter[Task] = Counter()
    idle_since_s: float | None = None
    while trainings or measuring or running:
        for task in [task for task in measuring if task.training in without_model]:
            measuring.remove(task)
            yield Failed(task, "its training failed")
        nodes = alive_nodes()
        ready = [task for task in measuring if task.training not in unfinished]
        for each in place(nodes, ready, trainings, list(running.values())):
            if each.task.kind == "measure":
                measuring.remove(each.task)
                node = next(node for node in nodes if node.id == each.node_id)
                running[_submit(each, execute, node.resources, weights(each.task.training))] = each
            else:
                trainings.popleft()
                running[_submit(each, execute, {"CPU": 1}, b"")] = each
        if not running:
            if not (trainings or measuring):
                return
            now_s = time.monotonic()
            idle_since_s = idle_since_s or now_s
            if now_s - idle_since_s > WAIT_FOR_NODE_S:
                left = len(trainings) + len(measuring)
                raise TsbenchError(
                    f"no node for {left} tasks in {WAIT_FOR_NODE_S:g} s; the cluster has {_devices(nodes)}"
                )
            time.sleep(LOOK_AGAIN_S)
            continue
        idle_since_s = None
        finished, _ = ray.wait(list(running), num_returns=1, timeout=LOOK_AGAIN_S)
        for ref in finished:
            task = running.pop(ref).task
            try:
                done: Done | Failed = ray.get(ref)
            except RayError as error:  # its node, or its process, is gone
                losses[task] += 1
                if losses[task] <= RETRIES:
                    (measuring if task.kind == "measure" else trainings).append(task)
                    continue
                done = Failed(task, f"lost {losses[task]} times: {type(error).__name__}")
            if isinstance(done, Failed) and task.kind == "train":
                without_model.add(task)
            yield done
            unfinished.discard(task)


def _submit(
    each: Running, execute: Callable[..., Done], resources: dict[str, float], weights: bytes
) -> Any:
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    # The device's own resource, too: whoever else shares the cluster then sees that it is in use.
    device = each.task.device
    named = {device: resources[device]} if device in resources else {}
    scheduled: Any = ray.remote  # its types know no NodeAffinitySchedulingStrategy
    remote = scheduled(
        num_cpus=resources["CPU"],
        num_gpus=resources.get("GPU", 0),
        resources=named,
        max_retries=0,
        scheduling_strategy=NodeAffinitySchedulingStrategy(each.node_id, soft=False),
    )(attempt)
    return remote.remote(execute, each.task, weights)


def _devices(nodes: Sequence[Node]) -> str:
    given = {"CPU", "GPU", "memory", "object_store_memory"}
    names = {
        name for node in nodes for name in node.resources if ":" not in name and name not in given
    }
    return ", ".join(sorted(names)) or f"{len(nodes)} nodes without a name for their device"
