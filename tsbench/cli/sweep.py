"""The command `tsbench sweep`."""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.console import Console

from tsbench.cli.arguments import Commands
from tsbench.cli.exit_codes import NOT_DONE, OK
from tsbench.errors import TsbenchError, printable


def add(commands: Commands) -> None:
    """Adds the command."""
    command = commands.add_parser(
        "sweep", help="train and measure every combination of a spec, here or on Ray"
    )
    command.add_argument("spec", type=Path, metavar="SPEC", help="a TOML file")
    command.add_argument(
        "--ray", metavar="ADDRESS", help="a Ray cluster (default: this machine alone)"
    )
    command.add_argument(
        "--out",
        default="sweep",
        metavar="FOLDER",
        help="the results' folder, or a URL that fsspec knows (default sweep)",
    )
    command.add_argument("--dry-run", action="store_true", help="print the forecast and stop")
    command.add_argument(
        "--jobs",
        type=int,
        choices=range(1, 257),
        default=1,
        metavar="N",
        help="trainings and builds at once (default 1)",
    )
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from tsbench.sweep import ray_cluster, run_local, run_ray, spec, task
    from tsbench.sweep.forecast import Capacity, Durations, TimeLeft, forecast
    from tsbench.sweep.results import Results

    console = Console()
    wanted = spec.read(options.spec)
    results = Results(options.out)
    tasks, unreadable = task.expand(wanted)
    for reason in unreadable:
        _print(console, f"left out: {printable(reason)}")
    elsewhere = [device for device in wanted.devices if device != spec.HERE]
    capacity = Capacity(options.jobs, cpus_of_node=options.jobs)
    if options.ray:
        ray_cluster.connect(options.ray)
        ray_cluster.check_devices(tasks)
        capacity = ray_cluster.capacity(tasks)
    elif elsewhere and wanted.variants:
        raise TsbenchError(
            f"device {elsewhere[0]!r}: without --ray ADDRESS the only device is {spec.HERE!r}"
        )
    left = task.still_to_do(tasks, results.finished(tasks))
    records = list(results.records())
    for line in forecast(tasks, left, records, capacity):
        _print(console, line)
    if options.dry_run:
        return NOT_DONE if unreadable else OK
    time_left = TimeLeft(left, Durations(records), capacity)
    if options.ray:
        finished = run_ray.run(left, task.execute, results.inputs, wanted.task_limit_s, options.ray)
    else:
        finished = run_local.run(
            left, task.execute, results.inputs, options.jobs, wanted.task_limit_s
        )
    failures = 0
    for count, done in enumerate(finished, 1):
        if isinstance(done, task.Failed):
            failures += 1
            time_left.finish(done.task)
            _print(console, f"{count}/{len(left)} FAILED {done.task}: {printable(done.reason)}")
            continue
        results.save(done)
        time_left.finish(done.task, done.record)
        _print(console, f"{count}/{len(left)} {done.task}, {time_left}")
    if failures:
        _print(
            console,
            f"{failures} of {len(left)} tasks failed; run the command again to retry only those",
        )
    return NOT_DONE if failures or unreadable else OK


def _print(console: Console, line: str) -> None:
    console.print(line, highlight=False, markup=False, soft_wrap=True)
