"""How far predictions err, learnt from predictions of held-out labels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import optimize, stats

from ...basics import Array
from ...errors import InputError

_MIDDLE = 0.8  # deviations are scaled so that this share lies within as many as a normal's
_MOST_PAIRS = 20_000
_TELLING = (0.05, 20.0)  # bounds of the factor on differences


@dataclass(frozen=True)
class Calibration:
    """Errors of held-out predictions beside the deviations that were predicted for them.

    With errors e and predicted deviations s of n held-out labels, an interval of coverage c is
    m +- q s, q the ceil((n + 1) c)-th smallest |e| / s (the largest, where n is too small);
    deviations are scaled by ``scale``, the q of c = .8 over a normal's. The chance that one is
    better than another is Phi(t (m - m') / hypot(s, s')), ``telling`` t fitted to held-out pairs by
    maximum likelihood: errors of like networks are alike, so that differences err less than either.

    Source: Papadopoulos et al., "Inductive confidence machines for regression", ECML 2002 (scaled
    residuals), on folds of a cross-validation.

    Notes:
        Scale and pairs are our choice.

    Attributes:
        ratios: (n,) |e| / s, ascending.
        least: the smallest s: agreement beyond it is of members that saw the same labels.
        scale: what predicted deviations are multiplied by.
        telling: t, for scaled deviations.

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
        """Return half the width of an interval, in predicted deviations that are not yet scaled.

        Raises:
            InputError: the coverage is not between 0 and 1.
        """
        return _quantile(self.ratios, checked_coverage(coverage))

    def better(self, mean: Array, std: Array, others: Array, others_std: Array) -> Array:
        """Return the chance (n,) that each is better than the other at its place, from predicted
        deviations."""
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
    """Return the factor on differences under which held-out pairs' order is most likely."""
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
