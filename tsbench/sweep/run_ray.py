"""Tasks on a Ray cluster. A training or a build takes one CPU, a measurement its whole node.

Left to Ray, a measurement could wait forever for trainings that take every CPU as it becomes free.
So each task is sent to a named node, and a node that will measure gets nothing else.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from tsbench.errors import TsbenchError
from tsbench.sweep.ray_cluster import Node, alive_nodes, devices_of, require_head
from tsbench.sweep.task import Done, Failed, Task, attempt, too_long, without_input

RETRIES = 3  # of a task whose node is lost
POLL_INTERVAL_S = 1.0  # for new and lost nodes, and for finished tasks
WAIT_FOR_NODE_S = 600.0  # a board restarts in a few minutes


@dataclass
class Running:
    """A task and its node, and since when the task has had what it takes of the node."""

    task: Task
    node_id: str
    since_s: float = field(default_factory=time.monotonic, compare=False)


def place(
    nodes: Sequence[Node],
    measurements: Sequence[Task],
    others: Iterable[Task],
    running: Iterable[Running],
) -> list[Running]:
    """The tasks to start now, each with its node.

    A node gets at most one measurement, and then nothing else.
    """
    running = list(running)
    measuring = {each.node_id for each in running if each.task.kind == "measure"}
    load = Counter(each.node_id for each in running)
    placed = []
    for task in measurements:
        fitting = [node for node in nodes if node.id not in measuring and node.fits(task.device)]
        if fitting:
            node = min(fitting, key=lambda node: load[node.id])
            measuring.add(node.id)
            placed.append(Running(task, node.id))
    free = [
        node for node in nodes if node.id not in measuring for _ in range(node.cpus - load[node.id])
    ]
    for task in others:
        if not free:
            break
        room = next((node for node in free if node.fits(task.device)), None)
        if room is not None:
            free.remove(room)
            placed.append(Running(task, room.id))
    return placed


def run(
    tasks: Sequence[Task],
    execute: Callable[..., Done],
    inputs: Callable[[Task], tuple[bytes, ...]],
    limit_s: float,
    address: str = "",
) -> Iterator[Done | Failed]:
    """Yields each task when it finishes. The caller saves it before it asks for the next.

    A task starts after those that it needs were saved. Raises TsbenchError if no node is left, or
    nothing answers at the cluster's address, if it is given.
    """
    schedule = _Schedule(tasks, execute, inputs, limit_s)
    while schedule.unfinished:
        require_head(address)
        yield from schedule.without_input()
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
        inputs: Callable[[Task], tuple[bytes, ...]],
        limit_s: float,
    ):
        self._execute, self._inputs, self._limit_s = execute, inputs, limit_s
        unsaved = set(tasks)  # without those that were finished before
        self._missing: dict[Task, int] = {}  # of tasks that wait: how many that they need
        self._needed_by: dict[Task, list[Task]] = defaultdict(list)
        self._ready: deque[Task] = deque()  # trainings and builds
        self._measurements: list[Task] = []  # ready
        self._without_input: list[Failed] = []
        self._losses: Counter[Task] = Counter()
        self._overdue: set[Any] = set()
        self._idle_since_s: float | None = None
        self.running: dict[Any, Running] = {}  # by Ray's reference
        for task in tasks:
            needed = [need for need in task.needs if need in unsaved]
            for need in needed:
                self._needed_by[need].append(task)
            if needed:
                self._missing[task] = len(needed)
            else:
                self._make_ready(task)

    @property
    def unfinished(self) -> int:
        ready = len(self._ready) + len(self._measurements)
        return len(self._missing) + ready + len(self.running) + len(self._without_input)

    def without_input(self) -> Iterator[Failed]:
        """The tasks that cannot start, because one that they need failed."""
        while self._without_input:
            yield self._without_input.pop()

    def start(self) -> None:
        """Sends tasks to every node that has room for them."""
        nodes = {node.id: node for node in alive_nodes()}
        placed = place(list(nodes.values()), self._measurements, self._ready, self.running.values())
        for each in placed:
            if each.task.kind == "measure":
                self._measurements.remove(each.task)
                resources = nodes[each.node_id].resources
            else:
                self._ready.remove(each.task)
                resources = {"CPU": 1.0}
            reference = _submit(each, self._execute, resources, self._inputs(each.task))
            self.running[reference] = each
        if self.running:
            self._idle_since_s = None

    def wait_for_node(self) -> None:
        """Waits a moment for a node. Raises TsbenchError after WAIT_FOR_NODE_S without one."""
        now_s = time.monotonic()
        self._idle_since_s = self._idle_since_s or now_s
        if now_s - self._idle_since_s > WAIT_FOR_NODE_S:
            raise TsbenchError(
                f"no node for {self.unfinished} tasks in {WAIT_FOR_NODE_S:g} s; "
                f"the cluster has {devices_of(alive_nodes())}"
            )
        time.sleep(POLL_INTERVAL_S)

    def finished(self) -> Iterator[Done | Failed]:
        """The tasks that finish within POLL_INTERVAL_S. A task whose node is lost waits again."""
        import ray

        self._end_overdue()
        references, _ = ray.wait(list(self.running), num_returns=1, timeout=POLL_INTERVAL_S)
        for reference in references:
            task = self.running.pop(reference).task
            done = self._outcome(task, reference)
            if done is None:
                self._make_ready(task)
                continue
            yield done
            self._pass_on(task, isinstance(done, Failed))  # the caller has saved it

    def _make_ready(self, task: Task) -> None:
        if task.kind == "measure":
            self._measurements.append(task)
        elif task.kind == "build":
            self._ready.appendleft(task)  # so that measuring starts early
        else:
            self._ready.append(task)

    def _pass_on(self, task: Task, failed: bool) -> None:
        """Starts, or fails, what needs this task."""
        for other in self._needed_by.pop(task, ()):
            if other not in self._missing:
                continue  # it has failed before
            if failed:
                del self._missing[other]
                without = without_input(other, {task})
                assert without is not None
                self._without_input.append(without)
                self._pass_on(other, failed=True)
                continue
            self._missing[other] -= 1
            if not self._missing[other]:
                del self._missing[other]
                self._make_ready(other)

    def _end_overdue(self) -> None:
        """Ends the tasks that have run for too long. Ray itself has no limit for a task."""
        import ray

        now_s = time.monotonic()
        load = Counter(each.node_id for each in self.running.values())
        for reference, each in self.running.items():
            if each.task.kind == "measure" and load[each.node_id] > 1:
                each.since_s = now_s  # it waits until the node's other tasks have ended
            if now_s - each.since_s > self._limit_s and reference not in self._overdue:
                self._overdue.add(reference)
                ray.cancel(reference, force=True)

    def _outcome(self, task: Task, reference: Any) -> Done | Failed | None:
        import ray
        from ray.exceptions import RayError

        try:
            done: Done | Failed = ray.get(reference)
            return done
        except RayError as error:  # its node or its process is gone
            if reference in self._overdue:
                return too_long(task, self._limit_s)
            self._losses[task] += 1
            if self._losses[task] > RETRIES:
                return Failed(task, f"lost {self._losses[task]} times: {type(error).__name__}")
            return None


def _submit(
    each: Running,
    execute: Callable[..., Done],
    resources: dict[str, float],
    inputs: tuple[bytes, ...],
) -> Any:
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    # The device's own resource too: other users of the cluster then see that it is in use.
    device = each.task.device
    named = {device: resources[device]} if resources.get(device) else {}
    scheduled: Any = ray.remote  # its types do not know NodeAffinitySchedulingStrategy
    remote = scheduled(
        num_cpus=resources["CPU"],
        num_gpus=resources.get("GPU", 0),
        resources=named,
        max_retries=0,
        scheduling_strategy=NodeAffinitySchedulingStrategy(each.node_id, soft=False),
    )(attempt)
    return remote.remote(execute, each.task, inputs)
