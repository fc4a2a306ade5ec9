"""The recorder of what layers give, and of its gradient."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from ..modes import WithoutDropout
from ..samples.channels import LAST, by_sample, real_channels
from ..samples.formulas import version_of
from ..samples.layout import ROWS, Layout
from ..samples.survey import CountedLayouts
from ..signals import Saliency
from ..weights.applying import APPLYING, PRODUCTS, others_of, weight_of
from ..weights.effective import name_of, names_by_weight

_DATA = Tensor.data.__get__  # type: ignore[attr-defined]


class OutputRecorder(WithoutDropout):
    """A recorder of the outputs of layers, held until their gradient comes by.

    Without layouts it reads the first dimension as samples and the second as channels, even of
    linear layers on tokens.

    Attributes:
        saliencies: those that came by.
        seen: names of the weights of which all is known: a gradient came by for what they made,
            or it depends on no sample.
    """

    def __init__(
        self,
        leaves: dict[str, Tensor],
        layouts: CountedLayouts | None,
        keeping: bool = True,
        copies: bool = False,
    ):
        super().__init__()
        self._layouts = layouts
        # The published codes, which know no layouts, read no bilinear layers.
        self._layers = PRODUCTS if layouts is None else APPLYING
        self.saliencies: list[Saliency] = []
        self.seen: set[str] = set()
        self._names = names_by_weight(leaves)
        self._keeping = keeping
        self._copies = copies
        self._listening = False
        self._unseen = False  # whether something may have been written to behind torch's back
        self._held: list[tuple[Tensor, int]] = []

    def call(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        result = func(*args, **kwargs)
        self._unseen |= func == _DATA or getattr(func, "__name__", "").startswith("_foreach")
        if func not in self._layers:
            return result
        weights = (weight_of(func, args, kwargs), *others_of(func, args))
        names = [name for w in weights if (name := name_of(self._names, w)) is not None]
        name = names[0] if names else None
        if self._layouts is not None:  # what is not a layer of its own is known by its shape
            self._layouts.see_layer(name or f"{func.__name__} {tuple(result.shape)}", result)
        if self._keeping:
            layout: Layout | None = ROWS
            if self._layouts is not None:
                layout = self._layouts.next("product", result, needed=name or "")
            if layout is None:
                self.seen.update(names)
            elif result.requires_grad:
                if result._is_view():  # an operator in place would cut off a view's hook
                    result = torch.ops.aten._unsafe_view(result, result.shape)
                channels = -1 if func in LAST and self._layouts is not None else 1
                self._keep_output(result, names, layout, channels)
        return result

    def _keep_output(self, result: Tensor, names: list[str], layout: Layout, channels: int) -> None:
        held = result.detach().clone() if self._copies else result.detach()
        self._held.append((held, version_of(held)))

        def arrived(gradient: Tensor | None) -> None:
            if self._listening and gradient is not None:  # none came through
                product = real_product(held, gradient.detach(), channels)
                rows = self._layouts is None or layout == ROWS
                if self._layouts is not None and not rows:
                    product = by_sample(product, layout, self._layouts.samples, channels)
                    product = product.flatten(1, -2).sum(dim=1)
                elif product.dim() > 2:
                    positions = (1, -2) if channels == -1 else (2, -1)
                    product = product.flatten(*positions).sum(dim=positions[0])
                self.saliencies.append(Saliency(names[0] if names else None, product))
                self.seen.update(names)

        result.register_hook(arrived)

    def refuse_turns(self) -> None:
        """Refuse a forward in which layers ran on parts of the samples in turn.

        Raises:
            ScoreError: some layer did.
        """
        if self._layouts is not None:
            self._layouts.refuse_turns()

    def refuse_parts(self) -> None:
        """Refuse a forward of which not all outputs of layers could be kept.

        Raises:
            ScoreError: some layer ran on parts of the samples, or nobody knows on which of them.
        """
        if self._layouts is not None:
            self._layouts.refuse_parts()

    def overwritten(self) -> bool:
        """Return whether an in-place operator changed any held output."""
        counted = any(version_of(tensor) != version for tensor, version in self._held)
        return (counted or self._unseen) and not self._copies

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take the gradients that come by inside for those of the loss."""
        self._listening = True
        try:
            yield
        finally:
            self._listening = False
            self._held.clear()


def real_product(one: Tensor, other: Tensor, channels: int) -> Tensor:
    """Return the product of two tensors, of their real and imaginary parts each by itself."""
    if not one.is_complex():
        return one * other
    return real_channels(one, channels) * real_channels(other, channels)
