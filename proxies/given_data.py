"""Users' data in the two forms that passes read: one input, or a list of batches."""

from __future__ import annotations

import inspect
import math
import traceback
from collections.abc import Iterable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset, Subset

from ..errors import ArchrankError, InputError
from ..graphs.inputs.tensors import as_tensors, check_inputs, is_shape
from ..graphs.randomness import seeded

_TARGETS = ("labels", "label", "targets", "target", "y")
"""Names that a dictionary of tensors has its targets under."""
_LABELS = "labels"
"""The name under which models of Hugging Face take their targets."""


def drawn(inputs: Any, batch_size: int = 64, count: int = 1, seed: int = 0) -> Any:
    """Draw batches once, so that all networks see the same data.

    Args:
        inputs: the same as in ``archrank.score``. Shapes, tensors, arrays, tuples and dicts are one
            input and are returned unchanged.
        batch_size: the number of samples per batch that are drawn from a data set, at random
            without repetition.
        count: the number of batches to read.
        seed: the seed of the drawn samples and of a loader that shuffles.

    Raises:
        InputError: there is no batch, it cannot be read, or some numbers in it are missing (NaN).

    Example:
        >>> from torch.utils.data import TensorDataset
        >>> data = TensorDataset(torch.arange(6.0).view(6, 1), torch.arange(6))
        >>> batches = drawn(data, batch_size=2, count=2)
        >>> [(tuple(x.shape), len(y)) for x, y in batches]
        [((2, 1), 2), ((2, 1), 2)]
    """
    if hasattr(inputs, "to_numpy"):  # a table of pandas
        inputs = np.array(inputs)
    single = isinstance(inputs, (Tensor, np.ndarray, Mapping, tuple))
    if inputs is None or single or is_shape(inputs):
        _refuse_missing(inputs)
        return inputs
    if isinstance(inputs, str):
        check_inputs(inputs)
    if _is_data_set(inputs):
        inputs = _loader(inputs, batch_size, count, seed)
    if not isinstance(inputs, Iterable):
        raise InputError(
            f"inputs: got {type(inputs).__name__}, expected a shape without batch dimension, a "
            "tensor or an array, the tuple or dict of tensors that forward takes, a data set, or "
            "an iterable of batches"
        )
    try:
        with seeded(seed):
            batches = list(islice(inputs, count))
    except ArchrankError:
        raise
    except Exception as error:  # the user's own data may raise anything
        raise _unreadable(error) from error
    if not batches:
        raise InputError(
            "inputs: there is no batch; a data set may be empty, and an iterator or generator can "
            "be read only once: give the loader or the list itself"
        )
    _refuse_missing(batches)
    for batch in batches:
        as_targets(_likely_targets(batch))  # which refuses names of classes
    return batches


def _unreadable(error: Exception) -> InputError:
    """Return what to say of data that raised an error: of the user's own code, say where."""
    said = str(error).strip().splitlines()  # of a worker process, the last line is its error
    what = f"{type(error).__name__}: {said[-1] if said else ''}"
    place = traceback.extract_tb(error.__traceback__)[-1]
    if Path(torch.__file__).parent in Path(place.filename).parents:
        return InputError(
            f"inputs: no batch can be made of its samples ({what}); give the data set a transform "
            "that returns tensors of one shape"
        )
    return InputError(
        f"inputs: the data cannot be read ({what}, in {place.filename}, line {place.lineno})"
    )


def _likely_targets(batch: Any) -> Any:
    """Return what of a batch is its targets for most models."""
    if isinstance(batch, Mapping):
        return next((batch[name] for name in _TARGETS if name in batch), None)
    several = isinstance(batch, (list, tuple)) and len(batch) > 1
    return batch[-1] if several else None


def _refuse_missing(data: Any) -> None:
    """Refuse numbers that are missing: every score of them would be missing, too."""
    if isinstance(data, Mapping):
        data = list(data.values())
    if isinstance(data, (list, tuple)):
        for item in data:
            _refuse_missing(item)
        return
    values = as_tensors(data) if isinstance(data, np.ndarray) and data.dtype.kind == "f" else data
    if isinstance(values, Tensor) and values.is_floating_point() and values.isnan().any():
        count, all_ = int(values.isnan().sum()), values.numel()
        raise InputError(
            f"inputs: {count} of the {all_} numbers in a tensor of shape {tuple(values.shape)} are "
            "missing (NaN); leave these samples out, or fill them by torch.nan_to_num"
        )


def _is_data_set(inputs: Any) -> bool:
    """Return whether the object yields samples, not batches."""
    if isinstance(inputs, (list, DataLoader)):
        return False
    by_index = hasattr(inputs, "__getitem__") and hasattr(inputs, "__len__")
    return isinstance(inputs, IterableDataset) or by_index


def _loader(samples: Any, batch_size: int, count: int, seed: int) -> DataLoader[Any]:
    if isinstance(samples, IterableDataset):
        return DataLoader(samples, batch_size)
    generator = torch.Generator().manual_seed(seed)
    index = torch.randperm(len(samples), generator=generator)[: batch_size * count]
    return DataLoader(Subset(samples, index.tolist()), batch_size)


