"""NAS-Bench-Macro: eight layers of three choices."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import ClassVar

from torch import nn

from ..blocks import ConvUnit, InvertedResidual, PooledLinear
from ..contract import Choice, ChoiceSpace, Signature, Values, product_size
from ..reading import ArchitectureReader

STAGES = (2, 3, 3)
_OPTIONS = (0, 1, 2)
_EXPANSION_AND_KERNEL = {1: (3, 3), 2: (6, 5)}


class NASBenchMacro(ChoiceSpace):
    """One digit per layer: 0 identity, 1 inverted residual e3 k3, 2 inverted residual e6 k5.

    A stage's first layer changes shape, so its identity is a strided 1x1 convolution and norm.

    Example:
        >>> from archrank.data import space
        >>> graph = space("nasbench_macro").graph("02012100")
        >>> graph.params, graph.product_flops
        (890666, 47327744)
    """

    name = "nasbench_macro"
    title = "NAS-Bench-Macro"
    reference = (
        "Su et al., Prioritized architecture sampling with Monto-Carlo tree search, CVPR 2021"
    )
    tasks: ClassVar[dict[str, Signature]] = {"cifar10": Signature((3, 32, 32), 10)}
    additive = True
    choices = tuple(Choice(f"layer{i}", _OPTIONS) for i in range(sum(STAGES)))
    size = product_size(choices)

    def parse(self, arch: str) -> Values:
        reader = ArchitectureReader(arch, self.name)
        values = [reader.digit(_OPTIONS) for _ in self.choices]
        reader.end()
        return tuple(values)

    def format(self, values: Values) -> str:
        return "".join(map(str, values))

    def __iter__(self) -> Iterator[str]:
        return map(self.format, product(_OPTIONS, repeat=len(self.choices)))

    def canonical(self, arch: str) -> str:
        """Move identities after a stage's first layer to its end: 3,969 networks."""
        values = iter(self.parse(arch))
        found: list[int] = []
        for depth in STAGES:
            first, *others = (next(values) for _ in range(depth))
            kept = [v for v in others if v]
            found += [first, *kept, *[0] * (len(others) - len(kept))]
        return self.format(tuple(found))

    def network(self, arch: str, task: Signature, name: str) -> nn.Module:
        values = iter(self.parse(arch))
        c_in = 32
        layers: list[nn.Module] = [ConvUnit(task.inputs[0], c_in)]
        for depth in STAGES:
            c_out = 2 * c_in
            for i in range(depth):
                stride, value = (2 if i == 0 else 1), next(values)
                if value:
                    expansion, kernel = _EXPANSION_AND_KERNEL[value]
                    layers.append(InvertedResidual(c_in, expansion * c_in, c_out, kernel, stride))
                elif i == 0:
                    layers.append(ConvUnit(c_in, c_out, 1, stride, activation="none"))
                else:
                    layers.append(nn.Identity())
                c_in = c_out
        head = [ConvUnit(c_in, 1280, 1), PooledLinear(1280, task.outputs)]
        return nn.Sequential(*layers, *head)
