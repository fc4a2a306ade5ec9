"""Parts of the networks of several spaces."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ...graphs import Piece

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "hswish": nn.Hardswish,
    "tanh": nn.Tanh,
    "silu": nn.SiLU,
    "none": nn.Identity,
}


def divisible(size: float, by: int = 8) -> int:
    """Return the multiple of ``by`` nearest to ``size``, but at least 90 % of ``size``.

    Source: Sandler et al., MobileNetV2, CVPR 2018 (released code).

    Example:
        >>> [divisible(x) for x in (10, 12, 66.6)]
        [16, 16, 64]
    """
    nearest = max(by, int(size + by / 2) // by * by)
    return nearest + by if nearest < 0.9 * size else nearest


class ConvUnit(Piece):
    """Convolution of the same size, then (by choice) batch norm and an activation."""

    def __init__(
        self,
        c_in: int,
        c_out: int,
        kernel: int | tuple[int, int] = 3,
        stride: int | tuple[int, int] = 1,
        groups: int = 1,
        norm: bool = True,
        activation: str = "relu",
        bias: bool | None = None,
        eps: float = 1e-5,
    ):
        super().__init__()
        size = (kernel, kernel) if isinstance(kernel, int) else kernel
        padding = (size[0] // 2, size[1] // 2)
        bias = not norm if bias is None else bias
        self.conv = nn.Conv2d(c_in, c_out, size, stride, padding, groups=groups, bias=bias)
        self.norm = nn.BatchNorm2d(c_out, eps=eps) if norm else nn.Identity()
        self.activation = ACTIVATIONS[activation]()

    def forward(self, x: Tensor) -> Tensor:
        return self.activation(self.norm(self.conv(x)))  # type: ignore[no-any-return]


class PooledLinear(Piece):
    """Global average and linear classifier."""

    def __init__(self, width: int, classes: int, bias: bool = True):
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.linear = nn.Linear(width, classes, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.pool(x).flatten(1))  # type: ignore[no-any-return]


class SqueezeExcitation(Piece):
    """Channels scaled by a hard-sigmoid gate of their averages; convolutions with bias."""

    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.down = nn.Conv2d(width, hidden, 1)
        self.relu = nn.ReLU()
        self.up = nn.Conv2d(hidden, width, 1)
        self.gate = nn.Hardsigmoid()

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate(self.up(self.relu(self.down(self.pool(x)))))  # type: ignore[no-any-return]


class InvertedResidual(Piece):
    """1x1 to ``middle`` channels, depthwise, gate by choice, 1x1; identity sum where it fits.

    Args:
        c_in, middle, c_out: the numbers of channels; without an expansion, ``middle`` is ``c_in``.
        expands: whether there is a first 1x1 convolution.
        gate: the hidden channels of the squeeze-excitation; 0 for none.
        residual: whether to add the input if shapes allow it.
        eps: the epsilon of the batch norms.
    """

    def __init__(
        self,
        c_in: int,
        middle: int,
        c_out: int,
        kernel: int,
        stride: int,
        activation: str = "relu",
        expands: bool = True,
        gate: int = 0,
        residual: bool = True,
        eps: float = 1e-5,
    ):
        super().__init__()
        self.expand = (
            ConvUnit(c_in, middle, 1, activation=activation, eps=eps) if expands else nn.Identity()
        )
        self.depthwise = ConvUnit(
            middle, middle, kernel, stride, middle, activation=activation, eps=eps
        )
        self.gate = SqueezeExcitation(middle, gate) if gate else nn.Identity()
        self.project = ConvUnit(middle, c_out, 1, activation="none", eps=eps)
        self.adds = residual and stride == 1 and c_in == c_out

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.project(self.gate(self.depthwise(self.expand(x))))
        return x + y if self.adds else y


class Concat(nn.Module):
    """Outputs of branches of one input, side by side."""

    def __init__(self, *branches: nn.Module):
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([branch(x) for branch in self.branches], 1)


class FactorizedReduce(Piece):
    """Half the resolution by two strided 1x1 convolutions, the second one pixel further; norm."""

    def __init__(self, c_in: int, c_out: int, relu: bool = True, affine: bool = True):
        super().__init__()
        self.relu = nn.ReLU() if relu else nn.Identity()
        self.first = nn.Conv2d(c_in, c_out // 2, 1, 2, bias=False)
        self.second = nn.Conv2d(c_in, c_out - c_out // 2, 1, 2, bias=False)
        self.norm = nn.BatchNorm2d(c_out, affine=affine)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(x)
        # An odd size would leave the shifted image one pixel short.
        shifted = nn.functional.pad(x, (0, x.shape[3] % 2, 0, x.shape[2] % 2))[:, :, 1:, 1:]
        return self.norm(torch.cat([self.first(x), self.second(shifted)], 1))  # type: ignore[no-any-return]
