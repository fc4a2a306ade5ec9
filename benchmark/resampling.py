"""The figures of ``archrank.metrics`` on a thousand bootstrap resamples at once.

A resample is a row of counts: how often each architecture was drawn. All figures are then sums
over counts, so that those of all resamples are a few products of matrices, and equal to what
``archrank.metrics`` gives on the rows drawn. Every score is judged on the same resamples.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy import special

from ..basics import Array

FIGURES = ("tau", "rho", "ndcg", "precision", "regret", "improvement", "partial_tau", "partial_rho")
"""What ``Resamples.figures`` gives, in this order."""

_CELLS = 4_000_000  # of one working array: 32 MB, however many architectures
_KEPT = 4_000_000  # counts whose orders by truth and size are kept from score to score
_BLOCK = 2048  # rows of a matrix of signs
_NOTHING = 1e-12  # what rounding leaves where a control explains all

Counts = npt.NDArray[np.float32]
Groups = npt.NDArray[np.intp]


@dataclass(frozen=True)
class _Order:
    """Where every row stands by one column, in every resample.

    Attributes:
        groups: of each row, its place among the distinct values, smallest first.
        rank: (resamples, rows), ties averaged, smallest = 1.
        above: (resamples, rows), how many drawn rows are larger.
        tied: (resamples, rows), how many drawn rows are equal, itself among them.
        untied: (resamples,), ordered pairs of drawn rows that differ.
    """

    groups: Groups
    rank: Array
    above: Array
    tied: Array
    untied: Array

    @classmethod
    def of(cls, column: Array, counts: Counts) -> _Order:
        groups = np.unique(column, return_inverse=True)[1]
        order = np.argsort(groups, kind="stable")
        starts = np.flatnonzero(np.diff(groups[order], prepend=-1))
        tied = np.add.reduceat(counts[:, order], starts, axis=1, dtype=np.float64)
        until = np.cumsum(tied, axis=1)
        total = until[:, -1:]
        return cls(
            groups,
            (until - (tied - 1) / 2)[:, groups],
            (total - until)[:, groups],
            tied[:, groups],
            total[:, 0] ** 2 - (tied**2).sum(axis=1),
        )

    def chance(self, places: Array) -> Array:
        """Give the chance of each row to be among the best ``places``, ties broken at random."""
        with np.errstate(divide="ignore", invalid="ignore"):
            chance = (places[:, None] - self.above) / self.tied
        chance[self.tied == 0] = 0.0
        return np.clip(chance, 0.0, 1.0)


class Resamples:
    """Resamples of the architectures of one run, to judge any number of scores on.

    Args:
        truth: label of each architecture, larger is better.
        control: what partial correlations control for (size); None for none.
        count: how many resamples. With 0 there are figures, but no resamples of them.
        seed: same seed, same resamples.
        top: how many are chosen by score (NDCG@k, regret, improvement).
        share: of the best (precision).

    Example:
        >>> truth = np.arange(50.0)
        >>> found = Resamples(truth, None, count=200, seed=0).figures(np.sin(truth) + truth / 9)
        >>> value, resampled = found["tau"][0], found["tau"][1:]
        >>> len(resampled), bool(np.quantile(resampled, 0.025) < value < 1)
        (200, True)
    """

    def __init__(
        self,
        truth: Array,
        control: Array | None,
        *,
        count: int = 1000,
        seed: int = 0,
        top: int = 10,
        share: float = 0.05,
    ):
        self.truth, self.control = truth, control
        self.top, self.share = top, share
        size = len(truth)
        rows = np.random.default_rng(seed).integers(0, size, (count, size))
        # The first one is the sample itself: its figures are the value, the others' the interval.
        self.counts = np.ones((count + 1, size), dtype=np.float32)
        for index, drawn in enumerate(rows):
            self.counts[index + 1] = np.bincount(drawn, minlength=size)

    def figures(self, scores: Array) -> dict[str, Array]:
        """Give by name the figure on the sample (first) and on every resample of it.

        Rows without a score are left out of the sample and of every resample alike.
        """
        present = np.isfinite(scores)
        if present.sum() < 2:
            return {name: np.full(len(self.counts), np.nan) for name in FIGURES}
        if self.control is not None:
            present &= np.isfinite(self.control)
        parts = [subset.figures(scores[present]) for subset in self._subsets(present)]
        return {name: np.concatenate([part[name] for part in parts]) for name in FIGURES}

    def tau(self, scores: Array) -> Array:
        """Compute tau-b alone, on the sample (first) and on every resample of it.

        Infinities are ranked; rows that are NaN are left out.
        """
        present = ~np.isnan(scores)
        if present.sum() < 2:
            return np.full(len(self.counts), np.nan)
        subsets = self._subsets(present)
        return np.concatenate([subset.tau(scores[present]) for subset in subsets])

    def _subsets(self, present: npt.NDArray[np.bool_]) -> Iterable[_Subset]:
        """Yield the resamples of some rows, piece by piece; those of all rows are kept if small."""
        if present.all() and self.counts.size <= _KEPT:
            return self._whole
        return self._pieces(present)

    @cached_property
    def _whole(self) -> list[_Subset]:
        return list(self._pieces(np.ones(len(self.truth), dtype=np.bool_)))

    def _pieces(self, present: npt.NDArray[np.bool_]) -> Iterator[_Subset]:
        control = None if self.control is None else self.control[present]
        rows = max(1, _CELLS // len(self.truth))
        for start in range(0, len(self.counts), rows):
            counts = np.ascontiguousarray(self.counts[start : start + rows, present])
            yield _Subset(counts, self.truth[present], control, self.top, self.share)


class _Subset:
    """Some resamples of the rows that have a score."""

    def __init__(self, counts: Counts, truth: Array, control: Array | None, top: int, share: float):
        self.counts, self.truth = counts, truth
        self.total = counts.sum(axis=1, dtype=np.float64)
        self.places = np.minimum(top, self.total)
        self.best = np.maximum(1.0, np.round(share * self.total))
        self.by_truth = _Order.of(truth, counts)
        self.by_size = None if control is None else _Order.of(control, counts)

    def figures(self, scores: Array) -> dict[str, Array]:
        order = _Order.of(scores, self.counts)
        tau, rho = self._tau(order, self.by_truth), self._rho(order, self.by_truth)
        partial_tau = partial_rho = np.full(len(self.counts), np.nan)
        if self.by_size is not None:
            tau_of_truth, rho_of_truth = self._truth_with_size
            partial_tau = _partial(tau, self._tau(order, self.by_size), tau_of_truth)
            partial_rho = _partial(rho, self._rho(order, self.by_size), rho_of_truth)
        chosen = self.counts * order.chance(self.places)
        with np.errstate(divide="ignore", invalid="ignore"):
            mean = (self.counts @ self.truth) / self.total
            improvement = 100 * ((chosen @ self.truth) / self.places - mean) / np.abs(mean)
            ndcg = self._discounted(order) / self._ideal
        improvement[mean == 0] = np.nan
        return {
            "tau": tau,
            "rho": rho,
            "ndcg": ndcg,
            "precision": self._precision(order),
            "regret": self._regret(order),
            "improvement": improvement,
            "partial_tau": partial_tau,
            "partial_rho": partial_rho,
        }

    def tau(self, scores: Array) -> Array:
        return self._tau(_Order.of(scores, self.counts), self.by_truth)

    @cached_property
    def _smallest(self) -> Array:
        order = np.argsort(self.truth)
        first = (self.counts[:, order] > 0).argmax(axis=1)
        smallest: Array = self.truth[order][first]
        return smallest

    def _tau(self, first: _Order, second: _Order) -> Array:
        return _tau(_agreement(self.counts, first.groups, second.groups), first, second)

    def _rho(self, first: _Order, second: _Order) -> Array:
        middle = (self.total[:, None] + 1) / 2
        a, b = first.rank - middle, second.rank - middle
        weighted = self.counts * a
        with np.errstate(divide="ignore", invalid="ignore"):
            variance = (weighted * a).sum(axis=1) * (self.counts * b * b).sum(axis=1)
            rho = (weighted * b).sum(axis=1) / np.sqrt(variance)
        rho[variance <= _NOTHING] = np.nan
        return np.asarray(rho)

    @cached_property
    def _truth_with_size(self) -> tuple[Array, Array]:
        assert self.by_size is not None
        return self._tau(self.by_truth, self.by_size), self._rho(self.by_truth, self.by_size)

    @cached_property
    def _ideal(self) -> Array:
        return self._discounted(self.by_truth)

    def _discounted(self, order: _Order) -> Array:
        """Sum gains, discounted, times the spread of the truth, which their ratio loses."""
        most = int(self.places.max())
        until = np.concatenate(([0.0], np.cumsum(1 / np.log2(np.arange(2, most + 2)))))
        start = np.minimum(order.above, most).astype(np.intp)
        end = np.minimum(order.above + order.tied, most).astype(np.intp)
        with np.errstate(divide="ignore", invalid="ignore"):
            weight = np.where(order.tied > 0, (until[end] - until[start]) / order.tied, 0.0)
        weight *= self.counts
        gain: Array = weight @ self.truth - weight.sum(axis=1) * self._smallest
        return gain

    def _precision(self, order: _Order) -> Array:
        both = order.chance(self.best) * self._best_by_truth
        precision: Array = (self.counts * both).sum(axis=1) / self.best
        return precision

    @cached_property
    def _best_by_truth(self) -> Array:
        return self.by_truth.chance(self.best)

    def _regret(self, order: _Order) -> Array:
        """Compute ``archrank.metrics.regret``; columns here from the best truth downwards."""
        downwards = np.argsort(-self.truth, kind="stable")
        truth, counts = self.truth[downwards], self.counts[:, downwards].astype(np.float64)
        above, tied = order.above[:, downwards], order.tied[:, downwards]
        places = self.places[:, None]
        sure = (above + tied <= places) & (counts > 0)
        border = (above < places) & (above + tied > places)
        size = np.where(border, tied, 0).max(axis=1, keepdims=True).astype(np.intp)
        drawn = np.where(border, places - above, 0).max(axis=1, keepdims=True).astype(np.intp)
        rest = size - np.cumsum(counts * border, axis=1).astype(np.intp)
        # The chance that none of the best so far is chosen: C(rest, drawn) / C(size, drawn).
        log = special.gammaln(np.arange(int(size.max()) + 2) + 1.0)
        out = np.exp(log[rest] - log[np.maximum(rest - drawn, 0)] - log[size] + log[size - drawn])
        out[(rest < drawn) | np.maximum.accumulate(sure, axis=1)] = 0.0
        before = np.concatenate((np.ones((len(out), 1)), out[:, :-1]), axis=1)
        largest = truth[(counts > 0).argmax(axis=1)]
        lost = largest[:, None] - truth
        return np.asarray(np.einsum("ij,ij->i", before - out, lost))


def _agreement(counts: Counts, first: Groups, second: Groups) -> Array:
    """Count, by resample, concordant minus discordant pairs, each pair counted in both orders.

    ``sum_ij counts_i counts_j sign(a_i - a_j) sign(b_i - b_j)``: the matrix of signs is the same
    for all resamples and symmetric, so half of it is made, in blocks.
    """
    a, b = first.astype(np.float32), second.astype(np.float32)
    total = np.zeros(len(counts))
    for start in range(0, len(a), _BLOCK):
        here = slice(start, start + _BLOCK)
        signs = np.sign((a[here, None] - a[start:]) * (b[here, None] - b[start:]))
        # Exact in single precision: whole numbers of at most the size of the sample.
        product = counts[:, here] @ signs
        width = signs.shape[0]
        own = np.einsum("ij,ij->i", product[:, :width], counts[:, here], dtype=np.float64)
        others = np.einsum(
            "ij,ij->i", product[:, width:], counts[:, start + width :], dtype=np.float64
        )
        total += own + 2 * others
    return total


def _tau(agreement: Array, first: _Order, second: _Order) -> Array:
    with np.errstate(divide="ignore", invalid="ignore"):
        tau = agreement / (np.sqrt(first.untied) * np.sqrt(second.untied))
    tau[(first.untied == 0) | (second.untied == 0)] = np.nan
    return np.asarray(tau)


def _partial(with_truth: Array, of_scores: Array, of_truth: Array) -> Array:
    left = (1 - of_scores**2) * (1 - of_truth**2)
    with np.errstate(divide="ignore", invalid="ignore"):
        partial = (with_truth - of_scores * of_truth) / np.sqrt(left)
    partial[~(left > _NOTHING)] = np.nan
    return np.asarray(partial)
