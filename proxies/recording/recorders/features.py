"""The recorder of the features of all layers and rectifiers, and what it may read of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import _disable_current_modes

from ....errors import NotApplicable
from ...spectra import gram, standardised
from ..modes import WithoutDropout
from ..samples.channels import LAST, Channels, by_channel, by_sample, real_channels
from ..samples.layout import Layout
from ..samples.survey import CountedLayouts, Layouts
from ..signals import LayerFeatures
from ..weights.applying import APPLYING, others_of, weight_of
from ..weights.effective import name_of, names_by_weight
from .rectifiers import RectifierRecorder


class FeatureReader(WithoutDropout):
    """What a function reads in the features (N, ..., C) of all layers and rectifiers.

    The function gets the name of the weight that made them, None for a rectifier's; it may return
    None for features in which there is nothing to read. With ``any_rows``, it need not know whose
    rows they are, as the nodes of graphs.

    Attributes:
        seen: names of the weights that layers applied.
    """

    def __init__(
        self,
        leaves: dict[str, Tensor],
        layouts: Layouts,
        samples: int,
        read: Callable[[str | None, Tensor], Any],
        any_rows: bool = False,
    ):
        super().__init__()
        self._names = names_by_weight(leaves)
        self._layouts = layouts.counted(samples, any_rows)
        self._read = read
        self._rectifiers = _RectifiedFeatures(layouts.counted(samples, any_rows), self._found)
        self._features: list[Any] = []
        self.seen: set[str] = set()

    def __enter__(self) -> FeatureReader:
        super().__enter__()
        self._rectifiers.__enter__()
        return self

    def __exit__(self, *raised: Any) -> None:
        self._rectifiers.__exit__(*raised)
        super().__exit__(*raised)

    def call(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        result = func(*args, **kwargs)
        self._rectifiers.channels.see(func, result)
        if func in APPLYING:
            name = name_of(self._names, weight_of(func, args, kwargs))
            layout = self._layouts.next("product", result, needed=name or "")
            others = (name_of(self._names, weight) for weight in others_of(func, args))
            self.seen.update(one for one in (name, *others) if one is not None)
            if name is not None and layout is not None:
                # another reader would see what follows
                with torch._C.DisableTorchFunction(), _disable_current_modes():
                    self._read_layer(name, result.detach(), layout, func in LAST)
        return result

    def _read_layer(self, name: str, features: Tensor, layout: Layout, last: bool) -> None:
        if features.is_complex():
            features = real_channels(features, -1 if last else 1)
        self._found(name, by_sample(features, layout, self._layouts.samples, -1 if last else 1))

    def _found(self, name: str | None, features: Tensor) -> None:
        self._features.append(self._read(name, features))

    def result(self) -> list[Any]:
        """Return what was read, in the order of the calls."""
        self._rectifiers.refuse_incomplete()
        self._layouts.refuse_parts()
        if not self._features:
            raise NotApplicable("the model has no layer that keeps samples apart")
        return [read for read in self._features if read is not None]


class _RectifiedFeatures(RectifierRecorder):
    """The rectifiers' part of the features.

    Attributes:
        channels: where the layers before a rectifier have their channels.
    """

    def __init__(self, layouts: CountedLayouts, found: Callable[[None, Tensor], None]):
        super().__init__(layouts)
        self._found = found
        self._numbers: Tensor | None = None
        self.channels = Channels()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        result = super().__torch_dispatch__(func, types, args, kwargs)
        with _disable_current_modes():
            self.channels.see_step(func, args, kwargs or {}, result)
        return result

    def before(self, source: Tensor, layout: Layout) -> None:
        self._numbers = self.channels.of(source)

    def after(self, result: Tensor, layout: Layout) -> None:
        self._found(None, by_channel(result, layout, self._layouts.samples, self._numbers))


def moments(name: str | None, features: Tensor) -> LayerFeatures:
    """Return the moments of features (N, ..., C)."""
    mean = features.mean(dim=tuple(range(features.dim() - 1)))
    # Centred before the product: variances far below the mean would be rounded off.
    rows = torch.sub(features, mean, out=features.new_empty(features.shape)).flatten(0, -2)
    covariance = gram(rows) / len(rows)
    if len(rows) < rows.shape[1]:
        along = rows @ mean / len(rows)
        moment = covariance + along[:, None] + along[None, :] + mean.square().sum() / len(rows)
    else:
        moment = covariance + torch.outer(mean, mean)
    return LayerFeatures(name, moment, covariance)


def first_standardised(name: str | None, features: Tensor) -> Tensor | None:
    """Return the first sample's standardised features (positions, C), None of one position."""
    rows = features[0].reshape(-1, features.shape[-1])
    return standardised(rows) if len(rows) > 1 else None
