"""The MnasNet-like space of Accel-NASBench."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor, nn

from ....graphs import Piece
from ..blocks import ConvUnit, InvertedResidual
from ..contract import Choice, ChoiceSpace, Signature, Values, product_size
from ..reading import ArchitectureReader

WIDTHS = (16, 24, 40, 80, 112, 192, 320)
STRIDES = (1, 2, 2, 2, 1, 2, 1)
_EXPANSIONS, _KERNELS = (1, 4, 6), (3, 5)
_DEPTHS = ((1, 2, 3),) * 5 + ((1, 2, 3, 4), (1, 2, 3))


class Classifier(Piece):
    """Global average, dropout, linear."""

    def __init__(self, width: int, classes: int):
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(0.2)
        self.linear = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.dropout(self.pool(x).flatten(1)))  # type: ignore[no-any-return]


class MnasNet(ChoiceSpace):
    """Seven stages joined by ``-``: expansion, kernel, layers, ``se`` where it is on.

    Activations are ReLU and gates hard sigmoids, as in all published run configurations; the
    stochastic depth of training is left out.

    Example:
        >>> from archrank.data import space
        >>> mnasnet = space("mnasnet")
        >>> mnasnet.graph("e1k3l1-e6k3l2-e6k5l2se-e6k3l3-e6k3l2se-e6k5l4se-e6k3l1").depth
        63
    """

    name = "mnasnet"
    title = "MnasNet-like space of Accel-NASBench"
    reference = "Ahmad et al., Accel-NASBench, DAC 2024"
    tasks: ClassVar[dict[str, Signature]] = {"imagenet": Signature((3, 224, 224), 1000)}
    choices = tuple(
        choice
        for i in range(len(WIDTHS))
        for choice in (
            Choice(f"expansion{i}", _EXPANSIONS),
            Choice(f"kernel{i}", _KERNELS),
            Choice(f"layers{i}", _DEPTHS[i]),
            Choice(f"se{i}", (False, True)),
        )
    )
    size = product_size(choices)

    def parse(self, arch: str) -> Values:
        reader = ArchitectureReader(arch, self.name)
        values: list[Any] = []
        for i in range(len(WIDTHS)):
            if i:
                reader.expect("-")
            reader.expect("e")
            values.append(reader.integer(_EXPANSIONS))
            reader.expect("k")
            values.append(reader.integer(_KERNELS))
            reader.expect("l")
            values.append(reader.integer(_DEPTHS[i]))
            values.append(reader.take("se"))
        reader.end()
        return tuple(values)

    def format(self, values: Values) -> str:
        stages = zip(*[iter(values)] * 4, strict=True)
        return "-".join(f"e{e}k{k}l{depth}{'se' if se else ''}" for e, k, depth, se in stages)

    def network(self, arch: str, task: Signature, name: str) -> nn.Module:
        stages = zip(*[iter(self.parse(arch))] * 4, strict=True)
        c_in = 32
        layers: list[nn.Module] = [ConvUnit(task.inputs[0], c_in, 3, 2)]
        for c_out, stride, (expansion, kernel, depth, se) in zip(
            WIDTHS, STRIDES, stages, strict=True
        ):
            for i in range(depth):
                layers.append(
                    InvertedResidual(
                        c_in,
                        expansion * c_in,
                        c_out,
                        kernel,
                        stride if i == 0 else 1,
                        expands=expansion > 1,
                        # of the block's input channels, not of the expanded ones
                        gate=max(1, c_in // 4) if se else 0,
                    )
                )
                c_in = c_out
        return nn.Sequential(*layers, ConvUnit(c_in, 1280, 1), Classifier(1280, task.outputs))
