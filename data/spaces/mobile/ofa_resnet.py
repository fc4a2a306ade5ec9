"""Stand-alone networks of the once-for-all ResNet-50 supernet."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ....graphs import Piece
from ..blocks import ConvUnit, PooledLinear, divisible
from ..contract import Choice, ChoiceSpace, Signature, Values
from ..reading import ArchitectureReader

WIDTHS, EXPANSIONS = (0.65, 0.8, 1.0), (0.2, 0.25, 0.35)
BASE_DEPTHS, EXTRA = (2, 2, 4, 2), 2
STAGE_WIDTHS, STRIDES = (256, 512, 1024, 2048), (1, 2, 2, 2)
_WIDTH_NAMES = {str(width): width for width in WIDTHS}
_EXPANSION_NAMES = {str(expansion): expansion for expansion in EXPANSIONS}


class ResidualStem(Piece):
    """A convolution beside the identity."""

    def __init__(self, width: int):
        super().__init__()
        self.conv = ConvUnit(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x)  # type: ignore[no-any-return]


class Bottleneck(Piece):
    """1x1, 3x3 (stride), 1x1 beside identity or average pool and 1x1; ReLU after the sum."""

    def __init__(self, c_in: int, middle: int, c_out: int, stride: int):
        super().__init__()
        self.branch = nn.Sequential(
            ConvUnit(c_in, middle, 1),
            ConvUnit(middle, middle, 3, stride),
            ConvUnit(middle, c_out, 1, activation="none"),
        )
        shortcut: list[nn.Module] = []
        if stride > 1:
            shortcut.append(nn.AvgPool2d(stride, stride, ceil_mode=True))
        if stride > 1 or c_in != c_out:
            shortcut.append(ConvUnit(c_in, c_out, 1, activation="none"))
        self.shortcut = nn.Sequential(*shortcut)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.shortcut(x) + self.branch(x))


class OFAResNet(ChoiceSpace):
    """The ResNet-50 space of once-for-all.

    A string is ``stem-stage-stage-stage-stage``, such as ``1.0,1.0+-0.8:0.25,0.2-...``. The stem
    has the width factors of its middle and its output, and ``+`` if it has the optional residual
    convolution. A stage has its width factor and the expansion of each active block.

    Example:
        >>> from archrank.data import space
        >>> blocks = (",".join(["0.35"] * n) for n in (4, 4, 6, 4))
        >>> largest = "1.0,1.0+-" + "-".join(f"1.0:{own}" for own in blocks)
        >>> graph = space("ofa_resnet").graph(largest)
        >>> graph.params, graph.product_flops
        (48105992, 7491643904)
    """

    name = "ofa_resnet"
    title = "Once-for-all ResNet-50"
    reference = "Cai et al., Once-for-all, ICLR 2020 (released ResNet-50 supernet)"
    tasks: ClassVar[dict[str, Signature]] = {"imagenet": Signature((3, 224, 224), 1000)}
    choices = (
        Choice("stem_middle", WIDTHS),
        Choice("stem_out", WIDTHS),
        Choice("stem_residual", (False, True)),
        *(
            choice
            for stage, base in enumerate(BASE_DEPTHS)
            for choice in (
                Choice(f"width{stage}", WIDTHS),
                Choice(f"depth{stage}", tuple(range(base, base + EXTRA + 1))),
                *(Choice(f"expansion{stage}.{i}", EXPANSIONS) for i in range(base + EXTRA)),
            )
        ),
    )
    size = 18 * math.prod(
        3 * sum(3**depth for depth in range(base, base + EXTRA + 1)) for base in BASE_DEPTHS
    )

    def _stages(self, values: Values) -> list[tuple[float, tuple[float, ...]]]:
        own = iter(values[3:])
        found = []
        for base in BASE_DEPTHS:
            width, depth = next(own), next(own)
            expansions = tuple(next(own) for _ in range(base + EXTRA))
            found.append((width, expansions[:depth]))
        return found

    def active(self, values: Values) -> list[bool]:
        active = [True] * 3
        for base, (_, blocks) in zip(BASE_DEPTHS, self._stages(values), strict=True):
            active += [True, True, *(i < len(blocks) for i in range(base + EXTRA))]
        return active

    def parse(self, arch: str) -> Values:
        reader = ArchitectureReader(arch, self.name)
        values: list[Any] = [_WIDTH_NAMES[reader.one_of(_WIDTH_NAMES)]]
        reader.expect(",")
        values += [_WIDTH_NAMES[reader.one_of(_WIDTH_NAMES)], reader.take("+")]
        for base in BASE_DEPTHS:
            reader.expect("-")
            start = reader.position
            width = _WIDTH_NAMES[reader.one_of(_WIDTH_NAMES)]
            reader.expect(":")
            blocks: list[float] = []
            while not blocks or reader.take(","):
                blocks.append(_EXPANSION_NAMES[reader.one_of(_EXPANSION_NAMES)])
            if not base <= len(blocks) <= base + EXTRA:
                reader.fail(f"a stage of {base} to {base + EXTRA} blocks, not {len(blocks)}", start)
            missing = base + EXTRA - len(blocks)
            values += [width, len(blocks), *blocks, *[EXPANSIONS[0]] * missing]
        reader.end()
        return tuple(values)

    def format(self, values: Values) -> str:
        stem = f"{values[0]},{values[1]}{'+' if values[2] else ''}"
        stages = (f"{width}:{','.join(map(str, own))}" for width, own in self._stages(values))
        return "-".join([stem, *stages])

    def network(self, arch: str, task: Signature, name: str) -> nn.Module:
        values = self.parse(arch)
        middle, c_in = divisible(64 * values[0] / 2), divisible(64 * values[1])
        layers: list[nn.Module] = [ConvUnit(task.inputs[0], middle, 3, 2)]
        if values[2]:
            layers.append(ResidualStem(middle))
        layers += [ConvUnit(middle, c_in), nn.MaxPool2d(3, 2, 1)]
        for (width, expansions), base, stride in zip(
            self._stages(values), STAGE_WIDTHS, STRIDES, strict=True
        ):
            c_out = divisible(base * width)
            for i, expansion in enumerate(expansions):
                step = stride if i == 0 else 1
                layers.append(Bottleneck(c_in, divisible(c_out * expansion), c_out, step))
                c_in = c_out
        return nn.Sequential(*layers, PooledLinear(c_in, task.outputs))
