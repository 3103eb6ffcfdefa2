"""The command `tsbench`: train models, list what there is."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from tsbench import variants
from tsbench.cli import sweep as sweep_commands
from tsbench.errors import TsbenchError, VariantUnavailable

if TYPE_CHECKING:
    from tsbench.model import ModelConfig
    from tsbench.training.train import EpochReport, Prepared, Recipe, Teacher

USER_ERROR = 2  # argparse's own exit code for a wrong command line
INTERRUPTED = 130  # a shell's code for Ctrl-C
OUTSIDE_TEACHER = "multirocket_hydra"  # rocket.NAME, without loading it
VALIDATION_SHARE = 0.3  # 161 of PLAID's 537 training cases: one is .6 points


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; the exit code, 2 for what the user can put right."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        return options.run(options)
    except TsbenchError as error:
        print(f"tsbench: error: {error}", file=sys.stderr)
        return USER_ERROR
    except KeyboardInterrupt:
        print("tsbench: stopped; the same command goes on from here", file=sys.stderr)
        return INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tsbench", description="Time-series transformers, and ways of compressing them."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    train = commands.add_parser("train", help="train a model, or take it from the cache")
    train.add_argument("dataset", metavar="DATASET", help="for example PLAID")
    train.add_argument("config", metavar="CONFIG", help="t1, t2, student or windows")
    train.add_argument("--seed", type=int, help="of initial weights and of shuffling (default 0)")
    train.add_argument("--epochs", type=_positive, help="instead of the dataset's own number")
    train.add_argument(
        "--validate",
        action="store_true",
        help=f"hold {VALIDATION_SHARE:.0%}% of the training cases out and report accuracy on them",
    )
    train.add_argument(
        "--patience",
        type=_positive,
        metavar="EPOCHS",
        help="with --validate: stop after so many without a better validation accuracy",
    )
    train.add_argument(
        "--teacher",
        metavar="TEACHER",
        help=f"what to distil from: a .safetensors file, or {OUTSIDE_TEACHER}",
    )
    train.add_argument(
        "--tsbench-data",
        "--data",
        type=Path,
        metavar="FOLDER",
        dest="data",
        help="where the datasets are (default: TSBENCH_DATA)",
    )
    train.add_argument(
        "--output", type=Path, help="a .safetensors file; a model card goes beside it"
    )
    train.set_defaults(run=_train)
    seeds = commands.add_parser(
        "seeds", help="train with several seeds: mean accuracy, spread, cost"
    )
    seeds.add_argument("dataset", metavar="DATASET")
    seeds.add_argument(
        "configs", metavar="CONFIG", nargs="+", help="t1, t2, student or windows; two are compared"
    )
    seeds.add_argument(
        "--seeds", type=_positive, default=3, metavar="N", help="how many (default 3)"
    )
    seeds.add_argument(
        "--variant",
        metavar="VARIANT",
        nargs="+",
        default=[],
        help="the accuracy of these variants of each model, too",
    )
    seeds.add_argument("--tsbench-data", "--data", type=Path, metavar="FOLDER", dest="data")
    seeds.set_defaults(run=_seeds)
    models = commands.add_parser("models", help="list the models that come with tsbench")
    models.set_defaults(run=_models)
    listing = commands.add_parser("variants", help="list the ways of compressing a model")
    listing.set_defaults(run=_variants)
    measuring = commands.add_parser(
        "measure", help="variants of one model against stock fp32: joules, time, accuracy"
    )
    measuring.add_argument("dataset", metavar="DATASET", help="for example PLAID")
    measuring.add_argument("config", metavar="CONFIG", help="t1, t2 or student")
    measuring.add_argument(
        "--variant", nargs="+", required=True, metavar="NAME", help="see `tsbench variants`"
    )
    measuring.add_argument(
        "--batch",
        nargs="+",
        type=_positive,
        default=[1, 32],
        metavar="CASES",
        help="batch sizes (default 1 32)",
    )
    measuring.add_argument(
        "--max-time",
        type=_seconds,
        default=5.0,
        metavar="SECONDS",
        help="for each comparison (default 5)",
    )
    measuring.add_argument(
        "--meter", default="auto", help="a name from `pytest-energy doctor` (default auto)"
    )
    measuring.add_argument("--json", type=Path, metavar="FILE", help="write the same as JSON")
    measuring.add_argument("--tsbench-data", "--data", type=Path, metavar="FOLDER", dest="data")
    measuring.set_defaults(run=_measure)
    sweep_commands.add(commands)
    return parser


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {value}")
    return value


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be more than 0 seconds, got {text}")
    return value


def _train(options: argparse.Namespace) -> int:
    from tsbench import checkpoints
    from tsbench.data import datasets
    from tsbench.model import config_for, parameter_count
    from tsbench.training.evaluate import accuracy, batched_logits
    from tsbench.training.modelcard import write_card
    from tsbench.training.recipes import plan_for, recipe_for
    from tsbench.training.train import (
        about_training,
        cached_path,
        prepare,
        teacher_sha256,
        train_cached,
    )

    if options.output is not None and options.output.suffix != ".safetensors":
        raise TsbenchError(f"--output must end in .safetensors, got {options.output}")
    if options.patience is not None and not options.validate:
        raise TsbenchError("--patience needs --validate: early stopping looks at cases held out")
    console = Console()
    with _download_bar(console) as on_bytes:
        dataset = datasets.load(options.dataset, options.data, on_bytes)
    for note in dataset.notes:
        console.print(f"{dataset.name}: {note}", highlight=False, markup=False)
    plan = plan_for(dataset)
    changes = {"seed": options.seed, "epochs": options.epochs, "patience": options.patience}
    recipe = replace(
        recipe_for(dataset.name, options.config),
        validation_share=VALIDATION_SHARE if options.validate else 0.0,
        **{key: value for key, value in changes.items() if value is not None},
    )
    config = config_for(options.config, 2 * dataset.channels, plan.timepoints, len(dataset.classes))
    data = prepare(dataset, plan.timepoints)
    teacher = None
    if options.teacher is not None:
        teacher = _teacher(options.teacher, data, config, recipe, console)
        recipe = replace(recipe, teacher_sha256=teacher_sha256(teacher))
    with _progress(console, recipe.epochs) as on_epoch:
        result = train_cached(data, config, recipe, on_epoch, teacher)
    cost = f"{result.cpu_seconds:.0f} CPU-seconds"
    if result.joules is not None:
        cost += f", {result.joules:.0f} J {result.provenance}"
    took = f"from the cache, trained in {cost}" if result.cached else cost
    console.print(
        f"{data.name} {options.config}: {parameter_count(result.model)} parameters, {took}",
        highlight=False,
        soft_wrap=True,
    )
    if options.validate:
        # The test accuracy stays unseen while a recipe is being chosen.
        console.print(f"validation accuracy {result.validation_accuracy:.4f}", highlight=False)
    else:
        test_accuracy = accuracy(batched_logits(result.model, data.test_x), data.test_y)
        console.print(f"test accuracy {test_accuracy:.4f}", highlight=False)
    console.print(str(cached_path(data, config, recipe)), highlight=False, soft_wrap=True)
    if options.output is not None:
        about = about_training(data, result)
        checkpoints.save(options.output, result.model, about)
        if not options.validate:
            write_card(options.output, options.config, data, test_accuracy)
    return 0


def _teacher(
    named: str, data: Prepared, config: ModelConfig, recipe: Recipe, console: Console
) -> Teacher:
    import numpy as np

    from tsbench import checkpoints
    from tsbench.training import rocket

    if named == OUTSIDE_TEACHER:
        rocket.require()
        with console.status(f"{named} answers the training cases"):
            answers = rocket.answers(data, recipe)
        asked = ~np.isnan(answers[:, 0])
        right = (answers[asked].argmax(axis=1) == data.train_y[asked]).mean()
        console.print(
            f"{named}: {right:.4f} of the training cases right, each by a model without that case",
            highlight=False,
        )
        return answers
    path = Path(named)
    teacher = checkpoints.load(path).model
    for name in ("in_channels", "timepoints", "n_classes"):
        theirs, ours = getattr(teacher.config, name), getattr(config, name)
        if theirs != ours:
            raise TsbenchError(
                f"--teacher {path}: its {name} is {theirs}, this dataset needs {ours}"
            )
    return teacher


def _seeds(options: argparse.Namespace) -> int:
    from tsbench import seeds

    for name in options.variant:  # before minutes of training
        variants.get(name).check()
    made = [
        seeds.run(options.dataset, config, options.seeds, options.data)
        for config in options.configs
    ]
    console = Console()
    for cells in (seeds.HEADINGS, ("---",) * len(seeds.HEADINGS), *(each.row() for each in made)):
        console.print(f"| {' | '.join(cells)} |", highlight=False, markup=False, soft_wrap=True)
    if options.seeds > 1:
        for other in made[1:]:
            value, low, high = seeds.difference(made[0], other)
            console.print(
                f"{other.config} less {made[0].config}: {value:+.4f} "
                f"[{low:+.4f}, {high:+.4f}], {seeds.CONFIDENCE:.0%} over seeds",
                highlight=False,
                markup=False,
            )
    for each in made if options.variant else ():
        console.print(f"\nVariants of {each.config}:\n", highlight=False)
        for cells in (seeds.VARIANT_HEADINGS, ("---",) * len(seeds.VARIANT_HEADINGS)):
            console.print(f"| {' | '.join(cells)} |", highlight=False, markup=False, soft_wrap=True)
        for cells in seeds.variant_rows(each, options.dataset, options.variant, options.data):
            console.print(f"| {' | '.join(cells)} |", highlight=False, markup=False, soft_wrap=True)
    return 0


def _models(options: argparse.Namespace) -> int:
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


def _variants(options: argparse.Namespace) -> int:
    """Nothing is imported to find out what is there: torch alone would take seconds."""
    from tsbench import requirements

    table = Table("variant", "what it is", "libraries")
    missing: dict[str, None] = {}  # what to install, once each
    for name in variants.names():
        try:
            variant = variants.get(name)
        except VariantUnavailable as error:
            table.add_row(name, f"not usable: {error.reason}", error.remedy)
            continue
        lines = []
        for library in variant.needs:
            version = requirements.found(library)
            lines.append(f"{library} {version or 'missing'}")
            if version is None:
                missing[f"{library}: {requirements.remedy(library)}"] = None
        table.add_row(name, variant.summary, "\n".join(lines))
    console = Console()
    console.print(table)
    for line in missing:
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    return 0


def _measure(options: argparse.Namespace) -> int:
    from pytest_energy import EnergyError, open_meter
    from tsbench import measure

    for name in options.variant:  # before seconds go by
        variants.get(name).check()
    if options.json is not None and not options.json.parent.is_dir():
        raise TsbenchError(f"--json {options.json}: there is no folder {options.json.parent}")
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
    console.print(
        measure.table(
            rows, f"{data.name} {options.config.lower()}, against stock eager fp32, one thread"
        )
    )
    if options.json is not None:
        found = {
            "dataset": data.name,
            "config": options.config.lower(),
            "baseline": measure.BASELINE,
            "rows": [row.as_json() for row in rows],
        }
        options.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf8")
    return 0


@contextmanager
def _download_bar(console: Console) -> Iterator[Callable[[int, int | None], None]]:
    """A bar that appears with the first byte of a download."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("download"), DownloadColumn(), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("download", total=None, visible=False)
        yield lambda done, total: bar.update(task, completed=done, total=total, visible=True)


@contextmanager
def _progress(console: Console, n_epochs: int) -> Iterator[Callable[[EpochReport], None]]:
    """A bar with loss, validation accuracy and time left; off a terminal, a line now and then."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("epoch"),
        MofNCompleteColumn(),
        BarColumn(),
        TextColumn("loss {task.fields[loss]}  validation {task.fields[validation]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("train", total=n_epochs, loss="-", validation="-")
        seen: list[int] = []

        def on_epoch(report: EpochReport) -> None:
            validation = (
                "-" if report.validation_accuracy is None else f"{report.validation_accuracy:.3f}"
            )
            if not seen and report.epoch > 1:
                console.print(f"going on after epoch {report.epoch - 1}", highlight=False)
            seen.append(report.epoch)
            bar.update(
                task, completed=report.epoch, loss=f"{report.loss:.3f}", validation=validation
            )
            if not console.is_terminal and (report.epoch % 10 == 0 or report.epoch == n_epochs):
                console.print(
                    f"epoch {report.epoch}/{n_epochs}  loss {report.loss:.3f}  validation {validation}",
                    highlight=False,
                )

        yield on_epoch


if __name__ == "__main__":
    sys.exit(main())
