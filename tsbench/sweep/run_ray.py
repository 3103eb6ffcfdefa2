"""Tasks on a Ray cluster: a training takes one CPU, a measurement all CPUs and GPUs of its node.

Left to Ray, a measurement could wait forever for trainings that take every CPU as it becomes free.
So each task is sent to a named node, and a node that will measure gets no more trainings.
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
RETRIES = 3  # of a task whose node is lost
POLL_INTERVAL_S = 1.0  # for new and lost nodes, and for finished tasks
WAIT_FOR_NODE_S = 600.0  # a board restarts in a few minutes


@dataclass(frozen=True)
class Node:
    """A machine of the cluster.

    `resources` are Ray's: CPU, GPU and the names given to `ray start --resources`.
    """

    id: str
    resources: dict[str, float]

    @property
    def cpus(self) -> int:
        return int(self.resources.get("CPU", 0))

    def fits(self, device: str) -> bool:
        return self.cpus > 0 and (device == HERE or self.resources.get(device, 0) > 0)


@dataclass(frozen=True)
class Running:
    """A task and its node."""

    task: Task
    node_id: str


def connect(address: str) -> None:
    """Raises TsbenchError without Ray, or if the cluster does not answer within ten seconds."""
    try:
        import ray
    except ModuleNotFoundError:
        raise TsbenchError("--ray requires Ray: pip install 'tsbench[ray]'") from None
    if ray.is_initialized():
        return
    host, separator, port = address.removeprefix("ray://").rpartition(":")
    try:
        if separator:  # ray.init would try for minutes
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
                f"device {device!r}: no node of the cluster has it; it has {_devices(nodes)}"
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
    """The tasks to start now, each with its node.

    A node gets at most one measurement, and then nothing else.
    """
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
    """Yields each task when it finishes. The caller saves it before it asks for the next.

    A measurement starts after its training was saved. Raises TsbenchError if no node is left.
    """
    schedule = _Schedule(tasks, execute, weights)
    while schedule.unfinished:
        yield from schedule.without_model()
        schedule.start()
        if schedule.running:
            yield from schedule.finished()
        elif schedule.unfinished:
            schedule.wait_for_node()


class _Schedule:
    """Which tasks wait, which run, and which node each runs on."""

    def __init__(
        self,
        tasks: Sequence[Task],
        execute: Callable[..., Done],
        weights: Callable[[Task], bytes],
    ):
        self._execute, self._weights = execute, weights
        self._trainings = deque(task for task in tasks if task.kind == "train")
        self._measuring = [task for task in tasks if task.kind == "measure"]
        self._untrained = set(self._trainings)
        self._failed_trainings: set[Task] = set()
        self._losses: Counter[Task] = Counter()
        self._idle_since_s: float | None = None
        self.running: dict[Any, Running] = {}  # by Ray's reference

    @property
    def unfinished(self) -> int:
        return len(self._trainings) + len(self._measuring) + len(self.running)

    def without_model(self) -> Iterator[Failed]:
        """Fails the measurements whose training failed."""
        for task in [each for each in self._measuring if each.training in self._failed_trainings]:
            self._measuring.remove(task)
            yield Failed(task, "its training failed")

    def start(self) -> None:
        """Sends tasks to every node that has room for them."""
        nodes = {node.id: node for node in alive_nodes()}
        ready = [task for task in self._measuring if task.training not in self._untrained]
        placed = place(list(nodes.values()), ready, self._trainings, list(self.running.values()))
        for each in placed:
            if each.task.kind == "measure":
                self._measuring.remove(each.task)
                resources, weights = (
                    nodes[each.node_id].resources,
                    self._weights(each.task.training),
                )
            else:
                self._trainings.popleft()
                resources, weights = {"CPU": 1.0}, b""
            self.running[_submit(each, self._execute, resources, weights)] = each
        if self.running:
            self._idle_since_s = None

    def wait_for_node(self) -> None:
        """Waits a moment for a node. Raises TsbenchError after WAIT_FOR_NODE_S without one."""
        now_s = time.monotonic()
        self._idle_since_s = self._idle_since_s or now_s
        if now_s - self._idle_since_s > WAIT_FOR_NODE_S:
            raise TsbenchError(
                f"no node for {self.unfinished} tasks in {WAIT_FOR_NODE_S:g} s; "
                f"the cluster has {_devices(alive_nodes())}"
            )
        time.sleep(POLL_INTERVAL_S)

    def finished(self) -> Iterator[Done | Failed]:
        """The tasks that finish within POLL_INTERVAL_S. A task whose node is lost waits again."""
        import ray

        references, _ = ray.wait(list(self.running), num_returns=1, timeout=POLL_INTERVAL_S)
        for reference in references:
            task = self.running.pop(reference).task
            done = self._outcome(task, reference)
            if done is None:
                continue
            if isinstance(done, Failed) and task.kind == "train":
                self._failed_trainings.add(task)
            yield done
            self._untrained.discard(task)  # the caller has saved it

    def _outcome(self, task: Task, reference: Any) -> Done | Failed | None:
        import ray
        from ray.exceptions import RayError

        try:
            done: Done | Failed = ray.get(reference)
            return done
        except RayError as error:  # its node or its process is gone
            self._losses[task] += 1
            if self._losses[task] > RETRIES:
                return Failed(task, f"lost {self._losses[task]} times: {type(error).__name__}")
            (self._measuring if task.kind == "measure" else self._trainings).append(task)
            return None


def _submit(
    each: Running, execute: Callable[..., Done], resources: dict[str, float], weights: bytes
) -> Any:
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    # The device's own resource too: other users of the cluster then see that it is in use.
    device = each.task.device
    named = {device: resources[device]} if device in resources else {}
    scheduled: Any = ray.remote  # its types do not know NodeAffinitySchedulingStrategy
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
    return ", ".join(sorted(names)) or f"{len(nodes)} nodes without device names"
