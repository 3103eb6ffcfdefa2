"""The commands `tsbench sweep` and `tsbench table`."""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

if TYPE_CHECKING:
    from tsbench.sweep.results import Results
    from tsbench.sweep.task import Task


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the commands to tsbench's own."""
    sweep = commands.add_parser(
        "sweep", help="train and measure every combination of a spec, here or on Ray"
    )
    sweep.add_argument("spec", type=Path, metavar="SPEC", help="a TOML file")
    sweep.add_argument(
        "--ray", metavar="ADDRESS", help="of a Ray cluster; without it, this machine alone"
    )
    sweep.add_argument(
        "--out",
        default="sweep",
        metavar="FOLDER",
        help="of results, or a URL that fsspec knows (default sweep)",
    )
    sweep.add_argument(
        "--dry-run", action="store_true", help="say what there is to do, and do nothing"
    )
    sweep.add_argument(
        "--jobs",
        type=int,
        choices=range(1, 257),
        default=1,
        metavar="N",
        help="trainings at once (default 1)",
    )
    sweep.set_defaults(run=run)
    table = commands.add_parser(
        "table", help="what a sweep found: per device and dataset, which variant wins where"
    )
    table.add_argument("folder", metavar="FOLDER", help="of a sweep's results, or its URL")
    table.add_argument("--markdown", action="store_true", help="as markdown")
    table.add_argument("--html", type=Path, metavar="FILE", help="write it as a page, too")
    table.set_defaults(run=show_table)


def run(options: argparse.Namespace) -> int:
    from tsbench.errors import TsbenchError
    from tsbench.sweep import run_local, run_ray, spec, task
    from tsbench.sweep.results import Results

    console = Console()
    wanted = spec.read(options.spec)
    results = Results(options.out)
    tasks = task.expand(wanted)
    elsewhere = [device for device in wanted.devices if device != spec.HERE]
    if options.ray:
        run_ray.connect(options.ray)
        run_ray.check_devices(tasks)
    elif elsewhere and wanted.variants:
        raise TsbenchError(
            f"device {elsewhere[0]!r}: this machine alone is only {spec.HERE!r}; give a cluster with --ray ADDRESS"
        )
    left = [each for each in tasks if each not in results]
    for line in forecast(tasks, left, results):
        _say(console, line)
    if options.dry_run:
        return 0
    started_s = time.monotonic()
    if options.ray:
        finished = run_ray.run(left, task.execute, results.weights)
    else:
        finished = run_local.run(left, task.execute, results.weights, options.jobs)
    failures = 0
    for count, done in enumerate(finished, 1):
        if isinstance(done, task.Failed):
            failures += 1
            _say(console, f"{count}/{len(left)} FAILED {done.task}: {done.reason}")
            continue
        results.keep(done)
        left_s = (time.monotonic() - started_s) / count * (len(left) - count)
        _say(console, f"{count}/{len(left)} {done.task}, about {_duration(left_s)} left")
    if failures:
        _say(
            console,
            f"{failures} of {len(left)} tasks failed; the same command tries those again, and nothing else",
        )
    return 1 if failures else 0


def show_table(options: argparse.Namespace) -> int:
    from tsbench.sweep import table
    from tsbench.sweep.results import Results

    places = table.places(list(Results(options.folder).records()), options.folder)
    if options.markdown:
        print("\n\n".join([*map(table.markdown, places), *table.remarks(places)]))
    else:
        console = Console()
        for place in places:
            console.print(*table.terminal(place), sep="\n")
        console.print(*table.remarks(places), sep="\n", end="", highlight=False)
    if options.html is not None:
        from tsbench.data import cache

        cache.write_atomically(options.html, table.page(places).encode())
    return 0


def forecast(tasks: Sequence[Task], left: Sequence[Task], results: Results) -> Iterator[str]:
    """How many, how long, how many joules: by what has finished in this folder, and said to be unknown before."""
    trainings = [each for each in left if each.kind == "train"]
    measuring = [each for each in left if each.kind == "measure"]
    yield (
        f"{len(tasks)} tasks, {len(tasks) - len(left)} finished before; left: "
        f"{len(trainings)} trainings, {len(measuring)} measurements"
    )
    if measuring:
        yield f"measuring: {_duration(sum(each.max_time_s * len(each.variants) for each in measuring))} and more, node by node"
    if trainings:
        known = [record for record in results.records() if record["task"]["kind"] == "train"]
        alike = [_alike(each, known) for each in trainings]
        if any(alike):
            seconds = sum(
                statistics.median(record["cpu_seconds"] for record in records)
                for records in alike
                if records
            )
            yield f"training, at a guess by the finished ones: {_duration(seconds)} of CPU, {_joules(alike)}"
        if unknown := sum(not records for records in alike):
            yield f"training: of {unknown} the time and joules are not known before one like it has finished"


def _alike(training: Task, known: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The finished trainings like this one: the same dataset and config, another seed."""
    same = ("dataset", "config", "epochs")
    return [
        record
        for record in known
        if all(record["task"][key] == getattr(training, key) for key in same)
    ]


def _joules(alike: Sequence[Sequence[dict[str, Any]]]) -> str:
    """Measured and estimated apart, and what nobody counted said."""
    totals: dict[str, float] = {}
    for records in alike:
        # A training that went on from another's kept state has a provenance and no joules where the two were counted otherwise.
        counted = [record for record in records if record["joules"] is not None]
        for provenance in {record["provenance"] for record in counted}:
            joules = statistics.median(
                record["joules"] for record in counted if record["provenance"] == provenance
            )
            totals[provenance] = totals.get(provenance, 0.0) + joules
    return (
        ", ".join(f"{joules:.0f} J {provenance}" for provenance, joules in sorted(totals.items()))
        or "joules not counted"
    )


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _say(console: Console, line: str) -> None:
    console.print(line, highlight=False, markup=False, soft_wrap=True)
