"""The module in which a backward fails, found by running the backward again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn
from torch.autograd.graph import Node

from ...graphs.inputs.tensors import tensors_in
from ...graphs.module_path import ModulePath, module_calls
from .differentiation import gradients
from .model_runner import ModelRunner
from .modes import WithoutDropout


def failing_backward(runner: ModelRunner) -> str | None:
    """Return the path of the module in whose backward the loss of the first batch fails.

    The result is None if it does not fail.
    """
    owners: dict[Node, str] = {}
    reached = [""]
    with runner.substituted() as leaves, WithoutDropout():
        with _owned(runner.model, owners):
            loss = runner.batch_loss(runner.run(runner.first), runner.first)
        _claim(loss, "", owners)
        for node, path in owners.items():
            node.register_prehook(lambda _, path=path: reached.append(path))
        try:
            gradients(loss, leaves)
        except Exception:  # whatever it is: it happened before, and its reason is known
            return reached[-1]
    return None


@contextmanager
def _owned(model: nn.Module, owners: dict[Node, str]) -> Iterator[None]:
    """Note which module makes each node of the autograd graph: the innermost one."""
    path = ModulePath(model)

    def entered(module: nn.Module, args: Any) -> None:
        for tensor in tensors_in(args):  # made by the module around, which runs still
            _claim(tensor, path.current, owners)

    def left(module: nn.Module, args: Any, output: Any) -> None:
        for tensor in tensors_in(output):
            _claim(tensor, path.current, owners)

    with module_calls(left, entered), path.tracked():
        yield


def _claim(tensor: Any, path: str, owners: dict[Node, str]) -> None:
    waiting = [tensor.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is not None and node not in owners:
            owners[node] = path
            waiting.extend(parent for parent, _ in node.next_functions)
