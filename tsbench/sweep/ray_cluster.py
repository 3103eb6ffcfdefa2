"""A Ray cluster: connecting to it, its nodes, and what they can do at once."""

from __future__ import annotations

import logging
import os
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from tsbench.errors import TsbenchError
from tsbench.sweep.forecast import Capacity
from tsbench.sweep.spec import HERE
from tsbench.sweep.task import Task

CONNECT_TIMEOUT_S = 10.0


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
        """Whether it has the device. A training has none, and fits everywhere."""
        return self.cpus > 0 and (device in (HERE, "") or self.resources.get(device, 0) > 0)


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
        _mute_native_errors()
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, RuntimeError, ValueError, OverflowError) as error:
        first = (str(error) or type(error).__name__).splitlines()[0]
        raise TsbenchError(
            f"--ray {address}: no cluster answers: {first}; start one with `ray start --head`"
        ) from None


def _mute_native_errors() -> None:
    """Sends to nowhere what Ray's native code writes to descriptor 2: stack traces, if a node dies.

    Ray's own logs have them, too. Errors of Python still reach the terminal.
    """
    try:
        theirs = sys.stderr.fileno() == 2
    except (OSError, ValueError):  # a test has replaced it
        theirs = False
    if theirs:
        sys.stderr = os.fdopen(os.dup(2), "w", buffering=1, errors="backslashreplace")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)


def require_head(address: str) -> None:
    """Raises TsbenchError if nothing listens at the address any more.

    Ray itself would end this process after a minute, without a word.
    """
    host, separator, port = address.removeprefix("ray://").rpartition(":")
    if not separator:  # such as "auto"
        return
    try:
        socket.create_connection((host, int(port)), CONNECT_TIMEOUT_S).close()
    except OSError as error:
        raise TsbenchError(
            f"the cluster at {address} no longer answers: {error.strerror or error}; finished "
            f"tasks are saved: start the cluster, and run the command again"
        ) from None


def check_devices(tasks: Sequence[Task]) -> None:
    """Raises TsbenchError for a device that no node of the cluster has."""
    nodes = alive_nodes()
    for device in dict.fromkeys(task.device for task in tasks if task.kind == "measure"):
        if not any(node.fits(device) for node in nodes):
            raise TsbenchError(
                f"device {device!r}: no node of the cluster has it; it has {devices_of(nodes)}"
            )


def alive_nodes() -> list[Node]:
    import ray

    alive = [Node(node["NodeID"], dict(node["Resources"])) for node in ray.nodes() if node["Alive"]]
    return sorted(alive, key=lambda node: node.id)


def capacity(tasks: Sequence[Task]) -> Capacity:
    """What of these tasks the cluster can do at once."""
    nodes = [node for node in alive_nodes() if node.cpus]
    devices = {task.device for task in tasks if task.kind == "measure"}
    measuring = [node for node in nodes if any(node.fits(device) for device in devices)] or nodes
    count = max(len(measuring), 1)
    cpus = sum(node.cpus for node in measuring)
    return Capacity(max(sum(node.cpus for node in nodes), 1), count, cpus / count)


def devices_of(nodes: Sequence[Node]) -> str:
    given = {"CPU", "GPU", "memory", "object_store_memory"}
    names = {
        name for node in nodes for name in node.resources if ":" not in name and name not in given
    }
    return ", ".join(sorted(names)) or f"{len(nodes)} nodes without device names"
