"""Stand-alone networks of the once-for-all supernets with inverted residuals."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor, nn

from ....graphs import Piece
from ..blocks import ConvUnit, InvertedResidual, PooledLinear, divisible
from ..contract import Choice, ChoiceSpace, Signature, Values
from ..reading import ArchitectureReader

KERNELS, EXPANSIONS, DEPTHS = (3, 5, 7), (3, 4, 6), (2, 3, 4)
RESOLUTIONS = tuple(range(128, 257, 4))
_DEFAULT = 224


class StagedMobileNet(ChoiceSpace):
    """Stages of inverted residuals, each with its own kernel and expansion, and a resolution.

    A string lists the active blocks, ``k3e6,k5e4-k7e3,k3e3-...@224``, with stages joined by ``-``;
    ``@224`` may be left out when reading.
    """

    stages: ClassVar[int]
    tails: ClassVar[int] = 0  # stages of exactly one block after the others

    @classmethod
    def _choices(cls, stages: int, tails: int) -> tuple[Choice, ...]:
        found = [Choice("resolution", RESOLUTIONS)]
        for stage in range(stages + tails):
            blocks = DEPTHS[-1] if stage < stages else 1
            if stage < stages:
                found.append(Choice(f"depth{stage}", DEPTHS))
            for block in range(blocks):
                found.append(Choice(f"kernel{stage}.{block}", KERNELS))
                found.append(Choice(f"expansion{stage}.{block}", EXPANSIONS))
        return tuple(found)

    @classmethod
    def _size(cls, stages: int, tails: int) -> int:
        blocks = len(KERNELS) * len(EXPANSIONS)
        stage = sum(int(blocks**depth) for depth in DEPTHS)
        return int(len(RESOLUTIONS) * stage**stages * blocks**tails)

    def blocks(self, values: Values) -> list[list[tuple[int, int]]]:
        """Return (kernel, expansion) of every active block, by stage."""
        own = iter(values[1:])
        found = []
        for stage in range(self.stages + self.tails):
            depth = next(own) if stage < self.stages else 1
            most = DEPTHS[-1] if stage < self.stages else 1
            pairs = [(next(own), next(own)) for _ in range(most)]
            found.append(pairs[:depth])
        return found

    def active(self, values: Values) -> list[bool]:
        active = [True]
        own = iter(values[1:])
        for stage in range(self.stages + self.tails):
            most = DEPTHS[-1] if stage < self.stages else 1
            depth = 1
            if stage < self.stages:
                depth = next(own)
                active.append(True)
            for block in range(most):
                next(own), next(own)
                active += [block < depth] * 2
        return active

    def parse(self, arch: str) -> Values:
        reader = ArchitectureReader(arch, self.name)
        values: list[Any] = []
        for stage in range(self.stages + self.tails):
            if stage:
                reader.expect("-")
            start = reader.position
            pairs: list[tuple[int, int]] = []
            while not pairs or reader.take(","):
                reader.expect("k")
                kernel = reader.integer(KERNELS)
                reader.expect("e")
                pairs.append((kernel, reader.integer(EXPANSIONS)))
            allowed = DEPTHS if stage < self.stages else (1,)
            if len(pairs) not in allowed:
                reader.fail(
                    f"a stage of {' or '.join(map(str, allowed))} blocks, not {len(pairs)}", start
                )
            if stage < self.stages:
                values.append(len(pairs))
                pairs += [(KERNELS[0], EXPANSIONS[0])] * (DEPTHS[-1] - len(pairs))
            values += [value for pair in pairs for value in pair]
        resolution = reader.integer(RESOLUTIONS) if reader.take("@") else _DEFAULT
        reader.end()
        return (resolution, *values)

    def format(self, values: Values) -> str:
        stages = (",".join(f"k{k}e{e}" for k, e in stage) for stage in self.blocks(values))
        return "-".join(stages) + f"@{values[0]}"

    def inputs(self, task: str | None = None, arch: str | None = None) -> tuple[int, ...]:
        shape = self.task(task).inputs
        if arch is None:
            return shape
        resolution = self.parse(arch)[0]
        return (shape[0], resolution, resolution)


class MobileNetTail(Piece):
    """Global average, then a 1x1 convolution without norm, h-swish, linear."""

    def __init__(self, width: int, hidden: int, classes: int):
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.conv = nn.Conv2d(width, hidden, 1, bias=False)
        self.activation = nn.Hardswish()
        self.linear = nn.Linear(hidden, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.activation(self.conv(self.pool(x))).flatten(1))  # type: ignore[no-any-return]


_IMAGENET = {"imagenet": Signature((3, _DEFAULT, _DEFAULT), 1000)}


class OFAMobileNetV3(StagedMobileNet):
    """The MobileNetV3 space of once-for-all, width 1.0.

    Example:
        >>> from archrank.data import space
        >>> ofa = space("ofa_mobilenetv3")
        >>> graph = ofa.graph("-".join(["k3e3,k3e3"] * 5))
        >>> graph.params, graph.product_flops
        (3410792, 121278672)
    """

    name = "ofa_mobilenetv3"
    title = "Once-for-all MobileNetV3, width 1.0"
    reference = "Cai et al., Once-for-all, ICLR 2020"
    tasks = _IMAGENET
    stages = 5
    choices = StagedMobileNet._choices(5, 0)
    size = StagedMobileNet._size(5, 0)

    def network(self, arch: str, task: Signature, name: str) -> nn.Module:
        c_in = 16
        layers: list[nn.Module] = [
            ConvUnit(task.inputs[0], c_in, 3, 2, activation="hswish"),
            InvertedResidual(c_in, c_in, c_in, 3, 1, expands=False),
        ]
        for blocks, c_out, stride, activation, gated in zip(
            self.blocks(self.parse(arch)),
            (24, 40, 80, 112, 160),
            (2, 2, 2, 1, 2),
            ("relu", "relu", "hswish", "hswish", "hswish"),
            (False, True, False, True, True),
            strict=True,
        ):
            for i, (kernel, expansion) in enumerate(blocks):
                middle = divisible(round(c_in * expansion))
                layers.append(
                    InvertedResidual(
                        c_in,
                        middle,
                        c_out,
                        kernel,
                        stride if i == 0 else 1,
                        activation,
                        gate=divisible(middle // 4) if gated else 0,
                    )
                )
                c_in = c_out
        layers.append(ConvUnit(c_in, 960, 1, activation="hswish"))
        return nn.Sequential(*layers, MobileNetTail(960, 1280, task.outputs))


class ProxylessNAS(StagedMobileNet):
    """The ProxylessNAS space of once-for-all, width 1.0; its last stage is one block.

    Example:
        >>> from archrank.data import space
        >>> graph = space("proxylessnas").graph("-".join(["k3e3,k3e3"] * 5 + ["k3e3"]))
        >>> graph.params, graph.product_flops
        (2500632, 154160000)
    """

    name = "proxylessnas"
    title = "Once-for-all ProxylessNAS, width 1.0"
    reference = "Cai et al., ProxylessNAS, ICLR 2019; Once-for-all, ICLR 2020"
    tasks = _IMAGENET
    stages, tails = 5, 1
    choices = StagedMobileNet._choices(5, 1)
    size = StagedMobileNet._size(5, 1)

    def network(self, arch: str, task: Signature, name: str) -> nn.Module:
        c_in, eps = 16, 1e-3
        layers: list[nn.Module] = [
            ConvUnit(task.inputs[0], 32, 3, 2, activation="relu6", eps=eps),
            InvertedResidual(32, 32, c_in, 3, 1, "relu6", expands=False, residual=False, eps=eps),
        ]
        for blocks, c_out, stride in zip(
            self.blocks(self.parse(arch)),
            (24, 40, 80, 96, 192, 320),
            (2, 2, 2, 1, 2, 1),
            strict=True,
        ):
            for i, (kernel, expansion) in enumerate(blocks):
                middle = divisible(round(c_in * expansion))
                step = stride if i == 0 else 1
                layers.append(InvertedResidual(c_in, middle, c_out, kernel, step, "relu6", eps=eps))
                c_in = c_out
        layers.append(ConvUnit(c_in, 1280, 1, activation="relu6", eps=eps))
        return nn.Sequential(*layers, PooledLinear(1280, task.outputs))
