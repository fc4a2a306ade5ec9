"""FBNet's space at the size of CIFAR-100, as HW-NAS-Bench and HELP measured it."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

from torch import Tensor, nn

from ....graphs import Piece
from ..blocks import ConvUnit, PooledLinear
from ..contract import Choice, ChoiceSpace, Signature, Values, product_size
from ..reading import ArchitectureReader


class Stage(NamedTuple):
    """Layers of one width; the first has the stride."""

    width: int
    stride: int
    depth: int


STAGES = (
    Stage(16, 1, 1),
    Stage(24, 1, 4),
    Stage(32, 2, 4),
    Stage(64, 2, 4),
    Stage(112, 1, 4),
    Stage(184, 2, 4),
    Stage(352, 1, 1),
)
_SKIP = "skip"
_OPERATORS = {  # kernel, expansion, groups
    "k3_e1": (3, 1, 1),
    "k3_e1_g2": (3, 1, 2),
    "k3_e3": (3, 3, 1),
    "k3_e6": (3, 6, 1),
    "k5_e1": (5, 1, 1),
    "k5_e1_g2": (5, 1, 2),
    "k5_e3": (5, 3, 1),
    "k5_e6": (5, 6, 1),
}
OPERATORS = (*_OPERATORS, _SKIP)


class Block(Piece):
    """1x1 to ``expansion * c_in`` channels, shuffle between groups, depthwise, 1x1; identity sum
    where it fits."""

    def __init__(
        self, c_in: int, c_out: int, stride: int, kernel: int, expansion: int, groups: int
    ):
        super().__init__()
        middle = expansion * c_in
        self.expand = ConvUnit(c_in, middle, 1, groups=groups)
        self.shuffle = nn.ChannelShuffle(groups) if groups > 1 else nn.Identity()
        self.depthwise = ConvUnit(middle, middle, kernel, stride, middle)
        self.project = ConvUnit(middle, c_out, 1, groups=groups, activation="none")
        self.adds = stride == 1 and c_in == c_out

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.project(self.depthwise(self.shuffle(self.expand(x))))
        return x + y if self.adds else y


class FBNet(ChoiceSpace):
    """The operator of each of 22 layers, joined by ``|``: kernel, expansion, groups, or ``skip``.

    A skip that changes the shape is a 1x1 convolution with norm and activation, else nothing.
    Parameters and FLOPs equal the published ones of all 5,000 measured networks.

    Example:
        >>> from archrank.data import space
        >>> graph = space("fbnet").graph("|".join(["k3_e1"] * 22))
        >>> graph.params, graph.product_flops
        (1170676, 31322240)
    """

    name = "fbnet"
    title = "FBNet on CIFAR-100, as measured by HW-NAS-Bench and HELP"
    reference = "Wu et al., FBNet, CVPR 2019; Li et al., HW-NAS-Bench, ICLR 2021"
    tasks: ClassVar[dict[str, Signature]] = {"cifar100": Signature((3, 32, 32), 100)}
    additive = True
    choices = tuple(Choice(f"layer{i}", OPERATORS) for i in range(sum(s.depth for s in STAGES)))
    size = product_size(choices)

    def parse(self, arch: str) -> Values:
        reader = ArchitectureReader(arch, self.name)
        values = reader.several(len(self.choices), "|", lambda: reader.one_of(OPERATORS))
        reader.end()
        return values

    def format(self, values: Values) -> str:
        return "|".join(values)

    def canonical(self, arch: str) -> str:
        """Move skips after a stage's first layer to its end."""
        values = iter(self.parse(arch))
        found: list[str] = []
        for stage in STAGES:
            first, *others = (next(values) for _ in range(stage.depth))
            kept = [value for value in others if value != _SKIP]
            found += [first, *kept, *[_SKIP] * (len(others) - len(kept))]
        return self.format(tuple(found))

    def network(self, arch: str, task: Signature, name: str) -> nn.Module:
        values = iter(self.parse(arch))
        c_in = 16
        layers: list[nn.Module] = [ConvUnit(task.inputs[0], c_in)]
        for c_out, first_stride, depth in STAGES:
            for i in range(depth):
                stride, value = (first_stride if i == 0 else 1), next(values)
                if value != _SKIP:
                    layers.append(Block(c_in, c_out, stride, *_OPERATORS[value]))
                elif stride > 1 or c_in != c_out:
                    layers.append(ConvUnit(c_in, c_out, 1, stride))
                c_in = c_out
        return nn.Sequential(*layers, ConvUnit(c_in, 1504, 1), PooledLinear(1504, task.outputs))
