"""The transform of labels to values relative to the size of networks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ....basics import Array
from ..learning.scales import divisor

TRANSFORMS = ("flops", None)


@dataclass(frozen=True)
class LabelTransform:
    """A transform that divides labels by the size of networks and standardises the quotients.

        y = (A / (log10(F + 1) + 1) - mean) / std,  F in billions of multiply-adds

    Attributes:
        mean, std: the mean and standard deviation of the quotients of the training set.
        by_flops: whether to divide; otherwise, y is the standardised A.

    Source: GENNAPE (AAAI-23), its "+T".

    Example:
        >>> labels, flops = np.array([0.9, 0.92]), np.array([1e9, 9e9])
        >>> transform = LabelTransform.of(labels, flops)
        >>> transform.forward(labels, flops).round(6).tolist()
        [1.0, -1.0]
        >>> transform.inverse(np.array([1.0, -1.0]), flops).round(6).tolist()
        [0.9, 0.92]
    """

    mean: float
    std: float
    by_flops: bool = True

    @classmethod
    def of(cls, labels: Array, flops: Array, by_flops: bool = True) -> LabelTransform:
        """Return the transform whose mean and deviation are those of these labels (n,)."""
        plain = cls(0.0, 1.0, by_flops).forward(labels, flops)
        return cls(float(plain.mean()), divisor(plain), by_flops)

    def forward(self, labels: Array, flops: Array) -> Array:
        """Return y for labels A (n,) of networks with these multiply-adds (n,)."""
        return (labels / self._expected(flops) - self.mean) / self.std

    def inverse(self, values: Array, flops: Array) -> Array:
        """Return the labels A (n,) for values y (n,)."""
        return (values * self.std + self.mean) * self._expected(flops)

    def _expected(self, flops: Array) -> Array:
        return np.log10(flops / 1e9 + 1.0) + 1.0 if self.by_flops else np.ones_like(flops)
