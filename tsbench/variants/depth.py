"""Depth pruning: whole encoder layers are removed, and the rest is retrained.

Layers are removed one at a time: each time the one without which the loss on training cases rises
least, because a layer's importance depends on which others are left. Of T1's 8 layers, it keeps
0, 1, 3, 6 on PLAID and 0, 1, 4, 5 on RefrigerationDevices, with a lower training loss after a
short fine-tune (.201 and .468) than the first four (.210 and .471) or every second (.220 and
.479). Choosing takes 9 CPU-seconds.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from typing import TYPE_CHECKING

from tsbench.errors import VariantUnavailable
from tsbench.variants import Variant
from tsbench.variants.built import Built, eager
from tsbench.variants.shares import removed_flops

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import nn

    from tsbench.data.prepared import Prepared
    from tsbench.model import Classifier
    from tsbench.variants.source import Source

REMOVED_SHARE = 0.5  # of the layers
SETTINGS = {"removed": REMOVED_SHARE, "tuned": True}


def prune(model: Classifier, data: Prepared, removed_share: float) -> Classifier:
    """A copy of the model without that share of its layers; at least one is kept."""
    from tsbench.model import encoder_layers

    n_layers = len(encoder_layers(model))
    return with_layers(
        model, least_loss(model, data, max(n_layers - round(removed_share * n_layers), 1))
    )


def with_layers(model: Classifier, kept: Sequence[int]) -> Classifier:
    """A copy with only these encoder layers, counted from 0; its config has their number."""
    from torch import nn

    from tsbench.model import encoder_layers

    cut = deepcopy(model).eval()
    layers = [encoder_layers(cut)[index] for index in kept]
    if isinstance(cut.encoder, nn.TransformerEncoder):
        cut.encoder.layers, cut.encoder.num_layers = nn.ModuleList(layers), len(layers)
    else:
        cut.encoder = nn.Sequential(*layers)
    cut.config = replace(cut.config, n_layers=len(layers))
    return cut


def least_loss(model: Classifier, data: Prepared, n_kept: int) -> tuple[int, ...]:
    """The layers that are left, see the top of this module."""
    from tsbench.model import encoder_layers

    kept = tuple(range(len(encoder_layers(model))))
    while len(kept) > n_kept:
        fewer = [kept[:i] + kept[i + 1 :] for i in range(len(kept))]
        kept = min(fewer, key=lambda layers: training_loss(with_layers(model, layers), data))
    return kept


def training_loss(model: Classifier, data: Prepared) -> float:
    """Mean cross-entropy over the training split, without augmentation."""
    import torch
    from torch.nn import functional as F

    from tsbench.training.evaluate import batched_logits

    logits = batched_logits(model, torch.from_numpy(data.train_x))
    return F.cross_entropy(logits, torch.from_numpy(data.train_y)).item()


def make(source: Source, removed: float = REMOVED_SHARE, tuned: bool = True) -> Built:
    """The model without that share of its layers; retrained if `tuned`."""
    from tsbench.model import Classifier

    if not isinstance(source.model, Classifier):
        raise VariantUnavailable(
            "depth", "it removes encoder layers of tsbench's classifiers only", "use l1_structured"
        )
    cut: nn.Module = prune(source.model, source.dataset, removed)
    if tuned:
        cut = source.tuned(cut, "depth")
    return eager(cut, removed_share=removed_flops(source, cut))


VARIANT = Variant(
    "depth",
    f"{REMOVED_SHARE:.0%} of the layers removed, then retrained",
    ("torch",),
    make,
    SETTINGS,
)
