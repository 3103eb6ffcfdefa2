"""The classifier: a transformer over patches of a time series, after ViT.

`Classifier` consists of torch's own `nn.TransformerEncoder`: the fp32 baseline is what a user of
stock torch has, fast path included. `PlainEncoderLayer` computes the same from single Linears.
Quantizers recognise those (the fused attention hides its weights), and heads and feed-forward
channels can be removed from them.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, replace
from math import log
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tsbench.errors import UnknownName

STEM_STRIDE = 4  # two convolutions of stride 2
RESIDUAL_STEM_STRIDE = 8  # one of stride 2, one of stride 4
# Added to a patch's variance before its logarithm, for patches in which nothing happens. A whole
# case has variance 1.
MIN_VARIANCE = 1e-3
# Tokens of a short case: ElectricDevices' T1 with 12 instead of 6 was right in .798 and .796 of
# cases held out, instead of .789 and .788 (two splits).
MIN_PATCHES = 12
LONGEST_PERIOD = 10_000.0  # of the sinusoids, in tokens: arXiv:1706.03762
FORERUNNER_POSITION_DROPOUT = 0.1  # the forerunner's, beside 0.2 in its encoder


@dataclass(frozen=True)
class ModelConfig:
    """The shape of a Classifier; the defaults are T1's."""

    in_channels: int = 2  # signal and log-std, see preprocess.to_array
    timepoints: int = 512
    n_classes: int = 11
    patch_timepoints: int = 16
    residual_stem: bool = False  # see Classifier
    window_stem: bool = False  # PatchStatistics instead of convolutions
    forerunner: bool = False  # the layout of the paper's forerunner, see Classifier
    stem_channels: int = 32
    d_model: int = 64
    n_layers: int = 8
    n_heads: int = 8
    ff_dim: int = 128
    # Off: 0.1 takes a training step from 112 to 156 ms (drawing masks is slow on a CPU), and 0.2
    # did not help on held-out RefrigerationDevices cases (.639, without .661).
    dropout: float = 0.0

    def __post_init__(self) -> None:
        stems = [
            name for name in ("residual_stem", "window_stem", "forerunner") if getattr(self, name)
        ]
        if len(stems) > 1:
            raise ValueError(f"a model has one stem: {' and '.join(stems)} are set")
        if self.patch_timepoints % self.stem_stride:
            raise ValueError(
                f"patch_timepoints ({self.patch_timepoints}) must be a multiple of stem_stride "
                f"({self.stem_stride})"
            )
        if self.timepoints % self.patch_timepoints:
            raise ValueError(
                f"timepoints ({self.timepoints}) must be a multiple of patch_timepoints "
                f"({self.patch_timepoints})"
            )
        if self.d_model % self.n_heads:
            raise ValueError(
                f"d_model ({self.d_model}) must be a multiple of n_heads ({self.n_heads})"
            )

    @property
    def stem_stride(self) -> int:
        if self.window_stem or self.forerunner:
            return 1  # patches are cut from the signal itself
        return RESIDUAL_STEM_STRIDE if self.residual_stem else STEM_STRIDE

    @property
    def n_patches(self) -> int:
        return self.timepoints // self.patch_timepoints

    @property
    def n_tokens(self) -> int:
        """What the encoder reads: the patches, and the forerunner's class token."""
        return self.n_patches + self.forerunner


# Layers and heads of T1 and T2 are those of arXiv:2502.16627.
CONFIGS = {
    "t1": ModelConfig(n_layers=8, n_heads=8),
    "t2": ModelConfig(n_layers=12, n_heads=16),
    # The layout of the public code of 2024 that preceded the paper (docs/models.md).
    "t1_2024": ModelConfig(
        patch_timepoints=8,
        forerunner=True,
        d_model=32,
        n_layers=8,
        n_heads=8,
        ff_dim=256,
        dropout=0.2,
    ),
    "t2_2024": ModelConfig(
        patch_timepoints=8,
        forerunner=True,
        d_model=32,
        n_layers=12,
        n_heads=16,
        ff_dim=256,
        dropout=0.2,
    ),
    # Fewer tokens, heads and layers save more than int8 does; heads narrower than 16 are slow.
    # (config_for replaces timepoints by the data's; 48 divides 768.)
    "student": ModelConfig(
        timepoints=768,
        patch_timepoints=48,
        residual_stem=True,
        stem_channels=16,
        d_model=32,
        n_layers=2,
        n_heads=2,
        ff_dim=64,
    ),
    # T1 with a narrower stem, a quarter of its layers and longer patches; T1 teaches it.
    "t1_half": ModelConfig(
        timepoints=720,
        patch_timepoints=36,
        stem_channels=16,
        d_model=32,
        n_layers=2,
        n_heads=2,
        ff_dim=64,
    ),
    # For series whose extremes matter more than their waveforms. (30 divides 720.)
    "statistics": ModelConfig(
        timepoints=720,
        patch_timepoints=30,
        window_stem=True,
        d_model=16,
        n_layers=2,
        n_heads=2,
        ff_dim=32,
    ),
}


