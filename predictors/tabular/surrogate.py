"""The predictor that a search refits often: an additive process whose kernels are computed once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from scipy import spatial

from ...basics import Array
from ..features.columns import read_columns
from ..reading import Sample
from .additive import _JITTER, AdditiveProcess, Prior, Term, compared

_NOISE = 0.1  # expected variance of the noise of standardised labels
_WIDTH = 1.5  # prior standard deviation of the logarithms of variances
_BOUNDS = (-9.0, 4.0)  # bounds of those logarithms
_NOTHING = 1e-3  # kernels with a smaller share of the variance are left out


class Surrogate(AdditiveProcess):
    """A Gaussian process that refits in a fraction of a second and gives its uncertainty.

        k(x, x') = sum_p [ a_p <x_p, x'_p> + sum_s b_ps M(|x_p - x'_p| / (s l_p)) ] + noise

    over parts p of the features and scales s. M is the Matern kernel with nu = 5/2, and l_p is the
    median distance of training samples. Each part is standardised; its linear kernel is centred and
    scaled to a mean of 1 on the diagonal. Lengths are fixed, so that kernels are computed once for
    a fit. The variances a and b and the noise maximise the marginal likelihood times log-normal
    priors, so that unimportant parts fade. With more than ``most`` samples, the variances are
    fitted to a random subset of ``most``. Standard deviations leave out the noise. Source:
    Rasmussen and Williams 2006.

    Notes:
        The sum is our choice, made on the problems of ``experiments/search.py settings``.

    Args:
        parts: names from ``archrank.predictors.features.columns.PARTS``; parts that samples lack
            (codes, scores, contexts) are left out.
        scales: the scales s.
        most: the largest number of samples that variances are fitted to.
        random_state: the seed of the choice of that subset.
        space, task, inputs, proxies: see ``Predictor``.

    Attributes:
        read_parts_: the parts that the samples had.

    Example:
        >>> from archrank.data import space
        >>> cells = space("nasbench201").sample(30, seed=0)
        >>> labels = [space("nasbench201").graph(cell).params for cell in cells]
        >>> surrogate = Surrogate(space="nasbench201").fit(cells[:20], labels[:20])
        >>> surrogate.score(cells[20:], labels[20:]) > 0.5
        True
    """

    steps: ClassVar[int] = 40

    def __init__(
        self,
        parts: Sequence[str] = ("code", "statistics", "scores", "context"),
        scales: Sequence[float] = (1.0, 3.0),
        most: int = 300,
        random_state: int = 0,
        *,
        space: Any = None,
        task: str | None = None,
        inputs: Any = None,
        proxies: Sequence[str] = (),
    ):
        super().__init__(
            parts, random_state, space=space, task=task, inputs=inputs, proxies=proxies
        )
        self.scales = scales
        self.most = most

    @property
    def read_parts(self) -> tuple[str, ...]:
        return getattr(self, "read_parts_", tuple(self.parts))

    @property
    def variances_(self) -> dict[str, float]:
        """Return the variance of each kernel that remains, by its name."""
        parts = list(self._blocks(self.matrix_[:1]))
        names = [f"{part} {kernel}" for kernel in ("linear", *self.scales) for part in parts]
        pairs = zip(names, np.exp(self.scales_[:-1]).tolist(), strict=True)
        return {name: variance for name, variance in pairs if variance}

    def correlation(self, X: Any) -> Array:
        """Return the posterior correlation (n, n) between the labels of architectures.

        Raises:
            InputError: ``X`` is not what ``fit`` takes.
        """
        samples = self._read(X)
        if not self.label_std_:  # equal labels taught nothing
            return np.eye(len(samples))
        columns = read_columns(samples, self.read_parts, self.features_.score_names_)
        covariance = self.posterior_covariance(self.features_.transform(columns))
        deviation = np.sqrt(np.maximum(np.diag(covariance), _JITTER))
        made: Array = covariance / np.outer(deviation, deviation)
        np.fill_diagonal(made, 1.0)
        return made

    # --- the sum of kernels ---------------------------------------------------------------------

    @property
    def most_tuned(self) -> int:
        return self.most

    @property
    def scales_of_a_term(self) -> int:
        return 1 + len(self.scales)

    def typical_distance(self, block: Array) -> float:
        """Return the median distance of pairs of rows that differ."""
        distances = spatial.distance.pdist(block)
        apart = distances[distances > 0]
        return float(np.median(apart)) if len(apart) else 1.0

    def terms(self, first: Array, second: Array) -> Iterator[Term]:
        ours, theirs = self._blocks(first), self._blocks(second)
        for part, distance, norm in zip(ours, self.distances_, self.norms_, strict=True):
            yield FixedTerm(*compared(ours[part], theirs[part], distance, norm), self.scales)

    def prior(self, terms: int) -> Prior:
        count = terms * self.scales_of_a_term
        mean = np.log(np.append(np.full(count, 1.0 / count), _NOISE))
        low, high = (np.full(count + 1, bound) for bound in _BOUNDS)
        return Prior(mean, np.full(count + 1, _WIDTH), low, high)

    # --- learning and predicting ----------------------------------------------------------------

    def _fit_scaled(
        self, samples: list[Sample], labelled: npt.NDArray[np.intp], labels: Array
    ) -> None:
        self.read_parts_ = self._present(samples)
        super()._fit_scaled(samples, labelled, labels)

    def _present(self, samples: Sequence[Sample]) -> tuple[str, ...]:
        """Return the parts that all samples have."""
        lengths = {None if s.code is None else len(s.code) for s in samples}
        has = {
            "code": None not in lengths and len(lengths) == 1,
            "scores": any(sample.scores for sample in samples),
            "context": any(sample.context for sample in samples),
        }
        return tuple(part for part in self.parts if has.get(part, True))

    def fit_matrix(self, matrix: Array, labels: Array) -> None:
        super().fit_matrix(matrix, labels)
        variances = np.exp(self.scales_)
        faded = variances <= _NOTHING * variances.sum()
        faded[-1] = False  # the noise stays
        self.scales_ = np.where(faded, -np.inf, self.scales_)

    def predict_matrix(self, matrix: Array) -> tuple[Array, Array]:
        mean, variance = self.posterior(matrix)
        return mean, np.sqrt(np.maximum(variance, _JITTER))


@dataclass(frozen=True)
class FixedTerm(Term):
    """A term with a linear kernel and Matern kernels (nu = 5/2) of given lengths; scales are
    variances."""

    lengths: Sequence[float]
    _made: dict[int, Array] = field(default_factory=dict)

    def kernel(self, scales: Array) -> Array:
        total = np.zeros_like(self.product)
        for number, variance in enumerate(scales):
            if variance:
                total += variance * self._alone(number)
        return total

    def variance(self, scales: Array) -> Array:
        variance: Array = scales[0] * self.square + scales[1:].sum()
        return variance

    def with_slopes(self, scales: Array) -> tuple[Array, list[Array]]:
        slopes = [variance * self._alone(number) for number, variance in enumerate(scales)]
        return np.sum(slopes, axis=0), slopes

    def _alone(self, number: int) -> Array:
        """Return one kernel of variance 1, which is computed once."""
        if number not in self._made:
            self._made[number] = self.product
            if number:
                reach = self.distance * (5**0.5 / self.lengths[number - 1])
                self._made[number] = (1.0 + reach + reach**2 / 3.0) * np.exp(-reach)
        return self._made[number]
