"""The classifier in the operators in which ONNX Runtime is fast: the same function, rounded anew.

Layers take rows, (batch * n_tokens, d_model): ONNX Runtime wraps a Linear of three dimensions in
two Reshapes. Convolutions take images one pixel high: it vectorizes and fuses only two-dimensional
ones. In a layer with norms first, three more rewritings save time:

- A norm's scale and shift move into the Linear behind it. Its subtraction of the mean moves into
  whatever is added to the residual stream. What is left divides by the root of the mean square.
- Attention with few wide heads multiplies by its keys' weights before and by its values' weights
  after the tokens are mixed. That needs no transposed copies of the heads.
- The last feed-forward's second Linear comes after the mean over tokens.

docs/techniques.md has what they save.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tsbench.variants.convolutions import as_image, one_pixel_high


def for_onnx_runtime(plain: Any) -> nn.Module:
    """A model for ONNX Runtime from a plain Classifier, which is changed."""
    if not plain.config.forerunner:
        return _NormFirst(plain).eval()
    plain.patch = one_pixel_high(plain.patch)
    plain.encoder = _NormLast(plain.encoder)
    return plain.eval()


class _Affine(NamedTuple):
    """rows @ weight + bias, in float64."""

    weight: Tensor  # (in_features, out_features)
    bias: Tensor

    @classmethod
    def of(cls, linear: Any) -> _Affine:
        return cls(linear.weight.detach().double().t(), linear.bias.detach().double())

    def after(self, norm: Any) -> _Affine:
        """With the scale and the shift of the norm before it."""
        scale, shift = norm.weight.detach().double(), norm.bias.detach().double()
        return _Affine(scale[:, None] * self.weight, self.bias + shift @ self.weight)

    def centred(self) -> _Affine:
        """Without the mean over its outputs, which the next norm subtracts anyway."""
        weight = self.weight - self.weight.mean(dim=1, keepdim=True)
        return _Affine(weight, self.bias - self.bias.mean())

    def linear(self) -> nn.Linear:
        made = nn.Linear(*self.weight.shape)
        made.load_state_dict({"weight": self.weight.t().float(), "bias": self.bias.float()})
        return made


class _Attention(nn.Module):
    """Self-attention from normalised rows to what is added to the residual stream."""

    def __init__(self, layer: Any, qkv: _Affine, out: _Affine):
        super().__init__()
        self.n_heads, self.width = layer.n_heads, layer.n_heads * layer.head_dim
        # Then the merged products have no more multiplications than the single ones.
        self.merged = len(qkv.weight) <= 2 * layer.head_dim
        if self.merged:
            qkv, out = _merged(qkv, out, layer.n_heads, layer.head_dim)
            self.before = qkv.linear()
        else:
            self.weight = nn.Parameter(qkv.weight.float().contiguous())
            self.bias = nn.Parameter(qkv.bias.float())
        self.out = out.linear()

    def forward(self, rows: Tensor, shape: torch.Size) -> Tensor:
        batch, n_tokens, d_model = shape
        x = rows.view(shape)
        if self.merged:
            # A query for each token and head: (batch, n_tokens * n_heads, d_model).
            queries = self.before(rows).view(batch, n_tokens * self.n_heads, d_model)
            mixed = torch.softmax(queries @ x.transpose(1, 2), dim=2) @ x
            return self.out(mixed.view(batch * n_tokens, self.n_heads * d_model))
        mixed = torch.onnx.ops.symbolic(
            "com.microsoft::Attention",
            (x, self.weight, self.bias),
            {"num_heads": self.n_heads, "qkv_hidden_sizes": [self.width] * 3},
            dtype=x.dtype,
            shape=(batch, n_tokens, self.width),
            version=1,
        )
        return self.out(mixed.flatten(0, 1))


def _merged(qkv: _Affine, out: _Affine, n_heads: int, head_dim: int) -> tuple[_Affine, _Affine]:
    """Of each head: queries times the keys' weights, and the values' weights times `out`.

    A softmax ignores what is the same for all keys, so the keys' bias has no effect. Its weights
    sum to 1, so the values' bias is added once.
    """
    (query, key, value), (query_bias, _, value_bias) = (side.chunk(3, dim=-1) for side in qkv)
    before, before_bias, after, bias = [], [], [], out.bias
    for head in range(n_heads):
        own = slice(head * head_dim, (head + 1) * head_dim)
        keys = key[:, own].t() * head_dim**-0.5
        before.append(query[:, own] @ keys)
        before_bias.append(query_bias[own] @ keys)
        after.append(value[:, own] @ out.weight[own])
        bias = bias + value_bias[own] @ out.weight[own]
    merged = _Affine(torch.cat(before, dim=1), torch.cat(before_bias))
    return merged, _Affine(torch.cat(after), bias)


class _NormFirst(nn.Module):
    """The whole model, for layers that normalise their input."""

    def __init__(self, plain: Any):
        super().__init__()
        self.embedding = _Embedding(plain)
        position = plain.position.detach()
        self.position = nn.Parameter(position - position.mean(dim=2, keepdim=True))
        self.layers = nn.ModuleList(map(_NormFirstLayer, plain.encoder))
        self.norm = _RootMeanSquare(plain.norm.eps)
        self.head = _Affine.of(plain.head).after(plain.norm).linear()

    def forward(self, x: Tensor) -> Tensor:  # (batch, in_channels, timepoints)
        x = self.embedding(x) + self.position  # (batch, n_tokens, d_model)
        shape = x.shape
        rows = x.flatten(0, 1)
        layers: list[Any] = list(self.layers)
        *before, last = layers
        for layer in before:
            rows = rows + layer.attention(layer.norm1(rows), shape)
            rows = rows + layer.ff2(layer.hidden(rows))
        rows = rows + last.attention(last.norm1(rows), shape)
        hidden = last.hidden(rows).unflatten(0, shape[:2]).mean(dim=1)
        return self.head(self.norm(rows.view(shape).mean(dim=1) + last.ff2(hidden)))


class _NormFirstLayer(nn.Module):
    def __init__(self, layer: Any):
        super().__init__()
        qkv, ff1 = _Affine.of(layer.qkv).after(layer.norm1), _Affine.of(layer.ff1)
        self.norm1 = _RootMeanSquare(layer.norm1.eps)
        self.attention = _Attention(layer, qkv, _Affine.of(layer.out).centred())
        self.norm2 = _RootMeanSquare(layer.norm2.eps)
        self.ff1 = ff1.after(layer.norm2).linear()
        self.ff2 = _Affine.of(layer.ff2).centred().linear()

    def hidden(self, rows: Tensor) -> Tensor:
        """Between the two Linears of the feed-forward."""
        return F.gelu(self.ff1(self.norm2(rows)))


class _NormLast(nn.Module):
    """The encoder, for layers that normalise their output."""

    def __init__(self, layers: Any):
        super().__init__()
        self.layers = layers
        self.attentions = nn.ModuleList(
            _Attention(layer, _Affine.of(layer.qkv), _Affine.of(layer.out)) for layer in layers
        )

    def forward(self, x: Tensor) -> Tensor:  # (batch, n_tokens, d_model)
        rows = x.flatten(0, 1)
        for layer, attention in zip(self.layers, self.attentions, strict=True):
            rows = layer.norm1(rows + attention(rows, x.shape))
            rows = layer.norm2(rows + layer.feed_forward(rows))
        return rows.view(x.shape)


class _RootMeanSquare(nn.Module):
    """Divides rows by the root of their mean square: a LayerNorm of rows whose mean is 0."""

    def __init__(self, eps: float):
        super().__init__()
        self.eps = eps

    def forward(self, rows: Tensor) -> Tensor:
        return torch.onnx.ops.symbolic(
            "SimplifiedLayerNormalization",  # ONNX Runtime's own, in the standard domain
            (rows, torch.ones(rows.shape[1])),
            {"axis": -1, "epsilon": self.eps},
            dtype=rows.dtype,
            shape=tuple(rows.shape),
            version=1,
        )


class _Embedding(nn.Module):
    """The patches, without the mean over their features, which the first norm subtracts anyway."""

    stem: Any
    patch: Any

    def __init__(self, plain: Any):
        super().__init__()
        self.images = not plain.config.window_stem  # whose only convolution is the patches' product
        self.stem = _of_images(plain.stem) if self.images else plain.stem
        self.patch = _of_images(plain.patch) if self.images else plain.patch
        weight, bias = self.patch.weight, self.patch.bias
        with torch.no_grad():
            weight -= weight.mean(dim=0)
            bias -= bias.mean()

    def forward(self, x: Tensor) -> Tensor:  # (batch, in_channels, timepoints)
        if not self.images:
            return self.patch(self.stem(x)).transpose(1, 2)  # (batch, n_patches, d_model)
        x = self.patch(self.stem(x.unsqueeze(2)))  # (batch, d_model, 1, n_patches)
        # ONNX Runtime fuses this order of dimensions with that of its convolutions.
        return x.permute(0, 2, 3, 1).squeeze(1)


def _of_images(module: nn.Module) -> nn.Module:
    """The module with two-dimensional convolutions and norms: (batch, channels, 1, timepoints)."""
    if isinstance(module, nn.Conv1d):
        return as_image(module)
    if isinstance(module, nn.BatchNorm1d):
        norm = nn.BatchNorm2d(module.num_features, module.eps)
        norm.load_state_dict(module.state_dict())
        return norm
    for name, child in module.named_children():
        setattr(module, name, _of_images(child))
    return module
