"""The sweep's promises on a Ray cluster of three nodes on this machine, and a task's overhead::

    python -m studies.sweep_study

1. 12 trainings and 12 measurements with plain processes. Then on Ray, where the driver is killed
   half-way and restarted, and a node is killed: the same models, everything done, no task twice.
2. By the readings' clocks: no two measurements overlap, and trainings run beside them.
3. Empty tasks, up to 10 000: the overhead of each.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tsbench.sweep import run_local, run_ray
from tsbench.sweep.task import Done, Task

SPEC = """
datasets = ["synthetic:timepoints=64,cases=30", "synthetic:timepoints=96,cases=30,seed=1", "PLAID"]
configs = ["student", "statistics"]
seeds = [0, 1]
epochs = 1
variants = ["onnx_fp32"]
batches = [1]
max_time_s = 2
meter = "estimate"
"""
NODE_MEMORY = 80 * 2**20
FINISHED = re.compile(r"\d+/\d+ (train|measure) .*, about")


def sweep(folder: Path, *options: str) -> subprocess.Popen[str]:
    """The command, as a user runs it."""
    command = [sys.executable, "-m", "tsbench.cli", "sweep", str(folder / "spec.toml"), *options]
    # A cache of its own: on Ray the workers have the cluster's, and train anew.
    environment = {
        **os.environ,
        "PYTHONUNBUFFERED": "1",
        "TSBENCH_CACHE": str(folder / "drivers-cache"),
    }
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


def finished_lines(driver: subprocess.Popen[str], at_most: int | None = None) -> list[str]:
    """The lines of finished tasks, all of them or the first few."""
    assert driver.stdout is not None
    lines = (
        line.split(", about")[0].split(" ", 1)[1] for line in driver.stdout if FINISHED.match(line)
    )
    return list(itertools.islice(lines, at_most))


def records(folder: Path) -> list[dict]:
    return [json.loads(path.read_text(encoding="utf8")) for path in sorted(folder.glob("*.json"))]


def models(folder: Path) -> dict[str, str]:
    found = [record for record in records(folder) if record["task"]["kind"] == "train"]
    return {
        str([record["task"][key] for key in ("dataset", "config", "seed")]): record[
            "weights_sha256"
        ]
        for record in found
    }


def overlaps(one: tuple[float, float], other: tuple[float, float]) -> bool:
    return one[0] < other[1] and other[0] < one[1]


def same_on_both(folder: Path) -> None:
    from ray.cluster_utils import Cluster

    began_s = time.perf_counter()
    local = sweep(folder, "--out", str(folder / "local"), "--jobs", "2")
    count = len(finished_lines(local))
    print(
        f"plain processes: exit {local.wait()}, {count} tasks, "
        f"{time.perf_counter() - began_s:.0f} s",
        flush=True,
    )

    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": NODE_MEMORY}
    )
    lost = [cluster.add_node(num_cpus=1, object_store_memory=NODE_MEMORY) for _ in range(2)][1]
    out = folder / "ray"
    began_s = time.perf_counter()
    killed = sweep(folder, "--out", str(out), "--ray", cluster.address)
    first = finished_lines(killed, 5)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    kept = len(records(out))
    again = sweep(folder, "--out", str(out), "--ray", cluster.address)
    second = finished_lines(again, 5)
    cluster.remove_node(lost, allow_graceful=False)
    second += finished_lines(again)
    print(
        f"Ray: driver killed after {len(first)} tasks ({kept} kept), "
        f"a node killed after {len(second[:5])} more; "
        f"exit {again.wait()}, {time.perf_counter() - began_s:.0f} s"
    )
    found = records(out)
    print(
        f"Ray: {len(found)} of {count} tasks kept; "
        f"finished and kept twice: {kept + len(second) - len(found)}"
    )
    print(f"the same models: {models(folder / 'local') == models(out)} ({len(models(out))})")
    clocks_of(found)
    cluster.shutdown()


def measuring_on_boards(folder: Path) -> None:
    """Two of three nodes are boards; the third trains while they measure."""
    from ray.cluster_utils import Cluster

    (folder / "spec.toml").write_text(
        SPEC.replace("epochs = 1", "epochs = 20") + 'devices = ["board"]\n', encoding="utf8"
    )
    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": NODE_MEMORY}
    )
    for _ in range(2):
        cluster.add_node(num_cpus=1, object_store_memory=NODE_MEMORY, resources={"board": 1})
    driver = sweep(folder, "--out", str(folder / "boards"), "--ray", cluster.address)
    print(f"two boards of three nodes: {len(finished_lines(driver))} tasks, exit {driver.wait()}")
    clocks_of(records(folder / "boards"))
    cluster.shutdown()


def clocks_of(found: list[dict]) -> None:
    measured = [record for record in found if record["task"]["kind"] == "measure"]
    spans = [(record["measured_from_s"], record["measured_until_s"]) for record in measured]
    both = sum(overlaps(one, other) for one, other in itertools.combinations(spans, 2))
    print(
        f"measurements: {len(spans)} on {len({record['node'] for record in measured})} nodes, "
        f"overlapping pairs: {both}"
    )
    beside = {True: 0, False: 0}
    for record in found:
        if record["task"]["kind"] == "train":
            for other, span in zip(measured, spans, strict=True):
                if overlaps((record["started_s"], record["ended_s"]), span):
                    beside[record["node"] == other["node"]] += 1
    print(
        f"trainings beside a measurement: {beside[False]} on other nodes, "
        f"{beside[True]} on its own",
        flush=True,
    )


def empty(task: Task, weights: bytes) -> Done:
    """A task that does nothing but the overhead."""
    return Done(task, {})


def overhead() -> None:
    from ray.cluster_utils import Cluster

    print("\n| empty tasks | plain processes, ms each | Ray, 3 nodes, ms each |\n|---|---|---|")
    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 2, "object_store_memory": NODE_MEMORY}
    )
    for _ in range(2):
        cluster.add_node(num_cpus=2, object_store_memory=NODE_MEMORY)
    run_ray.connect(cluster.address)
    warm = [Task("train", "none", "0", "t1", seed, 1) for seed in range(20)]
    list(run_ray.run(warm, empty, lambda training: b""))  # its processes have started
    for count in (100, 1_000, 10_000):
        tasks = [Task("train", "none", "0", "t1", seed, 1) for seed in range(count)]
        took = []
        for finished in (
            run_local.run(tasks, empty, lambda training: b"", 2),
            run_ray.run(tasks, empty, lambda training: b""),
        ):
            began_s = time.perf_counter()
            assert sum(1 for _ in finished) == count
            took.append((time.perf_counter() - began_s) / count * 1000)
        print(f"| {count} | {took[0]:.1f} | {took[1]:.1f} |", flush=True)
    import ray

    ray.shutdown()
    cluster.shutdown()


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "spec.toml").write_text(SPEC, encoding="utf8")
        os.environ["PYTEST_ENERGY_LOCK"] = str(folder / "lock")
        os.environ["TSBENCH_CACHE"] = str(folder / "clusters-cache")
        same_on_both(folder)
        measuring_on_boards(folder)
    overhead()


if __name__ == "__main__":
    main()
