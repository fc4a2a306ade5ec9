"""The protocol behind the labels of the embedded benchmark: the data, the training, the test.

scikit-learn's 1,797 digits of 8x8 pixels are easy: almost any network passes 97 %. Here, a network
is trained on 500 of them, each time rotated, scaled, sheared and shifted by new random amounts,
under noise. It is tested on two distorted and noisy versions of each of the other 1,297. Everything
is a function of the seed.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...errors import InputError

CLASSES = 10


@dataclass(frozen=True)
class Protocol:
    """Every number of the training protocol."""

    train_images: int = 500
    test_copies: int = 2
    split_seed: int = 0
    rotation: float = 15.0  # degrees, uniform in +-
    scale: float = 0.2  # factor, uniform in 1 +-
    shear: float = 0.2
    shift: float = 1.0  # pixels
    noise: float = 0.2  # standard deviation; pixels are in [0, 1]
    epochs: int = 20
    batch: int = 50
    learning_rate: float = 5e-3  # AdamW, cosine to zero after a warm-up
    weight_decay: float = 0.02
    warmup: int = 20  # steps
    clip: float = 5.0  # norm of the gradient

    def facts(self) -> dict[str, Any]:
        """Return the protocol in the form that is written beside the labels."""
        return asdict(self)


PROTOCOL = Protocol()


@cache
def _digits() -> tuple[Tensor, Tensor]:
    from sklearn.datasets import load_digits

    raw = load_digits()
    images = torch.tensor(raw.images, dtype=torch.float32).unsqueeze(1) / 16
    return images, torch.tensor(raw.target, dtype=torch.int64)


@cache
def split(protocol: Protocol = PROTOCOL) -> tuple[Tensor, Tensor]:
    """Split the images into training and test sets, with equally many of each class in training."""
    _, targets = _digits()
    generator = torch.Generator().manual_seed(protocol.split_seed)
    order = torch.randperm(len(targets), generator=generator)
    rank = torch.zeros_like(targets)
    for digit in range(CLASSES):
        own = order[targets[order] == digit]
        rank[own] = torch.arange(len(own))
    train = rank < protocol.train_images // CLASSES
    return train.nonzero().flatten(), (~train).nonzero().flatten()


def distorted(images: Tensor, generator: torch.Generator, protocol: Protocol = PROTOCOL) -> Tensor:
    """Distort each image by its own random affine map and noise; the shape (n, 1, 8, 8) stays."""
    n, _, height, _ = images.shape

    def uniform(limit: float) -> Tensor:
        return (2 * torch.rand(n, generator=generator) - 1) * limit

    angle = uniform(protocol.rotation * math.pi / 180)
    scale = 1 + uniform(protocol.scale)
    shear = uniform(protocol.shear)
    shift_x, shift_y = (uniform(2 * protocol.shift / height) for _ in range(2))
    cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
    theta = torch.stack(
        [
            torch.stack([cos, cos * shear - sin, shift_x], 1),
            torch.stack([sin, sin * shear + cos, shift_y], 1),
        ],
        1,
    )
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    moved = F.grid_sample(images, grid, align_corners=False)
    return moved + protocol.noise * torch.randn(moved.shape, generator=generator)


@cache
def evaluation_set(protocol: Protocol = PROTOCOL) -> tuple[Tensor, Tensor]:
    """Make the same distorted test images for every network and seed."""
    images, targets = _digits()
    index = split(protocol)[1].repeat(protocol.test_copies)
    generator = torch.Generator().manual_seed(protocol.split_seed + 1)
    return _normal(distorted(images[index], generator, protocol)), targets[index]


def batches(n: int, seed: int, protocol: Protocol = PROTOCOL) -> tuple[Tensor, Tensor]:
    """Return ``n`` distorted training images and their classes, for proxies that need data."""
    images, targets = _digits()
    index = split(protocol)[0]
    if not 0 < n <= len(index):
        raise InputError(f"n: got {n}, expected 1 to {len(index)} images")
    generator = torch.Generator().manual_seed(seed)
    index = index[torch.randperm(len(index), generator=generator)[:n]]
    return _normal(distorted(images[index], generator, protocol)), targets[index]


def _normal(images: Tensor) -> Tensor:
    return (images - 0.3) / 0.45


def train(network: nn.Module, seed: int, protocol: Protocol = PROTOCOL) -> float:
    """Train a newly built network, and return its accuracy on the test set in percent.

    Args:
        network: a classifier of (n, 1, 8, 8) into ten classes, on the CPU, with initial weights.
        seed: the seed of the order and distortions of the training images.
    """
    images, targets = _digits()
    index = split(protocol)[0]
    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.AdamW(
        network.parameters(), protocol.learning_rate, weight_decay=protocol.weight_decay
    )
    steps = protocol.epochs * (len(index) // protocol.batch)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser,
        lambda step: (
            min(1, (step + 1) / protocol.warmup) * (1 + math.cos(math.pi * step / steps)) / 2
        ),
    )
    network.train()
    for _ in range(protocol.epochs):
        order = index[torch.randperm(len(index), generator=generator)]
        seen = _normal(distorted(images[order], generator, protocol))
        for x, y in zip(
            seen.split(protocol.batch), targets[order].split(protocol.batch), strict=True
        ):
            optimiser.zero_grad()
            F.cross_entropy(network(x), y).backward()
            nn.utils.clip_grad_norm_(network.parameters(), protocol.clip)
            optimiser.step()
            schedule.step()
    network.eval()
    test, wanted = evaluation_set(protocol)
    with torch.no_grad():
        guess = torch.cat([network(part).argmax(1) for part in test.split(1297)])
    return 100 * float((guess == wanted).double().mean())
