"""Losses as modules with fixed options, and losses by name."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ....errors import InputError
from .checks import one_of
from .kendall import diff_kendall
from .listwise import list_mle
from .pairwise import pairwise_hinge, pairwise_logistic, weighted_ranking
from .pointwise import huber, mse


class Loss(nn.Module):
    """A loss of this package with fixed options; subclasses name the function.

    Args:
        options: the function's keyword arguments.

    Raises:
        InputError: the function does not have an option, or an option is out of range.

    Example:
        >>> DiffKendall(form="hard", slope=2.0)
        DiffKendall(form='hard', slope=2.0)
    """

    function: ClassVar[Callable[..., Tensor]]
    pointwise: ClassVar[bool] = False
    """Whether the loss measures distances to the targets, and not only the order."""

    def __init__(self, **options: Any):
        super().__init__()
        known = [*inspect.signature(self.function).parameters][2:]
        if unknown := sorted(options.keys() - known):
            raise InputError(
                f"options: got {', '.join(unknown)} for {type(self).__name__}, expected some of: "
                f"{', '.join(known) or 'none'}"
            )
        self.options = options
        self(torch.zeros(2), torch.arange(2.0))  # a wrong value is reported here, not in training

    def forward(self, predictions: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of predictions (items,) for targets (items,): a scalar."""
        return self.function(predictions, targets, **self.options)

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={value!r}" for name, value in self.options.items())


class DiffKendall(Loss):
    """``diff_kendall`` as a module; options: form, slope, denominator, standardise, relative,
    chunk."""

    function = staticmethod(diff_kendall)


class PairwiseHinge(Loss):
    """``pairwise_hinge`` as a module; options: margin, chunk."""

    function = staticmethod(pairwise_hinge)


class PairwiseLogistic(Loss):
    """``pairwise_logistic`` as a module; options: chunk."""

    function = staticmethod(pairwise_logistic)


class WeightedRanking(Loss):
    """``weighted_ranking`` as a module; options: chunk."""

    function = staticmethod(weighted_ranking)


class ListMLE(Loss):
    """``list_mle`` as a module."""

    function = staticmethod(list_mle)


class MSE(Loss):
    """``mse`` as a module."""

    pointwise = True
    function = staticmethod(mse)


class Huber(Loss):
    """``huber`` as a module; options: delta."""

    pointwise = True
    function = staticmethod(huber)


LOSSES: Mapping[str, type[Loss]] = {
    "diff_kendall": DiffKendall,
    "pairwise_hinge": PairwiseHinge,
    "pairwise_logistic": PairwiseLogistic,
    "weighted_ranking": WeightedRanking,
    "list_mle": ListMLE,
    "mse": MSE,
    "huber": Huber,
}
"""Name -> loss."""


SERVED: Mapping[str, Mapping[str, Any]] = {
    "diff_kendall": {"form": "product", "slope": 8.0, "relative": True}
}
"""Name -> options that ``loss`` uses if none are given, chosen by ``experiments/losses.py``."""


def orders(given: nn.Module) -> bool:
    """Say whether a loss only orders, and thus leaves the scale of predictions open.

    A combined loss only orders if all its parts do. Other modules are assumed to only order.

    Example:
        >>> orders(DiffKendall()), orders(MSE())
        (True, False)
    """
    return not any(isinstance(part, Loss) and part.pointwise for part in given.modules())


def loss(name_or_module: str | nn.Module, **options: Any) -> nn.Module:
    """Return a loss by its name, or the module itself.

    Args:
        name_or_module: one of ``LOSSES``, or any module of (predictions, targets).
        options: the options of the named loss; by default those of ``SERVED``. The classes have the
            published defaults instead.

    Raises:
        InputError: there is no such name or option, or options are given with a module.

    Example:
        >>> loss("pairwise_hinge", margin=0.1)
        PairwiseHinge(margin=0.1)
    """
    if isinstance(name_or_module, nn.Module):
        if options:
            raise InputError(
                f"options: got {', '.join(options)} beside a module, expected none; give them to "
                f"the constructor of {type(name_or_module).__name__}"
            )
        return name_or_module
    one_of("loss", name_or_module, LOSSES)
    return LOSSES[name_or_module](**(options or SERVED.get(name_or_module, {})))
