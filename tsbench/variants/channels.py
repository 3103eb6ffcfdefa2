"""Structured pruning of any module, by torch-pruning: whole channels and features are removed.

torch-pruning follows which weights depend on each other through the model's graph. Its last
release, 1.6.1, is of September 2025 and works with torch 2.13.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tsbench import requirements
from tsbench.outputs import flat_outputs

if TYPE_CHECKING:
    from torch import nn

    from tsbench.variants.source import Source


def without_channels(variant: str, source: Source, removed_share: float) -> nn.Module:
    """A copy of the model without that share of the channels of each layer but the outputs'.

    Raises VariantUnavailable without torch-pruning, and ValueError if the outputs change shape.
    """
    requirements.require(variant, ("torch_pruning",))
    import torch
    import torch_pruning

    slim = source.copy()
    with torch.enable_grad():  # torch-pruning follows the graph of gradients
        torch_pruning.pruner.MagnitudePruner(
            slim,
            example_inputs=source.inputs,
            importance=torch_pruning.importance.GroupMagnitudeImportance(p=1),
            pruning_ratio=removed_share,
            ignored_layers=_output_layers(slim, source),
            num_heads=_heads(slim),
            output_transform=lambda output: sum(leaf.sum() for leaf in flat_outputs(output)),
        ).step()
    with torch.no_grad():
        shapes = [tuple(leaf.shape) for leaf in flat_outputs(slim(*source.inputs))]
    expected = [tuple(leaf.shape) for leaf in flat_outputs(source.output)]
    if shapes != expected:
        raise ValueError(f"without channels its outputs have the shapes {shapes}, not {expected}")
    return slim.eval()


def _output_layers(model: nn.Module, source: Source) -> list[nn.Module]:
    """Layers whose values are an output's: the last, and any whose result an output shares."""
    import torch
    from torch import nn

    ran: list[tuple[nn.Module, Any]] = []

    def note(module: nn.Module, args: Any, output: Any) -> None:
        ran.append((module, output))

    kinds = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
    hooks = [m.register_forward_hook(note) for m in model.modules() if isinstance(m, kinds)]
    try:
        with torch.no_grad():
            outputs = flat_outputs(model(*source.inputs))
    finally:
        for hook in hooks:
            hook.remove()
    pointers = {leaf.data_ptr() for leaf in outputs}
    found = [module for module, output in ran if output.data_ptr() in pointers]
    return list(dict.fromkeys([*found, *(module for module, _ in ran[-1:])]))


def _heads(model: nn.Module) -> dict[nn.Module, int]:
    """The number of heads of each projection of an attention, so that all heads stay whole."""
    from torch import nn

    found: dict[nn.Module, int] = {}
    for module in model.modules():
        heads = getattr(module, "num_heads", None)
        if isinstance(heads, int):
            for child in module.children():
                if isinstance(child, nn.Linear):
                    found[child] = heads
    return found
