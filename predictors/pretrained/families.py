"""Labelled families of architectures, and how far to trust evidence in a new family."""

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
        name: the name of the family.
        samples: its architectures, with the scores of proxies that were computed.
        labels: (tasks, samples), where larger is better; NaN where a sample has none.
        quality: how much it counts: 1 for networks trained to the end, less for labels of
            surrogates or shared weights.
    """

    name: str
    samples: Sequence[Sample]
    labels: Array
    quality: float = 1.0


@dataclass(frozen=True)
class Slopes:
    """The correlations of labels with evidence in families that the evidence was not learnt from.

    Attributes:
        slopes: (families,), correlations of evidence with labels.
        weights: (families,), how much each family counts.
    """

    slopes: Array
    weights: Array

    def doubted(self, others: Slopes, doubt: float) -> Slopes:
        """Return the slopes of both; a new family may resemble one of the others.

        Args:
            others: the slopes of families of another kind.
            doubt: the probability of that; it is 0 if there are no others.
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

        over the correlations r_f of known families f. We assume that a new family is like one of
        them; a few labels show which. s is the standard deviation of z, at most 1: networks that
        were chosen by their scores differ less in scores and labels than all networks do. Source:
        nonparametric empirical Bayes (Robbins 1956); c_f is the correction of correlations for a
        restricted range (Pearson 1903).

        Args:
            z: (n,), in standard deviations over all networks to be judged.
            labels: (n,), with variance 1.

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
