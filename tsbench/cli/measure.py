"""The command `tsbench measure`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from rich.console import Console

from pytest_energy import EnergyError, open_meter
from tsbench import measure, variants
from tsbench.cli.arguments import Commands, add_data_folder, positive, positive_seconds
from tsbench.errors import TsbenchError


def add(commands: Commands) -> None:
    """Adds the command."""
    command = commands.add_parser(
        "measure", help="compare variants of one model with stock fp32: joules, time, accuracy"
    )
    command.add_argument("dataset", metavar="DATASET", help="for example PLAID")
    command.add_argument("config", metavar="CONFIG", help="for example t1, t2 or student")
    command.add_argument(
        "--variant", nargs="+", required=True, metavar="NAME", help="see `tsbench variants`"
    )
    command.add_argument(
        "--batch",
        nargs="+",
        type=positive,
        default=[1, 32],
        metavar="CASES",
        help="batch sizes (default 1 32)",
    )
    command.add_argument(
        "--max-time",
        type=positive_seconds,
        default=5.0,
        metavar="SECONDS",
        help="per comparison (default 5)",
    )
    command.add_argument(
        "--meter", default="auto", help="a name from `pytest-energy doctor` (default auto)"
    )
    command.add_argument("--json", type=Path, metavar="FILE", help="also write the rows as JSON")
    add_data_folder(command)
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    for name in options.variant:  # before anything slow
        variants.get(name).check()
    if options.json is not None and not options.json.parent.is_dir():
        raise TsbenchError(f"--json {options.json}: folder {options.json.parent} does not exist")
    console = Console()
    model, data = measure.find_model(options.dataset, options.config, options.data)
    try:
        with open_meter(options.meter) as meter, console.status("") as status:
            rows = measure.measure(
                model,
                data,
                list(dict.fromkeys(options.variant)),
                list(dict.fromkeys(options.batch)),
                options.max_time,
                meter,
                status.update,
            )
    except EnergyError as error:
        raise TsbenchError(str(error)) from None
    config = options.config.lower()
    console.print(
        measure.table(rows, f"{data.name} {config}, against stock eager fp32, one thread")
    )
    if options.json is not None:
        saved = {
            "dataset": data.name,
            "config": config,
            "baseline": measure.BASELINE,
            "rows": [row.as_json() for row in rows],
        }
        options.json.write_text(json.dumps(saved, indent=2) + "\n", encoding="utf8")
    return 0
