"""Gradients by name, or the reason why there are none."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils import checkpoint

from ...errors import NotApplicable, ScoreError
from ...graphs.inputs.tensors import tensors_in
from ...graphs.module_path import module_calls
from .attempts import SILENT_OPERATOR

Gradients = dict[str, Tensor]

_WITHOUT_REENTRY = "_checkpoint_without_reentrant_generator"
_COMPOSABLE = "torch.distributed._composable.checkpoint_activation"  # which imports it by name


def requiring_gradient(tensor: Tensor) -> Tensor:
    """Return a copy that gradients are taken of, whole numbers as they are."""
    continuous = tensor.is_floating_point() or tensor.is_complex()
    return tensor.clone().requires_grad_() if continuous else tensor


def check_differentiable(loss: Tensor) -> None:
    """Refuse a loss without gradients.

    Raises:
        ScoreError: it depends on nothing that requires a gradient.
    """
    if not loss.requires_grad:
        raise NotApplicable("the loss does not depend on any weight differentiably")


def gradients(
    loss: Tensor, leaves: Gradients, create_graph: bool = False, retain_graph: bool = False
) -> Gradients:
    """Return the gradient of a scalar by each leaf; zeros for a leaf that it does not depend on.

    Raises:
        ScoreError: it depends on nothing that requires a gradient.
    """
    check_differentiable(loss)
    return pulled_back([loss], leaves, None, create_graph, retain_graph or create_graph)


def pulled_back(
    outputs: Sequence[Tensor],
    leaves: Gradients,
    weights: Sequence[Tensor] | None,
    create_graph: bool = False,
    retain_graph: bool = False,
) -> Gradients:
    """Return the gradient of sum(outputs * weights) by each leaf; zeros if there is none.

    Raises:
        ScoreError: a leaf has one that autograd does not know.
    """
    refuse_unknown(leaves)
    with checked_backward():
        found = torch.autograd.grad(
            outputs,
            [*leaves.values()],
            weights,
            create_graph=create_graph,
            retain_graph=retain_graph,
            allow_unused=True,
        )
    return {
        name: torch.zeros_like(leaf) if gradient is None else gradient
        for (name, leaf), gradient in zip(leaves.items(), found, strict=True)
    }


@contextmanager
def loud_operators() -> Iterator[None]:
    """Let a backward fail that goes through an operator without a formula, of which torch warns."""
    with warnings.catch_warnings():
        warnings.filterwarnings("error", SILENT_OPERATOR)
        yield


@contextmanager
def checked_backward() -> Iterator[None]:
    """Refuse a backward in which modules run, outside the modes of the forward.

    One that goes through an operator without a formula fails, of which torch warns.

    Raises:
        ScoreError: a module runs.
    """

    def refuse(module: nn.Module, args: Any) -> None:
        raise ScoreError(
            f"its backward runs {type(module).__name__} again, as checkpointing by an autograd "
            "function of one's own does, and would run it otherwise than the forward did; use "
            "torch.utils.checkpoint, or keep what the backward needs"
        )

    with module_calls(lambda module, args, output: None, refuse), loud_operators():
        yield


class _Whole:
    """A substitute for the checkpointing that first runs a function without gradients."""

    @staticmethod
    def apply(function: Callable[..., Any], preserve: bool, *args: Any) -> Any:
        """Run the function once, with gradients."""
        return function(*args)


def _at_once(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Iterator[None]:
    """Replace the checkpointing that drops tensors which the backward needs: drop nothing."""
    yield


@contextmanager
def without_checkpoints() -> Iterator[None]:
    """Run checkpointed parts of networks once, and keep the tensors that their backward needs.

    If a part ran again within the backward, it would run outside the modes that record: with
    dropout, and with gradients of its own.
    """
    with ExitStack() as stack:
        stack.enter_context(mock.patch.object(checkpoint, "CheckpointFunction", _Whole))
        for holder in (checkpoint, sys.modules.get(_COMPOSABLE)):
            if hasattr(holder, _WITHOUT_REENTRY):
                stack.enter_context(mock.patch.object(holder, _WITHOUT_REENTRY, _at_once))
        yield


class _Inside(TorchFunctionMode):
    """A mode inside an autograd function of the model's own, which marks what it reads unseen.

    Of a tensor that the function did not get as an argument, autograd knows no gradient.
    """

    def __init__(self, function: str, arguments: tuple[Any, ...]):
        super().__init__()
        self._function = function
        self._given = {id(argument) for argument in arguments}

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if not torch.is_grad_enabled() and any(True for _ in tensors_in(result)):
            for tensor in tensors_in((args, kwargs)):
                if tensor.requires_grad and id(tensor) not in self._given:
                    tensor.read_in = self._function  # type: ignore[attr-defined]
        return result


@contextmanager
def own_functions() -> Iterator[None]:
    """Mark the weights that autograd functions of the model's own read without telling autograd.

    Checkpointing by hand and reversible layers run layers inside such a function, and again in its
    backward.
    """
    apply = torch.autograd.Function.apply.__func__  # type: ignore[attr-defined]

    def watched(cls: type, *args: Any, **kwargs: Any) -> Any:
        with _Inside(cls.__name__, args):
            return apply(cls, *args, **kwargs)

    with mock.patch.object(torch.autograd.Function, "apply", classmethod(watched)):
        yield


def refuse_unknown(leaves: Gradients) -> None:
    """Refuse weights of which autograd does not know the gradient.

    Raises:
        ScoreError: there is one, which a forward inside ``own_functions`` read.
    """
    for name, leaf in leaves.items():
        function = getattr(getattr(leaf, "applied", leaf), "read_in", None)
        if function is not None:
            raise ScoreError(
                f"{name!r} is applied inside {function}, an autograd function of the model's own, "
                "which does not get it as an argument, so autograd knows no gradient of it; let "
                "the model call its layers without that function, which checkpoints or reverses"
            )
