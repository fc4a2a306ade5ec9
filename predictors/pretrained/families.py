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

    def doubted(self, others: Slopes, doubt: float) -> Slopes:
        """Return the slopes of both, where a new family is like one of the others by a chance.

        Args:
            others: families of another kind.
            doubt: the chance; it is 0 if there are no others.
        """
        if not len(others.slopes):
            return self
        return Slopes(
            np.concatenate([self.slopes, others.slopes]),
            np.concatenate(
                [
                    (1.0 - doubt) * self.weights / self.weights.sum(),
                    doubt * others.weights / others.weights.sum(),
                ]
            ),
        )

    def given(self, z: Array, labels: Array) -> tuple[float, float]:
        """Return the slope b of labels (n,) over evidence z (n,), and its variance.

            p(b_f | labels) ~ w_f prod_i N(y_i; b_f z_i, (1 - r_f^2) / c_f),
            b_f = r_f / sqrt(c_f),  c_f = 1 - r_f^2 (1 - s^2)

        over the correlations r_f that families had: a new family is taken to be like one of the
        others, which a few labels tell apart. s is the standard deviation of z, at most 1:
        networks that were labelled because of their scores differ less in them than all do, and
        in their labels, too. Source: nonparametric empirical Bayes (Robbins 1956); c_f is the
        correction of correlations for a restricted range (Pearson 1903).

        Args:
            z: (n,), in standard deviations of all networks that are asked for.
            labels: (n,), of variance 1.

        Example:
            >>> slopes = Slopes(np.array([0.9, 0.0]), np.ones(2))
            >>> z = np.linspace(-1.7, 1.7, 20)
            >>> [round(slopes.given(z, y)[0], 2) for y in (z, -z)]
            [0.9, 0.0]
        """
        correlations = np.clip(self.slopes, -_STEEPEST, _STEEPEST)
        spread = min(float(z.std()), 1.0) if len(z) else 1.0
        within = 1.0 - correlations**2 * (1.0 - spread**2)
        slopes, rest = correlations / np.sqrt(within), (1.0 - correlations**2) / within
        squares = ((labels - slopes[:, None] * z) ** 2).sum(axis=1)
        logs = np.log(self.weights) - 0.5 * (len(z) * np.log(rest) + squares / rest)
        share = np.exp(logs - logs.max())
        share /= share.sum()
        mean = float(share @ slopes)
        return mean, float(share @ (slopes - mean) ** 2)
