"""The commands `tsbench models` and `tsbench variants`."""

from __future__ import annotations

import argparse

from rich.console import Console
from rich.table import Table

from tsbench import requirements, variants
from tsbench.cli.arguments import Commands
from tsbench.errors import VariantUnavailable


def add(commands: Commands) -> None:
    """Adds both commands."""
    models = commands.add_parser("models", help="list the models that tsbench ships")
    models.set_defaults(run=list_models)
    listing = commands.add_parser("variants", help="list the ways of compressing a model")
    listing.set_defaults(run=list_variants)


def list_models(options: argparse.Namespace) -> int:
    from tsbench import checkpoints

    table = Table("model", "layers", "heads", "seed", "KiB", "trained on")
    for path in checkpoints.list_shipped():
        config, about = checkpoints.read_about(path)
        size_kib = path.stat().st_size / 1024
        table.add_row(
            path.stem,
            str(config.n_layers),
            str(config.n_heads),
            str(about["recipe"]["seed"]),
            f"{size_kib:.0f}",
            f"{about['dataset']}, {len(about['classes'])} classes",
        )
    Console().print(table)
    return 0


def list_variants(options: argparse.Namespace) -> int:
    """Imports no library to find its version: torch alone would take seconds."""
    table = Table("variant", "technique", "libraries")
    remedies: dict[str, None] = {}  # in order, each once
    for name in variants.names():
        try:
            variant = variants.get(name)
        except VariantUnavailable as error:
            table.add_row(name, f"unusable: {error.reason}", error.remedy)
            continue
        lines = []
        for library in variant.requirements:
            version = requirements.found(library)
            lines.append(f"{library} {version or 'missing'}")
            if version is None:
                remedies[f"{library}: {requirements.remedy(library)}"] = None
        table.add_row(name, variant.summary, "\n".join(lines))
    console = Console()
    console.print(table)
    for line in remedies:
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    return 0