def parted(
    model: nn.Module, item: Any, targets: Any = None, is_batch: bool = True
) -> tuple[Any, Any]:
    """Split a batch into the input of ``forward`` and the targets of the loss.

    ``(x, y)``, ``(x1, x2, y)`` and dicts with an entry such as ``"labels"`` hold their targets,
    unless ``forward`` takes them all. It may take ``labels`` that are one class per sample; these
    are targets all the same. Arrays become tensors.

    Args:
        model: the model that takes the input.
        item: a batch, or the one input.
        targets: the targets, if they are given separately; the item then holds none.
        is_batch: whether the item is one of a list of batches. The last part of a batch counts as
            targets if ``forward`` can run without it. The last part of a single input counts as
            targets only if ``forward`` cannot take it.

    Example:
        >>> x, y = torch.zeros(2, 4), torch.zeros(2)
        >>> inputs, targets = parted(nn.Linear(4, 2), (x, y))
        >>> inputs is x, targets is y
        (True, True)
        >>> parted(nn.Linear(4, 2), {"pixels": x, "label": y})[0] is x
        True
    """
    item, targets = as_tensors(item), as_targets(targets)
    if is_batch and isinstance(item, list):
        item = tuple(item)
    if isinstance(item, Mapping):
        return _parted_dict(model, dict(item), targets)
    if not isinstance(item, tuple) or is_shape(item):
        return item, targets
    needed, most = _places(model)
    # ((x1, x2), y) says itself what is what.
    nested = is_batch and len(item) == 2 and isinstance(item[0], (tuple, list, Mapping))
    if targets is None and (nested or len(item) > max(1, needed if is_batch else most)):
        item, targets = item[:-1], item[-1]
    if nested and len(item) == 1:
        inner = item[0]
        if not isinstance(inner, Mapping):  # more than forward takes are the images of one list
            return (([*inner],) if len(inner) > most else tuple(inner)), targets
        if _takes_names(model, inner):
            return dict(inner), targets
    alone = len(item) == 1 and isinstance(item[0], Tensor)  # else it would pass for names
    return (item[0] if alone else item), targets


def _parted_dict(model: nn.Module, item: dict[str, Any], targets: Any) -> tuple[Any, Any]:
    names = _names(model)
    if targets is None and (names is None or _LABELS in names) and _are_classes(item.get(_LABELS)):
        targets = item[_LABELS]  # which forward takes, too
    if names is None:
        return item, targets
    for name in _TARGETS:
        if name in item and name not in names and targets is None and len(item) > 1:
            targets = item.pop(name)
    (first, *more) = item
    # The only entry left needs no name: {"pixels": x} is what forward(self, x) takes.
    return (item if more or first in names else item[first]), targets


def _are_classes(value: Any) -> bool:
    """Return whether a value is one class for each sample."""
    return isinstance(value, Tensor) and value.dim() == 1 and value.dtype == torch.int64


def _places(model: nn.Module) -> tuple[int, float]:
    """Return how many arguments forward needs by place, and how many it takes."""
    try:
        parameters = [*inspect.signature(model.forward).parameters.values()]
    except (TypeError, ValueError):  # compiled to something without a signature
        return 0, math.inf
    by_place = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    several = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    needed = sum(p.default is p.empty for p in by_place)
    return needed, math.inf if several else len(by_place)


def _names(model: nn.Module) -> frozenset[str] | None:
    """Return the names that forward takes; None if it takes any, or does not say."""
    try:
        parameters = inspect.signature(model.forward).parameters
    except (TypeError, ValueError):
        return None
    any_name = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    return None if any_name else frozenset(parameters)


def _takes_names(model: nn.Module, entries: Mapping[str, Any]) -> bool:
    """Return whether a dictionary's entries are forward's keywords, at least one of them named."""
    try:
        named = set(inspect.signature(model.forward).parameters)
    except (TypeError, ValueError):
        return False
    accepted = _names(model)
    return bool(named & set(entries)) and (accepted is None or set(entries) <= accepted)


def as_targets(targets: Any) -> Any:
    """Return targets with arrays, columns of pandas and lists of numbers as tensors.

    Raises:
        InputError: they are names of classes.

    Example:
        >>> as_targets([2, 0])
        tensor([2, 0])
    """
    if hasattr(targets, "to_numpy"):  # a column of pandas
        targets = np.array(targets)
    listed = isinstance(targets, (list, tuple)) and len(targets) > 0
    array = isinstance(targets, np.ndarray) and targets.size > 0
    first = targets[0] if listed else targets.flat[0] if array else None
    if isinstance(first, str):
        raise InputError(
            f"targets: got names of classes, such as {str(first)!r}, expected their numbers; "
            "numpy.unique(names, return_inverse=True)[1] are such numbers"
        )
    numbers = listed and all(isinstance(n, (int, float)) for n in targets)
    return torch.as_tensor(targets) if numbers else as_tensors(targets)


def first_input(model: nn.Module, inputs: Any) -> Any:
    """Return what ``trace`` takes: the single input, or the input of the first batch."""
    if isinstance(inputs, list) and not is_shape(inputs):
        return parted(model, inputs[0])[0]
    return parted(model, inputs, is_batch=False)[0]
