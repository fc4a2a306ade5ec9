"""Which module is running, and which modules draw random numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from threading import get_ident
from typing import Any

from torch import nn

from .randomness import Own, own_generators, random_state

Entered = Callable[[nn.Module, Any], None]
"""(module, its arguments) -> nothing."""

Left = Callable[[nn.Module, Any, Any], None]
"""(module, its arguments, its output) -> nothing."""


@contextmanager
def module_calls(left: Left, entered: Entered | None = None) -> Iterator[None]:
    """Call functions before and after every module that runs inside, of whatever model.

    The hooks are global, so no model is changed.

    Example:
        >>> import torch
        >>> names = []
        >>> with module_calls(lambda module, args, output: names.append(type(module).__name__)):
        ...     _ = nn.Sequential(nn.ReLU(), nn.Tanh())(torch.ones(1))
        >>> names
        ['ReLU', 'Tanh', 'Sequential']
    """
    hooks = nn.modules.module
    handles = [hooks.register_module_forward_hook(left)]
    if entered is not None:
        handles.append(hooks.register_module_forward_pre_hook(entered))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


class Drew(Exception):
    """A module that is random in training was run in training mode."""


class ModulePath:
    """The path from the root of the module that is running, kept by ``module_calls``.

    It follows only the thread that entered the context.

    Attributes:
        drawing: modules in training mode whose own forward drew random numbers.
    """

    def __init__(self, model: nn.Module):
        self._model = model
        self._modules = [*model.modules()]
        self._names = {id(module): name for name, module in model.named_modules()}
        self._stack: list[tuple[nn.Module, str]] = [(model, "")]
        self._states: tuple[Any, ...] | None = None
        self.drawing: set[nn.Module] = set()

    @cached_property
    def generators(self) -> list[Own]:
        """The random generators that the model itself holds."""
        return own_generators(self._model)

    @property
    def current(self) -> str:
        """The path of the innermost running module, ``""`` for the root."""
        return self._stack[-1][1]

    def name_of(self, module: nn.Module) -> str:
        """Return the path of a module; one made during the forward is named by its type."""
        name = self._names.get(id(module))
        return f"{self.current}.<{type(module).__name__}>".lstrip(".") if name is None else name

    def drew(self) -> None:
        """Note that the running module drew a random number.

        By convention, evaluation turns off what is random in training. Switching these modules to
        evaluation therefore makes the forward pass a function of its input.

        Raises:
            Drew: the module does nothing else, as in stochastic depth. All modules of its class do
                the same, so the run need not go on.
        """
        module, _ = self._stack[-1]
        if not module.training:
            return
        self.drawing.add(module)
        if not any(module.children()) and not any(True for _ in module.parameters()):
            alike = (m for m in self._modules if type(m) is type(module) and m.training)
            self.drawing.update(alike)
            raise Drew(f"{type(module).__name__} is random in training")

    def _look(self) -> None:
        if self._states is not None:
            now = random_state(self.generators)
            if now != self._states:
                self.drew()
                self._states = now

    @contextmanager
    def tracked(self, watching: bool = False) -> Iterator[ModulePath]:
        """Follow the modules called inside this context.

        Args:
            watching: whether to check the random generators whenever the running module changes.
        """
        thread, depth = get_ident(), len(self._stack)
        self._states = random_state(self.generators) if watching else None

        def enter(module: nn.Module, args: Any) -> None:
            if get_ident() == thread:
                self._look()
                self._stack.append((module, self.name_of(module)))

        def leave(module: nn.Module, args: Any, output: Any) -> None:
            if get_ident() == thread:
                self._look()
                # A module that raised into a caller that caught it never left: drop it too.
                while len(self._stack) > depth and self._stack.pop()[0] is not module:
                    pass

        with module_calls(leave, enter):
            yield self
