"""The sweep on a Ray cluster on this machine, of which a node is lost; and where tasks go."""

from __future__ import annotations

import json
import socket
import time
from dataclasses import replace

import pytest

from tsbench.cli import main
from tsbench.errors import TsbenchError
from tsbench.sweep import ray_cluster, run_ray
from tsbench.sweep.forecast import Capacity
from tsbench.sweep.ray_cluster import Node
from tsbench.sweep.run_ray import Running, place
from tsbench.sweep.task import Done, Failed, Task

TRAININGS = [Task("train", "a", "0", "t1", seed, 1) for seed in range(8)]
MEASURING = [
    replace(task, kind="measure", device="any", variants=("fp32",), batch_cases=1)
    for task in TRAININGS[:4]
]
BUILDS = [task.needs[1] for task in MEASURING]


def node(name, cpus=2, **devices):
    return Node(name, {"CPU": float(cpus), **devices})


def test_trainings_fill_the_cpus_and_no_more():
    placed = place([node("a"), node("b", 1)], [], TRAININGS, [])
    assert [each.node_id for each in placed] == ["a", "a", "b"]
    assert [each.task for each in placed] == TRAININGS[:3]


def test_a_node_that_measures_gets_nothing_else_and_the_others_train():
    placed = place([node("a"), node("b")], MEASURING[:1], TRAININGS, [Running(TRAININGS[7], "a")])
    assert placed[0] == Running(MEASURING[0], "b")  # it has nothing to wait for
    assert [each.node_id for each in placed[1:]] == ["a"]
    measuring = [Running(MEASURING[0], "b"), Running(TRAININGS[0], "a"), Running(TRAININGS[1], "a")]
    assert place([node("a"), node("b")], [], TRAININGS, measuring) == []


def test_a_measurement_does_not_wait_behind_trainings():
    """A full node gets a measurement: Ray starts it after the running tasks, and gets no more."""
    busy = [Running(task, "a") for task in TRAININGS[:2]]
    assert place([node("a")], MEASURING[:2], TRAININGS[2:], busy) == [Running(MEASURING[0], "a")]


def test_a_device_is_measured_on_a_node_that_has_it():
    on_a_board = replace(MEASURING[0], device="jetson-orin")
    assert place([node("a"), node("b", **{"jetson-orin": 1.0})], [on_a_board], [], []) == [
        Running(on_a_board, "b")
    ]
    assert place([node("a")], [on_a_board], [], []) == []


def test_a_build_is_done_where_it_will_be_measured():
    on_a_board = replace(BUILDS[0], device="jetson-orin")
    nodes = [node("a", 1), node("b", 1, **{"jetson-orin": 1.0})]
    assert place(nodes[:1], [], [on_a_board, TRAININGS[1]], []) == [Running(TRAININGS[1], "a")]
    placed = place(nodes, [], [on_a_board, TRAININGS[1]], [])
    assert placed == [Running(on_a_board, "b"), Running(TRAININGS[1], "a")]


def test_an_address_without_a_cluster_is_one_line(tmp_path, capsys):
    pytest.importorskip("ray", reason="ray is not installed: pip install 'tsbench[ray]'")
    spec = tmp_path / "spec.toml"
    spec.write_text(
        'datasets = ["synthetic:timepoints=32,cases=6"]\nconfigs = ["student"]\nepochs = 1\n'
    )
    for address in ("127.0.0.1:1", "ray://127.0.0.1:1", "127.0.0.1:nonsense"):
        assert main(["sweep", str(spec), "--ray", address, "--out", str(tmp_path / "out")]) == 2
        error = capsys.readouterr().err
        assert f"--ray {address}: no cluster answers" in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_lost_head_ends_the_sweep_in_one_line():
    with socket.create_server(("127.0.0.1", 0)) as head:
        address = f"ray://127.0.0.1:{head.getsockname()[1]}"
        ray_cluster.require_head(address)
    ray_cluster.require_head("auto")
    with pytest.raises(TsbenchError, match=r"the cluster at ray://127\.0\.0\.1:\d+ no longer"):
        list(run_ray.run(TRAININGS, Done, lambda task: (), 1.0, address))


