"""The command `tsbench table`."""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.console import Console

from tsbench.cli.arguments import Commands


def add(commands: Commands) -> None:
    """Adds the command."""
    command = commands.add_parser(
        "table", help="print a sweep's results per device and dataset, with the best variants"
    )
    command.add_argument("folder", metavar="FOLDER", help="a sweep's --out: a folder or a URL")
    command.add_argument("--markdown", action="store_true", help="print Markdown")
    command.add_argument("--html", type=Path, metavar="FILE", help="also write a page")
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from tsbench.data import cache
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
        cache.write_atomically(options.html, table.page(places).encode())
    return 0
