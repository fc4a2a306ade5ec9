"""Chance under control: own generators for a while, and who draws from them."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


@contextmanager
def seeded(seed: int) -> Iterator[Callable[[], bool]]:
    """Seed torch, NumPy and Python inside; outside their random states stay where they were.

    Yields:
        A function that says whether anything has drawn from them since.

    Example:
        >>> before = torch.get_rng_state()
        >>> with seeded(0) as moved:
        ...     one, drawn = random.random(), moved()
        >>> drawn, torch.equal(before, torch.get_rng_state())
        (True, True)
    """
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    numpy_state, python_state = np.random.get_state(), random.getstate()
    with torch.random.fork_rng(devices=devices):
        try:
            torch.default_generator.manual_seed(seed)
            for device in devices:
                torch.cuda.default_generators[device].manual_seed(seed)
            np.random.seed(seed % 2**32)
            random.seed(seed)
            start = random_state()
            yield lambda: random_state() != start
        finally:
            np.random.set_state(numpy_state)
            random.setstate(python_state)


def random_state() -> tuple[Any, ...]:
    """Return the states of all global generators, to be compared."""
    _, keys, *rest = np.random.get_state()
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    return (
        torch.get_rng_state().numpy().tobytes(),
        *(torch.cuda.get_rng_state(device).numpy().tobytes() for device in devices),
        np.asarray(keys).tobytes(),
        *rest,
        random.getstate(),
    )
