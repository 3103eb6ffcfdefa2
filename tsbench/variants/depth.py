"""Depth pruning: whole encoder layers removed, then trained again by the dataset's recipe.

Which ones: those without which the loss on training cases rises least, removed one at a time,
since how much a layer is needed depends on which others are still there. Of T1's 8 layers it
keeps 0, 1, 3, 6 on PLAID and 0, 1, 4, 5 on RefrigerationDevices. Training loss after a
short fine-tune, beside other choices of four: .201 and .468; first four .210 and .471; each second,
from 0 .220 and .479, from 1 .388 and .606. Choosing takes 9 CPU-seconds.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from typing import TYPE_CHECKING

from tsbench.variants import Variant, needs_nothing
from tsbench.variants.tuning import retrained

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tsbench.data.prepared import Prepared
    from tsbench.model import Classifier

REMOVED_SHARE = 0.5  # of the layers
SETTINGS = {"removed": REMOVED_SHARE, "tuned": True}


def prune(model: Classifier, data: Prepared, removed_share: float) -> Classifier:
    """A copy of the model without that share of its layers; one is kept at least."""
    from tsbench.model import encoder_layers

    n_layers = len(encoder_layers(model))
    return with_layers(
        model, least_loss(model, data, max(n_layers - round(removed_share * n_layers), 1))
    )


def with_layers(model: Classifier, kept: Sequence[int]) -> Classifier:
    """A copy with only these of the encoder's layers, counted from 0, and a config that says so."""
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
    """The layers left when, again and again, the one is removed without which the training loss is least."""
    from tsbench.model import encoder_layers

    kept = tuple(range(len(encoder_layers(model))))
    while len(kept) > n_kept:
        fewer = [kept[:i] + kept[i + 1 :] for i in range(len(kept))]
        kept = min(fewer, key=lambda layers: training_loss(with_layers(model, layers), data))
    return kept


def training_loss(model: Classifier, data: Prepared) -> float:
    """Mean cross-entropy over the training split, nothing augmented."""
    import torch
    from torch.nn import functional as F

    from tsbench.training.evaluate import batched_logits

    logits = batched_logits(model, torch.from_numpy(data.train_x))
    return F.cross_entropy(logits, torch.from_numpy(data.train_y)).item()


def make(
    model: Classifier,
    data: Prepared,
    batch_cases: int,
    removed: float = REMOVED_SHARE,
    tuned: bool = True,
) -> Classifier:
    """The model without that share of its layers, trained again unless told not to."""
    cut = prune(model, data, removed)
    return retrained(cut, data, "depth") if tuned else cut


VARIANT = Variant(
    "depth",
    f"{REMOVED_SHARE:.0%} of the layers removed, then trained again",
    ("torch",),
    needs_nothing,
    make,
    SETTINGS,
)
