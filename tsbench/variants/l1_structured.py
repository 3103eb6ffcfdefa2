"""Structured magnitude pruning: whole attention heads and feed-forward channels are removed.

Those of the smallest L1 norm go, layer by layer. The remaining weights are copied into smaller
Linears and retrained by the dataset's recipe, which is cached. A short fine-tune (12 epochs at a
quarter of the rate) left PLAID's T1 two and six points short on two splits of held-out cases.

That is our classifiers' cut. Other models lose channels of their layers, see channels.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tsbench.errors import VariantUnavailable
from tsbench.variants import Variant
from tsbench.variants.built import Built, eager
from tsbench.variants.convolutions import fold_batch_norms
from tsbench.variants.shares import removed_flops

if TYPE_CHECKING:
    from torch import Tensor, nn

    from tsbench.model import Classifier, PlainEncoderLayer
    from tsbench.variants.source import Source

NAME = "l1_structured"

# Of the heads and feed-forward channels of every layer. In one run half of them gave 1.54 times the
# speed at batch 1, and three quarters 1.75 (PLAID) and 1.85: operator calls and the stem are left.
REMOVED_SHARE = 0.75
SETTINGS = {"removed": REMOVED_SHARE, "tuned": True}


def prune(model: Classifier, removed_share: float) -> Classifier:
    """A copy of the model without that share of its heads and feed-forward channels.

    Every layer keeps at least one of each.
    """
    from torch import nn

    from tsbench.model import to_plain

    slim = to_plain(model)
    layers: Any = slim.encoder
    slim.encoder = nn.Sequential(
        *(
            _cut(layer, *(_keep(scores, removed_share) for scores in importances(layer)))
            for layer in layers
        )
    )
    return slim.eval()


def importances(layer: PlainEncoderLayer) -> tuple[Tensor, Tensor]:
    """L1 norms of the layer's heads (n_heads,) and feed-forward channels (ff_dim,).

    A head's weights are its rows of q, k and v and its columns of the output projection; a
    channel's, its row of the first Linear and its column of the second.
    """
    per_head = layer.qkv.weight.view(3, layer.n_heads, layer.head_dim, -1)
    out = layer.out.weight.view(-1, layer.n_heads, layer.head_dim)
    heads = per_head.abs().sum(dim=(0, 2, 3)) + out.abs().sum(dim=(0, 2))
    channels = layer.ff1.weight.abs().sum(dim=1) + layer.ff2.weight.abs().sum(dim=0)
    return heads.detach(), channels.detach()


def make(source: Source, removed: float = REMOVED_SHARE, tuned: bool = True) -> Built:
    """The model without that share of heads and channels; retrained if `tuned`."""
    from tsbench.model import Classifier
    from tsbench.variants.channels import without_channels

    if tuned and not source.can_train:
        raise VariantUnavailable(
            NAME,
            "it trains the model again, and no training is known",
            f"pass retrain=, a function that trains a module in place, or use {NAME}@tuned=no",
        )
    slim = (
        prune(source.model, removed)
        if isinstance(source.model, Classifier)
        else without_channels(NAME, source, removed)
    )
    if tuned:
        slim = source.tuned(slim, NAME)
    # Of PLAID's T1 at batch 1, folded norms took 4 % of the CPU time (1.40 instead of 1.47 ms).
    slim = fold_batch_norms(slim)
    return eager(slim, removed_share=removed_flops(source, slim))


def _keep(scores: Tensor, removed_share: float) -> Tensor:
    """Indices of those to keep, in their old order."""
    n_kept = max(len(scores) - round(removed_share * len(scores)), 1)
    return scores.argsort(descending=True, stable=True)[:n_kept].sort().values


def _cut(layer: PlainEncoderLayer, heads: Tensor, channels: Tensor) -> PlainEncoderLayer:
    import torch

    from tsbench.model import PlainEncoderLayer

    d_model = layer.qkv.in_features
    slim = PlainEncoderLayer(
        d_model, len(heads), layer.head_dim, len(channels), layer.dropout, layer.norm_first
    )
    slim.norm1.load_state_dict(layer.norm1.state_dict())
    slim.norm2.load_state_dict(layer.norm2.state_dict())
    # A head's rows within q, k or v; `qkv` holds the three one after the other.
    rows = (heads[:, None] * layer.head_dim + torch.arange(layer.head_dim)).flatten()
    width = layer.n_heads * layer.head_dim
    all_rows = torch.cat([rows, rows + width, rows + 2 * width])
    with torch.no_grad():
        _fill(slim.qkv, layer.qkv.weight[all_rows], layer.qkv.bias[all_rows])
        _fill(slim.out, layer.out.weight[:, rows], layer.out.bias)
        _fill(slim.ff1, layer.ff1.weight[channels], layer.ff1.bias[channels])
        _fill(slim.ff2, layer.ff2.weight[:, channels], layer.ff2.bias)
    return slim


def _fill(linear: nn.Linear, weight: Tensor, bias: Tensor) -> None:
    linear.weight.copy_(weight)
    linear.bias.copy_(bias)


VARIANT = Variant(
    NAME,
    f"{REMOVED_SHARE:.0%} of heads and feed-forward channels removed, then retrained",
    ("torch",),
    make,
    SETTINGS,
)
