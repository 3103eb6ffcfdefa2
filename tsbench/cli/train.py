"""The command `tsbench train`."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from tsbench.cli.arguments import Commands, add_data_folder, positive
from tsbench.errors import TsbenchError

if TYPE_CHECKING:
    from tsbench.data.prepared import Prepared
    from tsbench.model import ModelConfig
    from tsbench.training.recipes import Recipe
    from tsbench.training.train import EpochReport, Teacher

OUTSIDE_TEACHER = "multirocket_hydra"  # rocket.NAME, without importing it
VALIDATION_SHARE = 0.3  # 161 of PLAID's 537 training cases: one case is 0.6 points


def add(commands: Commands) -> None:
    """Adds the command."""
    command = commands.add_parser("train", help="train a model, or load it from the cache")
    command.add_argument("dataset", metavar="DATASET", help="for example PLAID")
    command.add_argument(
        "config", metavar="CONFIG", help="t1, t2, t1_2024, t2_2024, student, t1_half or statistics"
    )
    command.add_argument("--seed", type=int, help="of weights and shuffling (default 0)")
    command.add_argument("--epochs", type=positive, help="instead of the recipe's")
    command.add_argument(
        "--validate",
        action="store_true",
        help=f"hold out {VALIDATION_SHARE:.0%}% of the training cases and print accuracy on them",
    )
    command.add_argument(
        "--patience",
        type=positive,
        metavar="EPOCHS",
        help="with --validate: stop after this many epochs without improvement",
    )
    command.add_argument(
        "--teacher",
        metavar="TEACHER",
        help=f"distil from a .safetensors file, or from {OUTSIDE_TEACHER}",
    )
    add_data_folder(command)
    command.add_argument(
        "--output", type=Path, help="a .safetensors file; a model card is written beside it"
    )
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from tsbench import checkpoints
    from tsbench.data import datasets
    from tsbench.model import parameter_count
    from tsbench.threads import one_thread
    from tsbench.training.evaluate import accuracy, batched_logits
    from tsbench.training.load_or_train import (
        about_training,
        cached_path,
        config_of,
        load_or_train,
        teacher_sha256,
        train_by_plan,
    )
    from tsbench.training.modelcard import write_card
    from tsbench.training.recipes import plan_of, prepare_by_plan

    if options.output is not None and options.output.suffix != ".safetensors":
        raise TsbenchError(f"--output must end in .safetensors, got {options.output}")
    if options.patience is not None and not options.validate:
        raise TsbenchError("--patience requires --validate: early stopping uses held-out cases")
    console = Console()
    with _download_bar(console) as on_bytes:
        dataset = datasets.load(options.dataset, options.data, on_bytes)
    data = prepare_by_plan(dataset)
    for note in (*dataset.notes, *data.notes):
        console.print(f"{dataset.name}: {note}", highlight=False, markup=False)
    plan = plan_of(dataset.name)
    changes = {"seed": options.seed, "epochs": options.epochs, "patience": options.patience}
    recipe = replace(
        plan.recipe_for(options.config),
        validation_share=VALIDATION_SHARE if options.validate else 0.0,
        **{key: value for key, value in changes.items() if value is not None},
    )
    config = config_of(data, options.config)
    teacher: Teacher | None = None
    if options.teacher is not None:
        teacher = _teacher(options.teacher, data, config, recipe, console)
    elif plan.teacher_for(options.config):
        if options.validate:
            raise TsbenchError(
                f"--validate {options.config}: its teacher, {plan.teacher_for(options.config)}, "
                f"knows the cases held out; give one trained with --validate by --teacher FILE"
            )
        teacher = train_by_plan(
            data, plan.teacher_for(options.config), recipe.seed, options.epochs
        ).model
    if teacher is not None:
        recipe = replace(recipe, teacher_sha256=teacher_sha256(teacher))
    with _progress(console, recipe.epochs) as on_epoch:
        result = load_or_train(data, config, recipe, on_epoch, teacher)
    cost = f"{result.cpu_seconds:.0f} CPU-seconds"
    if result.joules is not None:
        cost += f", {result.joules:.0f} J {result.provenance}"
    cost = f"from the cache, trained in {cost}" if result.cached else cost
    console.print(
        f"{data.name} {options.config}: {parameter_count(result.model)} parameters, {cost}",
        highlight=False,
        soft_wrap=True,
    )
    if options.validate:
        # Whoever chooses a recipe must not see the test accuracy.
        console.print(f"validation accuracy {result.validation_accuracy:.4f}", highlight=False)
    else:
        with one_thread():  # beside other programs, torch's pool waits for a CPU at each operator
            logits = batched_logits(result.model, data.test_x)
        test_accuracy = accuracy(logits, data.test_y)
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
        with console.status(f"{named} predicts the training cases"):
            answers = rocket.answers(data, recipe)
        answered = ~np.isnan(answers[:, 0])
        right = (answers[answered].argmax(axis=1) == data.train_y[answered]).mean()
        console.print(
            f"{named}: accuracy {right:.4f} on training cases, each predicted by a model that did "
            f"not train on it",
            highlight=False,
        )
        return answers
    path = Path(named)
    teacher = checkpoints.load(path).model
    for name in ("in_channels", "timepoints", "n_classes"):
        theirs, ours = getattr(teacher.config, name), getattr(config, name)
        if theirs != ours:
            raise TsbenchError(f"--teacher {path}: its {name} is {theirs}, this dataset has {ours}")
    return teacher


@contextmanager
def _download_bar(console: Console) -> Iterator[Callable[[int, int | None], None]]:
    """A progress bar that appears with the first byte of a download."""
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
                console.print(f"resuming after epoch {report.epoch - 1}", highlight=False)
            seen.append(report.epoch)
            bar.update(
                task, completed=report.epoch, loss=f"{report.loss:.3f}", validation=validation
            )
            if not console.is_terminal and (report.epoch % 10 == 0 or report.epoch == n_epochs):
                console.print(
                    f"epoch {report.epoch}/{n_epochs}  loss {report.loss:.3f}  "
                    f"validation {validation}",
                    highlight=False,
                )

        yield on_epoch
