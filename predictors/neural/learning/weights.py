"""Weights of modules as arrays, which files can hold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from ....errors import InputError

State = dict[str, npt.NDArray[Any]]
"""The weights of a module by name."""


def arrays_of(module: nn.Module) -> State:
    """Return a module's weights as arrays.

    Example:
        >>> sorted(arrays_of(nn.Linear(2, 1)))
        ['bias', 'weight']
    """
    return {k: v.detach().cpu().clone().numpy() for k, v in module.state_dict().items()}


def load_arrays(module: nn.Module, weights: State, new: Sequence[str] = ()) -> None:
    """Set a module's weights, except those whose names begin with one of ``new``.

    Raises:
        InputError: the weights belong to another module.

    Example:
        >>> first, second = nn.Linear(2, 1), nn.Linear(2, 1)
        >>> load_arrays(second, arrays_of(first))
        >>> bool((first.weight == second.weight).all())
        True
    """
    own = module.state_dict()
    kept = {name for name in own if name.startswith(tuple(new))}
    shapes = {name: tuple(value.shape) for name, value in own.items() if name not in kept}
    sizes = {name: int(np.prod(shape)) for name, shape in shapes.items()}
    if {name: array.size for name, array in weights.items()} != sizes:
        raise InputError("weights: they do not fit the module that its arguments describe")
    # Files hold no arrays without dimensions.
    given = {name: torch.tensor(weights[name]).reshape(shapes[name]) for name in shapes}
    module.load_state_dict({**given, **{name: own[name] for name in kept}})
