"""Randomly wired networks, which show encoders graphs that no search space contains."""

from __future__ import annotations

import numpy as np
from torch import Tensor, nn

_SIDES = (32, 64, 128, 224)
_ACTIVATIONS = (nn.ReLU, nn.GELU, nn.SiLU, nn.Hardswish)
_KERNELS = (1, 3, 3, 5, 7)
_OPERATORS = ("conv", "conv", "separable", "bottleneck", "max_pool", "avg_pool", "identity", "gate")


class RandomWiring(nn.Module):
    """A convolutional network of random cells, each repeated a random number of times.

    Stages double the channels and halve the image. A stage repeats one cell, which is a sequence of
    nodes. Each node reads the sum of one to three earlier nodes and applies a random operator: a
    convolution, a separable one, a bottleneck, pooling, the identity, or a channel-wise gate. The
    nodes without consumers are summed and, in half of the networks, added to the cell's input.

    Args:
        seed: the seed of everything random: input, widths, depths, operators, wiring.

    Attributes:
        input_shape: the shape that ``forward`` takes, without the batch dimension.

    Source: the random wiring follows Xie et al., "Exploring randomly wired neural networks for
    image recognition", ICCV-19.

    Notes:
        The operators, the wiring and their probabilities are our choice.

    Example:
        >>> import archrank
        >>> network = RandomWiring(seed=0)
        >>> archrank.trace(network, network.input_shape).depth > 3
        True
    """

    def __init__(self, seed: int) -> None:
        super().__init__()
        rng = np.random.default_rng(seed)
        side = int(rng.choice(_SIDES))
        self.input_shape = (3, side, side)
        channels = int(2 ** rng.integers(3, 7))
        layer = _Layers(rng)
        stem = [layer.convolution(3, channels, 3, 2 if side > 64 else 1)]
        stages = []
        for stage in range(int(rng.integers(2, 5))):
            if stage:
                stages.append(layer.convolution(channels, 2 * channels, 3, 2))
                channels *= 2
            cell = _drawn_cell(rng)
            residual = bool(rng.random() < 0.5)
            repeats = int(2 ** rng.uniform(0, 3.6))
            stages += [_Cell(cell, layer, channels, residual) for _ in range(repeats)]
        self.features = nn.Sequential(*stem, *stages)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(channels, int(rng.choice((10, 100, 1000))))

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits of images."""
        return self.classifier(self.pool(self.features(images)).flatten(1))  # type: ignore[no-any-return]


class _Layers:
    """A maker of layers with one kind of norm and activation for a whole network."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.activation = _ACTIVATIONS[rng.integers(len(_ACTIVATIONS))]
        self.norm = str(rng.choice(("batch", "batch", "group", "none")))

    def convolution(
        self, before: int, after: int, kernel: int, stride: int = 1, groups: int = 1
    ) -> nn.Module:
        """Return a convolution, padded to keep the size up to its stride, with norm and
        activation."""
        layers: list[nn.Module] = [
            nn.Conv2d(
                *(before, after, kernel, stride, kernel // 2),
                groups=groups,
                bias=self.norm == "none",
            )
        ]
        if self.norm != "none":
            batch = self.norm == "batch"
            layers.append(nn.BatchNorm2d(after) if batch else nn.GroupNorm(4, after))
        return nn.Sequential(*layers, self.activation())

    def operator(self, kind: str, channels: int, kernel: int) -> nn.Module:
        """Return the operator of a node, whose output has the shape of its input."""
        if kind == "conv":
            return self.convolution(channels, channels, kernel)
        if kind == "separable":
            return nn.Sequential(
                self.convolution(channels, channels, max(kernel, 3), groups=channels),
                self.convolution(channels, channels, 1),
            )
        if kind == "bottleneck":
            narrow = max(channels // 4, 4)
            return nn.Sequential(
                self.convolution(channels, narrow, 1),
                self.convolution(narrow, narrow, kernel),
                self.convolution(narrow, channels, 1),
            )
        if kind == "gate":
            return _Gate(channels)
        pools = {"max_pool": nn.MaxPool2d, "avg_pool": nn.AvgPool2d}
        return pools[kind](3, 1, 1) if kind in pools else nn.Identity()


class _Gate(nn.Module):
    """A squeeze and excitation: channels weighted by a function of their means over the image."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        narrow = max(channels // 4, 4)
        self.weights = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            *(nn.Conv2d(channels, narrow, 1), nn.ReLU()),
            *(nn.Conv2d(narrow, channels, 1), nn.Sigmoid()),
        )

    def forward(self, images: Tensor) -> Tensor:
        return images * self.weights(images)  # type: ignore[no-any-return]


_Node = tuple[str, int, tuple[int, ...]]
"""The operator, the kernel and the operands of each node, where 0 is the cell's input."""


def _drawn_cell(rng: np.random.Generator) -> list[_Node]:
    cell = []
    for place in range(1, int(rng.integers(2, 9))):
        read = rng.permutation(place)[: int(rng.integers(1, 4))]
        kind, kernel = str(rng.choice(_OPERATORS)), int(rng.choice(_KERNELS))
        cell.append((kind, kernel, tuple(sorted(read.tolist()))))
    return cell


class _Cell(nn.Module):
    """A cell of nodes that read sums of earlier nodes; its output sums the nodes without
    consumers."""

    def __init__(self, nodes: list[_Node], layers: _Layers, channels: int, residual: bool) -> None:
        super().__init__()
        self.reads = [read for _, _, read in nodes]
        self.operators = nn.ModuleList(
            layers.operator(kind, channels, kernel) for kind, kernel, _ in nodes
        )
        read = {one for some in self.reads for one in some}
        self.ends = [place for place in range(1, len(nodes) + 1) if place not in read]
        if residual:
            self.ends.insert(0, 0)

    def forward(self, images: Tensor) -> Tensor:
        made = [images]
        for read, operator in zip(self.reads, self.operators, strict=True):
            made.append(operator(_total([made[i] for i in read])))
        return _total([made[i] for i in self.ends])


def _total(images: list[Tensor]) -> Tensor:
    total = images[0]
    for one in images[1:]:
        total = total + one
    return total
