"""Convolutions rewritten for quantizers and engines. Each rewriting keeps the function."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn


def fold_batch_norms(model: nn.Module) -> nn.Module:
    """Folds batch norms into the convolutions before them, in place. Same function in eval mode.

    It finds them where a container lists one directly after the other.
    """
    from torch import nn
    from torch.nn.utils.fusion import fuse_conv_bn_eval

    pairs = ((nn.Conv1d, nn.BatchNorm1d), (nn.Conv2d, nn.BatchNorm2d))
    for container in list(model.modules()):
        if not isinstance(container, nn.Sequential):
            continue
        for index in range(1, len(container)):
            before: Any = container[index - 1]
            norm: Any = container[index]
            if any(isinstance(before, a) and isinstance(norm, b) for a, b in pairs):
                container[index - 1] = fuse_conv_bn_eval(before, norm)
                container[index] = nn.Identity()
    return model


def one_pixel_high(model: nn.Module) -> nn.Module:
    """Replaces one-dimensional convolutions by two-dimensional ones, in place.

    PT2E's quantizer for x86 knows no others: an FCN would stay in fp32 under the name of int8.
    """
    from torch import nn

    class OnePixelHigh(nn.Module):
        def __init__(self, convolution: nn.Conv2d):
            super().__init__()
            self.convolution = convolution

        def forward(self, x: Tensor) -> Tensor:  # (batch, channels, timepoints)
            return self.convolution(x.unsqueeze(-2)).squeeze(-2)

    if isinstance(model, nn.Conv1d) and is_simple(model):
        return OnePixelHigh(as_image(model))
    for name, child in list(model.named_children()):
        setattr(model, name, one_pixel_high(child))
    return model


def is_simple(convolution: nn.Conv1d) -> bool:
    """Whether `as_image` can take it: zeros as padding, of a known number."""
    return convolution.padding_mode == "zeros" and not isinstance(convolution.padding, str)


def as_image(convolution: nn.Conv1d) -> nn.Conv2d:
    """The two-dimensional convolution that does the same on (batch, channels, 1, timepoints)."""
    from torch import nn

    made = nn.Conv2d(
        convolution.in_channels,
        convolution.out_channels,
        (1, convolution.kernel_size[0]),
        stride=(1, convolution.stride[0]),
        padding=(0, int(convolution.padding[0])),
        dilation=(1, convolution.dilation[0]),
        groups=convolution.groups,
        bias=convolution.bias is not None,
    )
    state = {"weight": convolution.weight.detach().unsqueeze(2)}
    if convolution.bias is not None:
        state["bias"] = convolution.bias.detach()
    made.load_state_dict(state)
    return made.train(convolution.training)