def config_for(name: str, in_channels: int, timepoints: int, n_classes: int) -> ModelConfig:
    """The named config, for data of this shape. Raises UnknownName.

    Its patches are as long as the named config's, or the next shorter length that divides the
    timepoints into at least MIN_PATCHES, where any does.
    """
    if name.lower() not in CONFIGS:
        raise UnknownName("config", name, CONFIGS)
    named = CONFIGS[name.lower()]
    lengths = range(named.stem_stride, named.patch_timepoints + 1, named.stem_stride)
    fitting = [length for length in lengths if timepoints % length == 0]
    if not fitting:
        raise ValueError(f"timepoints ({timepoints}) must be a multiple of {named.stem_stride}")
    many = [length for length in fitting if timepoints // length >= MIN_PATCHES]
    return replace(
        named,
        patch_timepoints=(many or fitting[:1])[-1],
        in_channels=in_channels,
        timepoints=timepoints,
        n_classes=n_classes,
    )


def _striding(
    in_channels: int, out_channels: int, kernel: int, stride: int, activation: type[nn.Module]
) -> list[nn.Module]:
    """A convolution of this stride, its norm and its activation."""
    convolution = nn.Conv1d(in_channels, out_channels, kernel, stride=stride, padding=kernel // 2)
    return [convolution, nn.BatchNorm1d(out_channels), activation()]


class ResidualBlock(nn.Module):
    """Two convolutions beside a shortcut: (batch, channels, timepoints) in and out."""

    def __init__(self, channels: int, kernel: int):
        super().__init__()
        self.branch = nn.Sequential(
            nn.Conv1d(channels, channels, kernel, padding=kernel // 2),
            nn.BatchNorm1d(channels),
            nn.ReLU(),
            nn.Conv1d(channels, channels, kernel, padding=kernel // 2),
            nn.BatchNorm1d(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.branch(x))


class PatchStatistics(nn.Module):
    """Mean, maximum, minimum and the decimal logarithm of the variance of each patch.

    (batch, channels, timepoints) in, (batch, 4 * channels, n_patches) out.

    On RefrigerationDevices, logistic regression on such statistics of 30 timepoints is right for
    .57 of the training cases held out in blocks; on means alone for .33, which is chance.
    """

    def __init__(self, timepoints: int):
        super().__init__()
        self.timepoints = timepoints  # of a patch

    def forward(self, x: Tensor) -> Tensor:
        x = x.unflatten(2, (-1, self.timepoints))  # (batch, channels, n_patches, timepoints)
        mean = x.mean(dim=3)
        variance = (x - mean.unsqueeze(3)).square().mean(dim=3)
        return torch.cat(
            [mean, x.amax(dim=3), x.amin(dim=3), torch.log10(variance + MIN_VARIANCE)], dim=1
        )


def sinusoids(n_tokens: int, d_model: int) -> Tensor:
    """The forerunner's positions, (1, n_tokens, d_model): mean 0, standard deviation 0.1.

    Sines and cosines of arXiv:1706.03762, section 3.5, shifted and scaled.
    """
    at = torch.arange(n_tokens)[:, None]
    rates = torch.exp(torch.arange(0, d_model, 2) * -(log(LONGEST_PERIOD) / d_model))
    position = torch.zeros(n_tokens, d_model)
    position[:, 0::2] = torch.sin(at * rates)
    position[:, 1::2] = torch.cos(at * rates)
    position -= position.mean()
    return (position / (10 * position.std())).unsqueeze(0)


class Classifier(nn.Module):
    """Stem (convolutions or patch statistics), patches, positions, encoder, mean, linear head.

    With `config.forerunner`, as in the code that preceded the paper: patches of the signal itself,
    a class token, sinusoids, post-norm layers with ReLU, and two Linears on the class token.
    """

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.config = config
        c = config
        if c.forerunner:
            self.stem = nn.Sequential()  # nothing
            self.patch = nn.Conv1d(
                c.in_channels, c.d_model, c.patch_timepoints, stride=c.patch_timepoints
            )
        elif c.window_stem:
            n_statistics = 4 * c.in_channels
            self.stem = nn.Sequential(
                PatchStatistics(c.patch_timepoints), nn.BatchNorm1d(n_statistics)
            )
            self.patch = nn.Conv1d(n_statistics, c.d_model, 1)
        elif c.residual_stem:
            # Held-out PLAID cases: .878, and .882 with nearly twice the multiplications; without
            # residual blocks .835 (docs/models.md). ReLU, not GELU (.888 and .884): engines fuse a
            # ReLU into its convolution, and GELU's error function is slow.
            self.stem = nn.Sequential(
                *_striding(c.in_channels, c.stem_channels, 9, 2, nn.ReLU),
                *_striding(c.stem_channels, c.d_model, 9, 4, nn.ReLU),
                ResidualBlock(c.d_model, 3),
                ResidualBlock(c.d_model, 3),
            )
        else:
            # Convolutions with batch norm before the patches: with them T1 reached .834 instead
            # of .807 on held-out PLAID training cases, in equally many epochs.
            self.stem = nn.Sequential(
                *_striding(c.in_channels, c.stem_channels, 7, 2, nn.GELU),
                *_striding(c.stem_channels, c.d_model, 5, 2, nn.GELU),
            )
        if not (c.window_stem or c.forerunner):
            per_patch = c.patch_timepoints // c.stem_stride
            self.patch = nn.Conv1d(c.d_model, c.d_model, per_patch, stride=per_patch)
        if c.forerunner:
            self.class_token = nn.Parameter(torch.randn(1, 1, c.d_model))
            self.register_buffer("position", sinusoids(c.n_tokens, c.d_model), persistent=False)
        else:
            self.position = nn.Parameter(torch.empty(1, c.n_tokens, c.d_model))
            nn.init.normal_(self.position, std=0.02)  # as in ViT
        layer = nn.TransformerEncoderLayer(
            c.d_model,
            c.n_heads,
            c.ff_dim,
            c.dropout,
            "relu" if c.forerunner else "gelu",
            batch_first=True,
            norm_first=not c.forerunner,
        )
        # Nested tensors only serve padding masks, which tiling makes needless, and torch
        # warns that they do not go with norm_first.
        stock = nn.TransformerEncoder(layer, c.n_layers, enable_nested_tensor=False)
        self.encoder: nn.TransformerEncoder | nn.Sequential = stock  # the other: see to_plain
        for block in stock.layers:  # TransformerEncoder copies one layer: same weights
            for parameter in block.parameters():
                if parameter.dim() > 1:
                    nn.init.xavier_uniform_(parameter)
        self.norm: nn.Module
        self.head: nn.Module
        if c.forerunner:
            self.norm = nn.Identity()  # the last encoder layer ends with one
            self.head = nn.Sequential(
                nn.Linear(c.d_model, c.ff_dim), nn.Linear(c.ff_dim, c.n_classes)
            )
        else:
            self.norm = nn.LayerNorm(c.d_model)
            self.head = nn.Linear(c.d_model, c.n_classes)

    def embed(self, x: Tensor) -> Tensor:
        """Patches with their positions, before the encoder: (batch, n_tokens, d_model)."""
        x = self.stem(x)  # (batch, features, timepoints / stem_stride)
        x = self.patch(x).transpose(1, 2)  # (batch, n_patches, d_model)
        if self.config.forerunner:
            x = torch.cat([self.class_token.expand(len(x), -1, -1), x], dim=1)
            return F.dropout(x + self.position, FORERUNNER_POSITION_DROPOUT, self.training)
        return x + self.position

    def forward(self, x: Tensor) -> Tensor:  # (batch, in_channels, timepoints)
        x = self.encoder(self.embed(x))  # (batch, n_tokens, d_model)
        x = x[:, 0] if self.config.forerunner else x.mean(dim=1)  # (batch, d_model)
        return self.head(self.norm(x))  # (batch, n_classes)


class PlainEncoderLayer(nn.Module):
    """An encoder layer of single Linears, with its own n_heads and ff_dim.

    With `norm_first` a pre-norm layer with GELU; without, the forerunner's post-norm with ReLU.
    `n_heads * head_dim` is less than d_model after heads were removed. With `fused_attention`,
    attention is torch's one operator; without, its single products, which compilers and
    converters handle better (see to_plain).
    """

    def __init__(
        self,
        d_model: int,
        n_heads: int,
        head_dim: int,
        ff_dim: int,
        dropout: float,
        norm_first: bool = True,
    ):
        super().__init__()
        self.n_heads, self.head_dim, self.dropout = n_heads, head_dim, dropout
        self.norm_first = norm_first
        self.fused_attention = True
        self.norm1 = nn.LayerNorm(d_model)
        self.qkv = nn.Linear(d_model, 3 * n_heads * head_dim)  # rows: all q, all k, all v
        self.out = nn.Linear(n_heads * head_dim, d_model)
        self.norm2 = nn.LayerNorm(d_model)
        self.ff1 = nn.Linear(d_model, ff_dim)
        self.ff2 = nn.Linear(ff_dim, d_model)

    @classmethod
    def from_stock(cls, stock: Any) -> PlainEncoderLayer:
        """An nn.TransformerEncoderLayer as one of these, with a copy of its weights."""
        attention = stock.self_attn
        plain = cls(
            attention.embed_dim,
            attention.num_heads,
            attention.head_dim,
            stock.linear1.out_features,
            stock.dropout.p,
            stock.norm_first,
        )
        with torch.no_grad():
            plain.qkv.weight.copy_(attention.in_proj_weight)
            plain.qkv.bias.copy_(attention.in_proj_bias)
            for ours, theirs in (
                (plain.out, attention.out_proj),
                (plain.ff1, stock.linear1),
                (plain.ff2, stock.linear2),
                (plain.norm1, stock.norm1),
                (plain.norm2, stock.norm2),
            ):
                ours.weight.copy_(theirs.weight)
                ours.bias.copy_(theirs.bias)
        return plain.train(stock.training)

    def attend(self, x: Tensor) -> Tensor:
        """Self-attention: (batch, n_tokens, d_model) in and out."""
        batch, n_tokens, _ = x.shape
        qkv = self.qkv(x).view(batch, n_tokens, 3, self.n_heads, self.head_dim)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # each (batch, n_heads, n_tokens, head_dim)
        if self.fused_attention:
            mixed = F.scaled_dot_product_attention(
                q, k, v, dropout_p=self.dropout if self.training else 0.0
            )
        else:
            scores = (q * self.head_dim**-0.5) @ k.transpose(2, 3)
            weights = torch.softmax(scores, dim=3)  # (batch, n_heads, n_tokens, n_tokens)
            mixed = self._dropped(weights) @ v
        return self.out(mixed.transpose(1, 2).flatten(2))  # (batch, n_tokens, d_model)

    def forward(self, x: Tensor) -> Tensor:  # (batch, n_tokens, d_model)
        if self.norm_first:
            x = x + self._dropped(self.attend(self.norm1(x)))
            return x + self.feed_forward(self.norm2(x))
        x = self.norm1(x + self._dropped(self.attend(x)))
        return self.norm2(x + self.feed_forward(x))

    def feed_forward(self, x: Tensor) -> Tensor:
        """The two Linears, (batch, n_tokens, d_model) in and out."""
        activation = F.gelu if self.norm_first else F.relu
        return self._dropped(self.ff2(self._dropped(activation(self.ff1(x)))))

    def _dropped(self, x: Tensor) -> Tensor:
        # F.dropout with training=False does nothing, and took 6 % of a pruned T1's time at batch 1.
        return F.dropout(x, self.dropout) if self.training and self.dropout else x


def encoder_layers(model: Classifier) -> list[nn.Module]:
    """The encoder's layers in order, stock or plain."""
    return list(
        model.encoder.layers if isinstance(model.encoder, nn.TransformerEncoder) else model.encoder
    )


def to_plain(model: Classifier, fused_attention: bool = True) -> Classifier:
    """A copy of `model` whose encoder is a Sequential of PlainEncoderLayers.

    It has the same function and parameter count, and shares nothing with `model`. A plain model is
    copied as it is, but for `fused_attention`. Without it, inductor fuses the products' scaling and
    softmax: T1 in int8 on RefrigerationDevices is 1.57 times as fast as eager fp32 at batch 1,
    with it 1.35 (medians of 40 rounds); on PLAID 1.40 and 1.37.
    """
    plain = deepcopy(model)
    if isinstance(model.encoder, nn.TransformerEncoder):
        plain.encoder = nn.Sequential(*map(PlainEncoderLayer.from_stock, model.encoder.layers))
    layers: Any = plain.encoder
    for layer in layers:
        layer.fused_attention = fused_attention
    return plain.train(model.training)


def parameter_count(model: nn.Module) -> int:
    """The number of trainable values."""
    return sum(parameter.numel() for parameter in model.parameters())
