"""Labelled families of architectures, and how far evidence is to be trusted in a new one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...basics import Array
from ..reading import Sample

_STEEPEST = 0.95  # a slope of 1 would leave no room for what evidence does not say


@dataclass(frozen=True)
class Family:
    """Labelled architectures of one kind.

    Attributes:
        name: of the family.
        samples: its architectures, with scores of proxies as far as they were computed.
        labels: (tasks, samples), larger is better, NaN where one has none.
        quality: how much it counts: 1 for networks trained to the end, less for labels of
            surrogates or shared weights.
    """

    name: str
    samples: Sequence[Sample]
    labels: Array
    quality: float = 1.0


@dataclass(frozen=True)
class Slopes:
    """How labels followed evidence in families that had no part in the evidence.

    Attributes:
        slopes: (families,), correlations of evidence with labels.
        weights: (families,), how much each family counts.
    """

    slopes: Array
    weights: Array

    def given(self, z: Array, labels: Array) -> tuple[float, float]:
        """Return the slope b of labels (n,) over evidence z (n,), both of variance 1; its variance.

            p(b_f | labels) ~ w_f prod_i N(y_i; b_f z_i, 1 - b_f^2)

        over the slopes b_f that families had: a new family is taken to be like one of the others,
        which a few labels tell apart. Source: nonparametric empirical Bayes (Robbins 1956).

        Example:
            >>> slopes = Slopes(np.array([0.9, 0.0]), np.ones(2))
            >>> z = np.linspace(-1.5, 1.5, 20)
            >>> [round(slopes.given(z, y)[0], 2) for y in (z, -z)]
            [0.9, 0.0]
        """
        slopes = np.clip(self.slopes, -_STEEPEST, _STEEPEST)
        rest = 1.0 - slopes**2
        squares = ((labels - slopes[:, None] * z) ** 2).sum(axis=1)
        logs = np.log(self.weights) - 0.5 * (len(z) * np.log(rest) + squares / rest)
        share = np.exp(logs - logs.max())
        share /= share.sum()
        mean = float(share @ slopes)
        return mean, float(share @ (slopes - mean) ** 2)
