"""The module in which a backward fails, found by running the backward again."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn
from torch.autograd.graph import Node
from torch.utils._python_dispatch import TorchDispatchMode

from ...graphs.inputs.tensors import tensors_in
from ...graphs.module_path import ModulePath, module_calls
from .attempts import SILENT_OPERATOR
from .differentiation import gradients, requiring_gradient
from .model_runner import ModelRunner
from .modes import WithoutDropout


def failing_backward(runner: ModelRunner) -> str | None:
    """Return the path of the module in whose backward the loss of the first batch fails.

    Its gradients are those of weights and of inputs. The result is None if it does not fail.
    """
    owners: dict[Node, str] = {}
    reached = [""]
    batch = runner.first.map(requiring_gradient)
    inputs = {f"input {i}": t for i, t in enumerate(batch.tensors) if t.requires_grad}
    with runner.substituted() as leaves, WithoutDropout():
        with _owned(runner.model, owners) as running, _Callers(running) as callers:
            loss = runner.batch_loss(runner.run(batch), batch)
        _claim(loss, "", owners)
        for node, path in owners.items():
            node.register_prehook(lambda _, path=path: reached.append(path))
        try:
            gradients(loss, {**leaves, **inputs})
        except Warning as warning:  # raised after the backward
            operator = re.search(SILENT_OPERATOR, str(warning))
            return None if operator is None else callers.paths.get(operator.group(1))
        except Exception:  # whatever it is: it happened before, and its reason is known
            return reached[-1]
    return None


class _Callers(TorchDispatchMode):
    """A mode that notes the path of the module that first calls each operator."""

    def __init__(self, path: ModulePath):
        super().__init__()
        self._path = path
        self.paths: dict[str, str] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        self.paths.setdefault(func._schema.name, self._path.current)
        return func(*args, **(kwargs or {}))


@contextmanager
def _owned(model: nn.Module, owners: dict[Node, str]) -> Iterator[ModulePath]:
    """Note which module makes each node of the autograd graph: the innermost one."""
    path = ModulePath(model)

    def entered(module: nn.Module, args: Any) -> None:
        for tensor in tensors_in(args):  # made by the module around, which runs still
            _claim(tensor, path.current, owners)

    def left(module: nn.Module, args: Any, output: Any) -> None:
        for tensor in tensors_in(output):
            _claim(tensor, path.current, owners)

    with module_calls(left, entered), path.tracked():
        yield path


def _claim(tensor: Any, path: str, owners: dict[Node, str]) -> None:
    waiting = [tensor.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is not None and node not in owners:
            owners[node] = path
            waiting.extend(parent for parent, _ in node.next_functions)