@pytest.mark.parametrize(
    ("nodes", "devices", "found"),
    [
        ([node("a"), node("b", 4)], ("any",), Capacity(6, 2, 3.0)),
        ([node("a"), node("b", 4, board=1.0)], ("board",), Capacity(6, 1, 4.0)),
        ([node("a")], (), Capacity(2, 1, 2.0)),
        ([node("a", 0)], (), Capacity(1, 1, 0.0)),
    ],
)
def test_the_capacity_is_what_the_nodes_can_do_at_once(monkeypatch, nodes, devices, found):
    monkeypatch.setattr(ray_cluster, "alive_nodes", lambda: nodes)
    tasks = [*TRAININGS, *(replace(MEASURING[0], device=device) for device in devices)]
    assert ray_cluster.capacity(tasks) == found


@pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::FutureWarning", "ignore::DeprecationWarning"
)
@pytest.mark.slow
def test_a_node_is_lost_and_every_task_is_done_once():
    ray = pytest.importorskip("ray", reason="ray is not installed: pip install 'tsbench[ray]'")
    from ray.cluster_utils import Cluster

    def execute(task, inputs):
        import ray

        began_s = time.monotonic()
        time.sleep(300 if task.seed == 5 else 0.3)
        if task.seed == 6 or (task.kind == "build" and task.seed == 3):
            raise ValueError("no luck")
        here = ray.get_runtime_context().get_node_id()
        return Done(
            task,
            {
                "node": here,
                "from_s": began_s,
                "until_s": time.monotonic(),
                "inputs": [each.decode() for each in inputs],
            },
        )

    def inputs_of(task):
        return tuple(str(need).encode() for need in task.needs)

    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": 80 * 2**20}
    )
    measuring = [*MEASURING, *(replace(task, device="board") for task in MEASURING[:2])]
    tasks = [*TRAININGS, *(task.needs[1] for task in measuring), *measuring]
    try:
        cluster.add_node(num_cpus=1, object_store_memory=80 * 2**20, resources={"board": 1})
        lost = cluster.add_node(num_cpus=2, object_store_memory=80 * 2**20)
        ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
        with pytest.raises(
            TsbenchError,
            match=r"device 'toaster': no node of the cluster has it; it has board$",
        ):
            ray_cluster.check_devices([replace(MEASURING[0], device="toaster")])
        assert ray_cluster.capacity(tasks) == Capacity(4, 3, 4 / 3)
        kept = []
        for done in run_ray.run(tasks, execute, inputs_of, 45.0):
            kept.append(done)
            if len(kept) == 3:
                cluster.remove_node(lost, allow_graceful=False)
    finally:
        ray.shutdown()
        cluster.shutdown()
    assert {done.task for done in kept} == set(tasks) and len(kept) == len(tasks)
    assert {str(done.task): done.reason for done in kept if isinstance(done, Failed)} == {
        str(TRAININGS[5]): "it took more than 45 s and was ended; set task_limit_s in the spec",
        str(TRAININGS[6]): "ValueError: no luck",
        str(BUILDS[3]): "ValueError: no luck",
        str(MEASURING[3]): f"a task that it needs failed: {BUILDS[3]}",
    }
    records = [(done.task, done.record) for done in kept if isinstance(done, Done)]
    assert all(record["inputs"] == [str(need) for need in task.needs] for task, record in records)
    assert len({record["node"] for _, record in records}) >= 2
    for task, record in records:
        if task.kind == "measure":
            beside = [
                other
                for of, other in records
                if of != task and other["node"] == record["node"]
                and other["from_s"] < record["until_s"] and record["from_s"] < other["until_s"]
            ]  # fmt: skip
            assert beside == [], json.dumps([record, beside])
