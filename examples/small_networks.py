"""Twenty small networks of five designs, for grey images of 16 x 16 and ten classes.

    archrank rank examples/small_networks.py --data my_images/

``examples/choosing.py`` chooses among them. archrank calls ``candidates`` of a file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from torch import Tensor, nn

INPUT = (1, 16, 16)
CLASSES = 10


class _Residual(nn.Sequential):
    """Adds what it computes to its input."""

    def forward(self, x: Tensor) -> Tensor:
        return x + super().forward(x)


def _plain(width: int) -> nn.Module:
    convolution = nn.Conv2d(width, width, 3, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(width), nn.ReLU())


def _bare(width: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(width, width, 3, padding=1), nn.ReLU())


def _residual(width: int) -> nn.Module:
    first, second = (nn.Conv2d(width, width, 3, padding=1, bias=False) for _ in range(2))
    norms = nn.BatchNorm2d(width), nn.BatchNorm2d(width)
    return _Residual(norms[0], nn.ReLU(), first, norms[1], nn.ReLU(), second)


def _depthwise(width: int) -> nn.Module:
    wide = 3 * width
    return _Residual(
        *(nn.Conv2d(width, wide, 1, bias=False), nn.BatchNorm2d(wide), nn.ReLU()),
        *(nn.Conv2d(wide, wide, 3, padding=1, groups=wide, bias=False), nn.BatchNorm2d(wide)),
        *(nn.ReLU(), nn.Conv2d(wide, width, 1, bias=False), nn.BatchNorm2d(width)),
    )


def _convolutional(block: Callable[[int], nn.Module], width: int, depth: int) -> nn.Module:
    """Build two stages of blocks, the second with twice the channels at half the resolution."""
    stages = (
        *(block(width) for _ in range(depth)),
        nn.Conv2d(width, 2 * width, 2, 2),
        *(block(2 * width) for _ in range(depth)),
    )
    stem = nn.Conv2d(1, width, 3, 2, padding=1)
    head = (nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2 * width, CLASSES))
    return nn.Sequential(stem, *stages, *head)


def _perceptron(width: int, depth: int) -> nn.Module:
    layers: list[nn.Module] = [nn.Flatten(), nn.Linear(256, width), nn.ReLU()]
    for _ in range(depth):
        layers += [nn.Linear(width, width), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(width, CLASSES))


def candidates() -> Mapping[str, Callable[[], nn.Module]]:
    """Return the networks by name."""
    found: dict[str, Callable[[], nn.Module]] = {}
    for block in (_plain, _bare, _residual, _depthwise):
        for width, depth in ((8, 1), (8, 3), (16, 1), (16, 3)):
            name = f"{block.__name__[1:]} {width}x{depth}"
            found[name] = partial(_convolutional, block, width, depth)
    for width, depth in ((32, 1), (32, 3), (128, 1), (128, 3)):
        found[f"perceptron {width}x{depth}"] = partial(_perceptron, width, depth)
    return found
