"""Seeds for each step, which leave torch's generators unchanged."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed torch's generator inside the block, as for initial weights, and restore it afterwards.

    Example:
        >>> with seeded(0):
        ...     first = torch.rand(1)
        >>> with seeded(0):
        ...     bool(torch.rand(1) == first)
        True
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


@contextmanager
def own_random_state(device: str) -> Iterator[None]:
    """Restore torch's generators, of the CPU and of a device, after the block."""
    place = torch.device(device)
    if place.type == "cuda" and place.index is None:
        place = torch.device("cuda", torch.cuda.current_device())
    with torch.random.fork_rng(devices=[place.index] if place.type == "cuda" else []):
        yield


def seed_of(*parts: int) -> int:
    """Return one seed for several whole numbers."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0])


def generator_of(*parts: int) -> np.random.Generator:
    """Return numpy's generator seeded with several whole numbers."""
    return np.random.default_rng(parts)
