"""The command `tsbench compress`: what makes an .onnx file cheaper, and at what price."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from pytest_energy import EnergyError, open_meter
from tsbench import compression, measure, variants
from tsbench.cli.arguments import Commands, positive, positive_seconds, share
from tsbench.compression.agreement import FLOOR
from tsbench.errors import TsbenchError

if TYPE_CHECKING:
    from torch import Tensor

BATCH_CASES = 32  # of a model that takes any number
CALIBRATION_CASES = 256


def add(commands: Commands) -> None:
    """Adds the command."""
    command = commands.add_parser(
        "compress",
        help="apply every technique to an .onnx file: joules, time, size, agreement",
        description="Applies every technique to an .onnx file in fp32, compares each with the file "
        "on ONNX Runtime, and saves the cheapest that agrees with it.",
    )
    command.add_argument("model", type=Path, metavar="FILE.onnx", help="the model, in fp32")
    command.add_argument(
        "--input",
        type=Path,
        required=True,
        action="append",
        metavar="FILE.npy",
        help="cases, (cases, ...); once for each input of the model, in its order",
    )
    command.add_argument("--technique", nargs="+", metavar="NAME", help="only these techniques")
    command.add_argument(
        "--batch",
        type=positive,
        metavar="CASES",
        help=f"cases in a call (default: what the model takes, else at most {BATCH_CASES})",
    )
    command.add_argument(
        "--agreement",
        type=share,
        default=FLOOR,
        metavar="SHARE",
        help=f"the least agreement of a technique that may be saved (default {FLOOR})",
    )
    command.add_argument(
        "--max-time",
        type=positive_seconds,
        default=5.0,
        metavar="SECONDS",
        help="for each technique's comparison (default 5)",
    )
    command.add_argument(
        "--meter", default="auto", help="a name from `pytest-energy doctor` (default auto)"
    )
    command.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="STEM",
        help="where to save the winner, without a suffix (default: FILE-TECHNIQUE)",
    )
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    for name in options.technique or ():
        variants.get(name)
    if not options.model.is_file():
        raise TsbenchError(f"{options.model}: the file does not exist")
    batches = read_batches(options.model, options.input, options.batch)
    console = Console()
    names = tuple(options.technique or compression.default_names(of_file=True))
    with _bar(console) as bar:
        task = bar.add_task("starting", total=len(names))
        first = True

        def on_step(name: str) -> None:
            nonlocal first
            bar.update(task, description=f"building {name}", advance=0 if first else 1)
            first = False

        source = compression.source_of(options.model, batches[0], batches)
        results = compression.compress_source(source, names, on_step)
    usable = compression.available(results)
    for each in results.values():
        if each.name not in usable:
            console.print(str(each), highlight=False, markup=False, soft_wrap=True)
    candidates = {name: each for name, each in usable.items() if name != "onnx_fp32"}
    if not candidates:
        raise TsbenchError("no technique works for this model; the reasons are above")
    rows = _measured(options, console, source.reference, candidates, batches[0])
    title = f"{options.model.name}, batch of {len(batches[0][0])}, against ONNX Runtime in fp32"
    console.print(measure.compressed_table(rows, f"{title}, one thread", options.agreement))
    _save_winner(options, console, rows)
    return 0


def _measured(
    options: argparse.Namespace,
    console: Console,
    reference: object,
    candidates: dict[str, compression.Compressed],
    inputs: Sequence[Tensor],
) -> list[measure.CompressedRow]:
    seconds = options.max_time * len(candidates)
    try:
        with (
            open_meter(options.meter) as meter,
            console.status(f"measuring {len(candidates)} techniques, {seconds:.0f} s"),
        ):
            return measure.compare_compressed(
                reference,  # type: ignore[arg-type]
                candidates,
                inputs,
                options.max_time,
                meter,
            )
    except EnergyError as error:
        raise TsbenchError(str(error)) from None


def _save_winner(
    options: argparse.Namespace, console: Console, rows: Sequence[measure.CompressedRow]
) -> None:
    best = measure.winner(rows, options.agreement)
    if best is None:
        console.print(
            f"no technique is faster and agrees on {options.agreement:.0%}: nothing is saved",
            highlight=False,
        )
        return
    each = best.compressed
    stem = options.output or options.model.with_name(f"{options.model.stem}-{each.name}")
    if each.built.save is None:
        console.print(f"the winner is {each.name}, which cannot be saved as a file")
        return
    try:
        saved = each.built.save(stem)
    except OSError as error:
        raise TsbenchError(f"cannot save {each.name} as {stem}: {error}") from None
    console.print(f"the winner is {each.name}, saved as {saved}", highlight=False, soft_wrap=True)


def read_batches(model: Path, files: Sequence[Path], asked: int | None) -> list[tuple[Tensor, ...]]:
    """The arrays in batches of equal size. Raises TsbenchError for what the model cannot take."""
    arrays = [_array(path) for path in files]
    lengths = sorted({len(array) for array in arrays})
    if len(lengths) > 1:
        raise TsbenchError(f"the inputs have different numbers of cases: {lengths}")
    cases = lengths[0]
    fixed = _batch_cases_of(model)
    size = asked or fixed or min(cases, BATCH_CASES)
    if size > cases:
        raise TsbenchError(f"a batch of {size} requires as many cases, and the inputs have {cases}")
    last = min(cases, max(CALIBRATION_CASES, size)) // size * size
    return [
        tuple(array[start : start + size] for array in arrays) for start in range(0, last, size)
    ]


def _array(path: Path) -> Tensor:
    import numpy as np
    import torch

    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise TsbenchError(f"--input {path}: no readable .npy file: {error}") from None
    if not isinstance(array, np.ndarray):
        raise TsbenchError(f"--input {path}: holds several arrays; give one .npy file an input")
    if array.ndim < 1 or not len(array):
        raise TsbenchError(f"--input {path}: requires at least one case, has {array.shape}")
    if array.dtype == np.float64:
        array = array.astype(np.float32)
    try:
        return torch.from_numpy(np.ascontiguousarray(array))
    except TypeError as error:
        raise TsbenchError(f"--input {path}: {error}") from None


def _batch_cases_of(model: Path) -> int | None:
    """The model's fixed number of cases, or None if it takes any."""
    import onnx
    from google.protobuf.message import DecodeError

    try:
        graph = onnx.load(model, load_external_data=False).graph
    except DecodeError:
        raise TsbenchError(f"{model}: no readable .onnx file") from None
    weights = {weight.name for weight in graph.initializer}
    for each in graph.input:
        dims = each.type.tensor_type.shape.dim
        if each.name not in weights and dims:
            return int(dims[0].dim_value) or None
    return None


def _bar(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        transient=True,
    )
