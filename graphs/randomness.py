"""Control of randomness: seeds for a while, and checks whether anything drew numbers."""

from __future__ import annotations

import pickle
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, get_args

import numpy as np
import torch
from torch import nn

from .side_effects import reached

Own = torch.Generator | np.random.Generator | np.random.RandomState | random.Random
"""A generator that a model has for itself."""


def own_generators(model: nn.Module) -> list[Own]:
    """Return the generators that a model holds or that its functions reach through globals."""
    return reached(get_args(Own), model)


def _state(generator: Own) -> Any:
    if isinstance(generator, torch.Generator):
        return generator.get_state()
    if isinstance(generator, np.random.Generator):
        return generator.bit_generator.state
    return generator.getstate() if isinstance(generator, random.Random) else generator.get_state()


def _as_bytes(state: Any) -> bytes:
    return state.numpy().tobytes() if isinstance(state, torch.Tensor) else pickle.dumps(state)


def _put_back(generator: Own, state: Any) -> None:
    if isinstance(generator, np.random.Generator):
        generator.bit_generator.state = state
    elif isinstance(generator, random.Random):
        generator.setstate(state)
    else:
        generator.set_state(state)


@contextmanager
def seeded(seed: int, own: Sequence[Own] = ()) -> Iterator[Callable[[], bool]]:
    """Seed torch, NumPy and Python inside the context, and restore their random states afterwards.

    Args:
        seed: the seed of all three.
        own: other generators, which are also restored.

    Yields:
        A function that returns whether anything has drawn from them since.

    Example:
        >>> before = torch.get_rng_state()
        >>> with seeded(0) as moved:
        ...     one, drawn = random.random(), moved()
        >>> drawn, torch.equal(before, torch.get_rng_state())
        (True, True)
    """
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    numpy_state, python_state = np.random.get_state(), random.getstate()
    kept = [_state(generator) for generator in own]
    with torch.random.fork_rng(devices=devices):
        try:
            torch.default_generator.manual_seed(seed)
            for device in devices:
                torch.cuda.default_generators[device].manual_seed(seed)
            np.random.seed(seed % 2**32)
            random.seed(seed)
            start = random_state(own)
            yield lambda: random_state(own) != start
        finally:
            np.random.set_state(numpy_state)
            random.setstate(python_state)
            for generator, state in zip(own, kept, strict=True):
                _put_back(generator, state)


def random_state(own: Sequence[Own] = ()) -> tuple[Any, ...]:
    """Return the states of all global generators, and of ``own`` ones, for comparison."""
    _, keys, *rest = np.random.get_state()
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    return (
        torch.get_rng_state().numpy().tobytes(),
        *(torch.cuda.get_rng_state(device).numpy().tobytes() for device in devices),
        np.asarray(keys).tobytes(),
        *rest,
        random.getstate(),
        *(_as_bytes(_state(generator)) for generator in own),
    )
