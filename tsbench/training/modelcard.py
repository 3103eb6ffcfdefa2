"""The model card beside a checkpoint: origin and accuracy."""

from __future__ import annotations

from pathlib import Path

from tsbench import checkpoints
from tsbench.data import cache
from tsbench.data.prepared import Prepared


def write_card(path: Path, config_name: str, data: Prepared, test_accuracy: float) -> None:
    """Writes the card of the checkpoint at `path`, with the suffix `.md`."""
    cache.write_atomically(
        path.with_suffix(".md"), card(path, config_name, data, test_accuracy).encode()
    )


def card(path: Path, config_name: str, data: Prepared, test_accuracy: float) -> str:
    """The card as Markdown."""
    config, about = checkpoints.read_about(path)
    recipe = about["recipe"]
    joules = about["joules"]
    energy = (
        "not counted"
        if joules is None
        else f"{joules:.0f}, {about['provenance']}, gross, the whole machine"
    )
    rows = {
        "data": f"{data.name}, default split: {len(data.train_x)} training and "
        f"{len(data.test_x)} test cases, {len(data.classes)} classes",
        "data SHA-256": f"`{about['data_sha256']}`",
        "input": f"{config.in_channels} × {config.timepoints} (`tsbench.data.preprocess.to_array`)",
        "model": f"{config_name}: {config.n_layers} layers, {config.n_heads} heads, "
        f"d_model {config.d_model}, feed-forward {config.ff_dim}",
        "seed": recipe["seed"],
        "recipe": ", ".join(f"{k} {v}" for k, v in recipe.items() if k != "seed"),
        "training CPU-seconds": f"{about['cpu_seconds']:.0f} "
        f"(one thread, torch {about['torch_version']})",
        "training joules": energy,
        "test accuracy": f"{test_accuracy:.4f} (one seed; how it was chosen: docs/models.md)",
        "command": f"`tsbench train {data.name} {config_name} --seed {recipe['seed']} "
        f"--epochs {recipe['epochs']} --output {path.name}`"
        + (
            f", with the `--teacher` whose SHA-256 is {recipe['teacher_sha256']}"
            if recipe["teacher_sha256"]
            else ""
        ),
    }
    lines = [f"# {path.stem}", "", "| | |", "|---|---|"]
    return "\n".join(lines + [f"| {key} | {value} |" for key, value in rows.items()]) + "\n"
