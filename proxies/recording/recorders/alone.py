"""The recorder of what layers give for one sample alone, and of its gradient."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch._C._functorch import is_functorch_wrapped_tensor

from ..differentiation import Gradients, gradients
from ..modes import WithoutDropout
from ..samples.channels import LAST
from ..samples.layout import is_close
from ..signals import Saliency
from ..weights.applying import APPLYING, others_of, weight_of
from ..weights.effective import name_of, names_by_weight
from .outputs import real_product

Use = tuple[str | None, tuple[int, ...], int, int]
"""The use of a weight in a forward: its name, shape, place in a stack, and number of the call."""


class OutputsAlone(WithoutDropout):
    """A recorder of what layers give for one sample, of which all rows and positions are.

    Attributes:
        products: the sum over positions of output times gradient, (C,), of each use of a weight.
        seen: names of the weights that layers applied.
    """

    def __init__(self, leaves: Gradients):
        super().__init__()
        self.products: dict[Use, Tensor] = {}
        self.seen: set[str] = set()
        self._names = names_by_weight(leaves)
        self._calls: Counter[Any] = Counter()
        self._listening = False

    def call(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        result = func(*args, **kwargs)
        if func not in APPLYING or is_functorch_wrapped_tensor(result):  # vmap hides a dimension
            return result
        weight = weight_of(func, args, kwargs)
        names = [name_of(self._names, one) for one in (weight, *others_of(func, args))]
        known = [name for name in names if name is not None]
        self.seen.update(known)
        if not result.requires_grad:
            return result
        if result._is_view():  # an operator in place would cut off a view's hook
            result = torch.ops.aten._unsafe_view(result, result.shape)
        use = self._use(known[0] if known else None, weight)
        channels = -1 if func in LAST else 1
        held = result.detach().clone()

        def arrived(gradient: Tensor) -> None:
            if self._listening:
                product = real_product(held, gradient.detach(), channels)
                summed = product.movedim(channels, -1).flatten(0, -2).sum(dim=0)
                self.products[use] = self.products.get(use, 0) + summed

        result.register_hook(arrived)
        return result

    def _use(self, name: str | None, weight: Tensor) -> Use:
        """Return the use of a weight; those of what values pick out of a stack are one."""
        if hasattr(weight, "picked"):
            return (name, tuple(weight.shape), 0, 0)
        place = (name, tuple(weight.shape), int(weight.storage_offset()))
        self._calls[place] += 1
        return (*place, self._calls[place])

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take the gradients that come by inside for those of the loss."""
        self._listening = True
        try:
            yield
        finally:
            self._listening = False


def saliencies_alone(
    losses: Iterator[Callable[[], Tensor]], samples: int, leaves: Gradients, together: Gradients
) -> tuple[list[Saliency], set[str]] | None:
    """Return the saliencies of a batch by running its samples one by one.

    Values may decide then which rows a layer reads: all that it reads is the sample's own.

    Args:
        losses: of each sample alone, what runs it.
        samples: how many there are.
        leaves: the weights.
        together: the gradients of the batch's mean loss by them.

    Returns:
        Them, and the names of the weights that layers applied. None if samples do not give alone
        what they give together, by the sum of their gradients.
    """
    sums = {name: torch.zeros_like(leaf) for name, leaf in leaves.items()}
    found: dict[Use, Tensor] = {}
    seen: set[str] = set()
    for i, run in enumerate(losses):
        recorder = OutputsAlone(leaves)
        with recorder:
            loss = run() / samples
        with recorder.listening():
            for name, gradient in gradients(loss, leaves).items():
                sums[name] += gradient
        seen |= recorder.seen
        for use, product in recorder.products.items():
            if use not in found:
                found[use] = product.new_zeros(samples, len(product))
            found[use][i] = product
    if not all(is_close(sums[name], gradient) for name, gradient in together.items()):
        return None
    return [Saliency(use[0], values) for use, values in found.items()], seen
