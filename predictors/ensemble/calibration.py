"""Calibration of uncertainty by predictions of held-out labels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import optimize, stats

from ...basics import Array
from ...errors import InputError

_MIDDLE = 0.8  # deviations are scaled so that this share lies where a normal distribution has it
_MOST_PAIRS = 20_000
_TELLING = (0.05, 20.0)  # bounds of the factor on differences


@dataclass(frozen=True)
class Calibration:
    """The relation of held-out predictions' errors to their predicted deviations.

    Let e be the errors and s the predicted deviations of n held-out labels. An interval of coverage
    c is m +- q s, where q is the ceil((n + 1) c)-th smallest |e| / s, or the largest if n is too
    small. Deviations are multiplied by ``scale``: q at c = .8, divided by that of a normal
    distribution. One network is better than another with probability Phi(t (m - m') / hypot(s,
    s')). The factor t (``telling``) is fitted to held-out pairs by maximum likelihood. It is needed
    because similar networks have similar errors, so differences err less than single predictions.

    Source: Papadopoulos et al., "Inductive confidence machines for regression", ECML 2002 (scaled
    residuals), on folds of a cross-validation.

    Notes:
        The scale and the fit to pairs are our choice.

    Attributes:
        ratios: (n,) |e| / s, ascending.
        least: the smallest s. Smaller deviations only show that members saw the same labels.
        scale: the factor on predicted deviations.
        telling: the factor t, for scaled deviations.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> truth, mean = rng.normal(size=1000), np.zeros(1000)
        >>> found = Calibration.of(mean, np.full(1000, 0.5), truth)
        >>> round(found.scale, 1)
        2.0
        >>> round(found.ratio(0.9) * 0.5, 1)  # half an interval of 90 %
        1.6
    """

    ratios: Array
    least: float
    scale: float
    telling: float

    @classmethod
    def of(cls, mean: Array, std: Array, labels: Array) -> Calibration:
        """Learn from held-out predictions, all (n,); zero deviations become the least positive."""
        known = std[std > 0]
        least = float(known.min()) if len(known) else 1.0
        std = np.maximum(std, least)
        ratios = np.sort(np.abs(labels - mean) / std)
        scale = _quantile(ratios, _MIDDLE) / float(stats.norm.ppf(0.5 + _MIDDLE / 2))
        scale = max(scale, 1e-9)
        return cls(ratios, least, scale, _telling(mean, scale * std, labels))

    def ratio(self, coverage: float) -> float:
        """Return half the width of an interval, in units of unscaled predicted deviations.

        Raises:
            InputError: the coverage is not between 0 and 1.
        """
        return _quantile(self.ratios, checked_coverage(coverage))

    def better(self, mean: Array, std: Array, others: Array, others_std: Array) -> Array:
        """Return the probability (n,) that each is better than its counterpart in ``others``.

        All deviations are as predicted, before scaling.
        """
        spread = np.maximum(self.scale * np.hypot(std, others_std), 1e-300)
        chance: Array = stats.norm.cdf(self.telling * (mean - others) / spread)
        return chance


def checked_coverage(coverage: float) -> float:
    """Return the coverage; raise an InputError if it is invalid."""
    if not 0.0 < coverage < 1.0:
        raise InputError(f"coverage: got {coverage!r}, expected a share between 0 and 1")
    return coverage


def _quantile(ascending: Array, share: float) -> float:
    place = int(np.ceil((len(ascending) + 1) * share)) - 1
    return float(ascending[min(place, len(ascending) - 1)])


def _telling(mean: Array, std: Array, labels: Array) -> float:
    """Return the factor on differences that makes the order of held-out pairs most likely."""
    first, second = np.triu_indices(len(labels), 1)
    apart = labels[first] != labels[second]
    first, second = first[apart], second[apart]
    if len(first) < 10:
        return 1.0
    if len(first) > _MOST_PAIRS:
        some = np.random.default_rng(0).choice(len(first), _MOST_PAIRS, replace=False)
        first, second = first[some], second[some]
    signs = np.sign(labels[first] - labels[second])
    steps = signs * (mean[first] - mean[second]) / np.hypot(std[first], std[second])

    def unlikeliness(logarithm: float) -> float:
        return -float(stats.norm.logcdf(np.exp(logarithm) * steps).sum())

    low, high = np.log(_TELLING)
    found = optimize.minimize_scalar(unlikeliness, bounds=(low, high), method="bounded")
    return float(np.exp(found.x))
