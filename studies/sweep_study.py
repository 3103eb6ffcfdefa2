"""The sweep's promises on a Ray cluster of three nodes on this machine, and a task's overhead::

    python -m studies.sweep_study [same] [boards] [large] [overhead]

same: 12 trainings, 12 builds and 12 measurements with plain processes. Then on Ray, where the
driver is killed half-way and restarted, and a node is killed: the same models, everything done, no
task twice. By the readings' clocks: no two measurements overlap, and trainings run beside them.
boards: two of three nodes measure, and the third trains meanwhile.
large: 4 sets x 2 configs x 3 seeds x 4 variants on Ray, and a node is killed. Everything is done,
no task twice, nothing is built while the lock is held, and the forecasts beside the actual time.
overhead: empty tasks, up to 10 000.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tsbench.sweep import ray_cluster, run_local, run_ray
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
# As many combinations as a real sweep, of models that train in a second.
LARGE = """
datasets = ["synthetic:timepoints=64,cases=30", "synthetic:timepoints=96,cases=30,seed=1",
            "synthetic:timepoints=128,cases=30,seed=2", "PLAID"]
configs = ["student", "statistics"]
seeds = [0, 1, 2]
epochs = 1
variants = ["fp32", "int8_dynamic", "onnx_int8_dynamic", "onnx_fp32"]
batches = [1]
max_time_s = 0.5
meter = "estimate"
"""
SETTLED, LATE = 0.25, 0.9  # of the tasks: forecasts have seen each kind; few tasks are left
LIMIT_S = 600.0
NODE_MEMORY = 80 * 2**20
FINISHED = re.compile(r"\d+/(?P<all>\d+) (?P<task>(train|build|measure) .*), (?P<left>.* left)")


@dataclass(frozen=True)
class Line:
    """A finished task as the command prints it, and when it did."""

    task: str
    left: str
    at_s: float


def cluster_of_head(cpus: int) -> Any:
    """A cluster on this machine, so far of its head only."""
    from ray.cluster_utils import Cluster

    return Cluster(
        initialize_head=True, head_node_args={"num_cpus": cpus, "object_store_memory": NODE_MEMORY}
    )


def sweep(folder: Path, *options: str, spec: str = "spec.toml") -> subprocess.Popen[str]:
    """The command, as a user runs it. What it prints about errors goes to a file."""
    command = [sys.executable, "-m", "tsbench", "sweep", str(folder / spec), *options]
    # A cache of its own: on Ray the workers have the cluster's, and train anew.
    environment = {
        **os.environ,
        "PYTHONUNBUFFERED": "1",
        "TSBENCH_CACHE": str(folder / "drivers-cache"),
    }
    with (folder / "errors").open("ab") as errors:
        return subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment
        )


def finished_lines(driver: subprocess.Popen[str], at_most: int | None = None) -> list[Line]:
    """The lines of finished tasks, all of them or the first few."""
    assert driver.stdout is not None
    found = (FINISHED.match(line) for line in driver.stdout)
    lines = (Line(each["task"], each["left"], time.monotonic()) for each in found if each)
    return list(itertools.islice(lines, at_most))


def forecast_ratios(lines: list[Line]) -> list[float]:
    """The time that each line forecast, by the time that the rest took."""
    units = {"s": 1.0, "min": 60.0, "h": 3600.0}
    ratios = []
    for line in lines:
        number, unit = re.findall(r"([\d.]+) (s|min|h)\b", line.left)[0]
        took_s = lines[-1].at_s - line.at_s
        if took_s > 0:
            ratios.append(float(number) * units[unit] / took_s)
    return ratios


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
    began_s = time.perf_counter()
    local = sweep(folder, "--out", str(folder / "local"), "--jobs", "2")
    count = len(finished_lines(local))
    print(
        f"plain processes: exit {local.wait()}, {count} tasks, "
        f"{time.perf_counter() - began_s:.0f} s",
        flush=True,
    )

    cluster = cluster_of_head(1)
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
    (folder / "spec.toml").write_text(
        SPEC.replace("epochs = 1", "epochs = 20") + 'devices = ["board"]\n', encoding="utf8"
    )
    cluster = cluster_of_head(1)
    for _ in range(2):
        cluster.add_node(num_cpus=1, object_store_memory=NODE_MEMORY, resources={"board": 1})
    driver = sweep(folder, "--out", str(folder / "boards"), "--ray", cluster.address)
    print(f"two boards of three nodes: {len(finished_lines(driver))} tasks, exit {driver.wait()}")
    clocks_of(records(folder / "boards"))
    cluster.shutdown()


def large(folder: Path) -> None:
    """A sweep of 144 tasks, while a node is lost."""
    (folder / "large.toml").write_text(LARGE, encoding="utf8")
    cluster = cluster_of_head(1)
    lost = [cluster.add_node(num_cpus=1, object_store_memory=NODE_MEMORY) for _ in range(2)][1]
    out, errors = folder / "large", folder / "errors"
    errors.unlink(missing_ok=True)
    began_s = time.monotonic()
    driver = sweep(folder, "--out", str(out), "--ray", cluster.address, spec="large.toml")
    lines = finished_lines(driver, 20)
    cluster.remove_node(lost, allow_graceful=False)
    lines += finished_lines(driver)
    print(
        f"large: exit {driver.wait()}, {len(lines)} tasks finished, "
        f"{len({line.task for line in lines})} of them different, {len(records(out))} kept, "
        f"{time.monotonic() - began_s:.0f} s; a node was killed after 20"
    )
    print(f"printed besides: {len(errors.read_bytes())} bytes")
    settled = lines[int(SETTLED * len(lines)) : int(LATE * len(lines))]
    ratios = sorted(forecast_ratios([*settled, lines[-1]]))
    near = sum(1 / 1.5 <= ratio <= 1.5 for ratio in ratios)
    print(
        f"forecasts after {SETTLED:.0%} of the tasks and before {LATE:.0%}, by the actual time "
        "left: "
        f"{ratios[0]:.2f} to {ratios[-1]:.2f}, median {statistics.median(ratios):.2f}, "
        f"{near} of {len(ratios)} within a factor of 1.5"
    )
    clocks_of(records(out))
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
        if record["task"]["kind"] != "measure":
            for other, span in zip(measured, spans, strict=True):
                if overlaps((record["started_s"], record["ended_s"]), span):
                    beside[record["node"] == other["node"]] += 1
    print(
        f"trainings and builds beside a measurement: {beside[False]} on other nodes, "
        f"{beside[True]} on its own",
        flush=True,
    )


def empty(task: Task, inputs: tuple[bytes, ...]) -> Done:
    """A task that does nothing but the overhead."""
    return Done(task, {})


def no_inputs(task: Task) -> tuple[bytes, ...]:
    return ()


def overhead() -> None:
    print("\n| empty tasks | plain processes, ms each | Ray, 3 nodes, ms each |\n|---|---|---|")
    cluster = cluster_of_head(2)
    for _ in range(2):
        cluster.add_node(num_cpus=2, object_store_memory=NODE_MEMORY)
    ray_cluster.connect(cluster.address)
    warm = [Task("train", "none", "0", "t1", seed, 1) for seed in range(20)]
    list(run_ray.run(warm, empty, no_inputs, LIMIT_S))  # its processes have started
    for count in (100, 1_000, 10_000):
        tasks = [Task("train", "none", "0", "t1", seed, 1) for seed in range(count)]
        took = []
        for finished in (
            run_local.run(tasks, empty, no_inputs, 2, LIMIT_S),
            run_ray.run(tasks, empty, no_inputs, LIMIT_S),
        ):
            began_s = time.perf_counter()
            assert sum(1 for _ in finished) == count
            took.append((time.perf_counter() - began_s) / count * 1000)
        print(f"| {count} | {took[0]:.1f} | {took[1]:.1f} |", flush=True)
    import ray

    ray.shutdown()
    cluster.shutdown()


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the parts that are named, or all."""
    parts = {"same": same_on_both, "boards": measuring_on_boards, "large": large}
    parser = argparse.ArgumentParser(prog="python -m studies.sweep_study")
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join((*parts, "overhead")))
    wanted = parser.parse_args(arguments).parts or [*parts, "overhead"]
    if unknown := set(wanted) - {*parts, "overhead"}:
        parser.error(f"unknown part {unknown.pop()!r}; known: {', '.join((*parts, 'overhead'))}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "spec.toml").write_text(SPEC, encoding="utf8")
        os.environ["PYTEST_ENERGY_LOCK"] = str(folder / "lock")
        os.environ["TSBENCH_CACHE"] = str(folder / "clusters-cache")
        for part, run in parts.items():
            if part in wanted:
                run(folder)
    if "overhead" in wanted:
        overhead()


if __name__ == "__main__":
    main()
