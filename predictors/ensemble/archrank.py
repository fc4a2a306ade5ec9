"""The default predictor: several others, weighted by how well they order held-out labels."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from types import MappingProxyType
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import clone

from ...basics import Array
from ...errors import InputError
from ...graphs import Graph
from ...metrics import kendall, kendall_deviation
from ..contract import Predictor
from ..features.cache import once_per_graph
from ..features.cells import cells
from ..features.columns import Columns, Features, read_columns
from ..features.evidence import AUTO
from ..features.rank_transform import ALL, RankTransform
from ..reading import Sample, listed
from ..tabular.additive import AdditiveProcess
from ..tabular.contract import TabularPredictor
from ..tabular.gaussian_process import GaussianProcess
from ..tabular.threads import on_one_thread
from .calibration import Calibration, checked_coverage
from .library import members, members_on_encoded_cells
from .line import Line

_ENOUGH = 32  # labels from which encoded cells are worth their time
_FEW = 12  # with fewer labels, members cannot be compared: all weights are equal
_LEAST_WEIGHT = 0.01  # members with smaller weights are dropped, since each costs time to predict
_WORTHWHILE = 0.01  # the gain in tau for which proxies are computed of everything predicted
_MOST = {GaussianProcess: 1000, AdditiveProcess: 5000}
"""The most labels that members of a kind are fitted to, since time grows with the cube."""
_LABEL_NOISE = 0.25  # prior ratio of the variance of labels to that of prediction errors
_BELIEF = 4  # the number of repeated labels that the prior is worth


class ArchRank(Predictor):
    """A weighted mean of several predictors, with weights from cross-validation on the labels.

    Labels become normal scores of their ranks, so that a few failed networks do not dominate the
    fit. If every context (dataset, recipe, device) has 12 labels or more, ranks are within
    contexts. Every member predicts each fifth of the labels from the other four fifths (equal
    graphs stay together). The weight of member m is

        w_m ~ exp(tau_m / s),   s^2 = 2 (2n + 5) / (9n (n - 1)),

    with tau_m Kendall's tau of its predictions, and s the standard deviation of tau for n labels in
    random order (Kendall 1938). With few labels, many members have similar weights; with thousands,
    the best dominate. With fewer than 12 labels all weights are equal. Predictions return to the
    scale of the labels through a monotone map of quantiles. Standard deviations combine those of
    the members and their disagreement, and are scaled to the errors of cross-validation
    (``Calibration``). The same errors give ``interval`` and ``better``.

    Networks that equal labelled ones (in the same context) are known: a prediction p becomes

        p + (y - q) e^2 / (e^2 + s^2 / n),

    with y the mean of their n labels, q the mean of their predictions, e^2 the squared error of
    cross-validation, and s^2 the variance of residuals among equal networks. With few equal
    networks, s^2 is drawn towards e^2 / 4.

    Args:
        proxies: zero-cost proxies to compute for each architecture (which needs models or
            architectures of a space). ``"auto"`` computes ``AUTO`` and keeps them if they raise
            the cross-validated tau by .01; otherwise predictions need no proxies. Scores that
            samples already have are always used.
        members: name -> tabular predictor, instead of the default members. Members whose features
            the samples lack (codes, scores) are left out. By default, members on encoded cells join
            from 32 labels on.
        folds: the number of folds of cross-validation.
        random_state: the seed of everything random.
        space, task, inputs: see ``Predictor``.

    Attributes:
        report_: the chosen members, their weights and cross-validated tau, and the tau of their
            mean.
        weights_: name -> weight of each kept member.
        proxies_: the proxies kept, with ``proxies="auto"``.

    Notes:
        The members, their weights and the treatment of known networks are our choice. Weights,
        cells and forests were chosen on problems that `experiments/results/predictors.md` does not
        report.

    Example:
        >>> from archrank.data import space
        >>> cells = space("nasbench201").sample(24, seed=0)
        >>> labels = [space("nasbench201").graph(cell).params for cell in cells]
        >>> predictor = ArchRank(space="nasbench201").fit(cells[:20], labels[:20])
        >>> predictor.score(cells[20:], labels[20:]) > 0
        True
    """

    def __init__(
        self,
        proxies: Sequence[str] | Literal["auto"] = (),
        members: Mapping[str, TabularPredictor] | None = None,
        folds: int = 5,
        random_state: int = 0,
        *,
        space: Any = None,
        task: str | None = None,
        inputs: Any = None,
    ):
        self.proxies = proxies
        self.members = members
        self.folds = folds
        self.random_state = random_state
        self.space = space
        self.task = task
        self.inputs = inputs

    line_: Mapping[str, float] = MappingProxyType({})  # older files have no line

    @property
    def needed_proxies(self) -> tuple[str, ...]:
        if self.proxies != "auto":
            return super().needed_proxies
        return tuple(getattr(self, "proxies_", AUTO))

    @property
    def _chooses_proxies(self) -> bool:
        """Whether proxies are kept only if they help."""
        return self.proxies == "auto"

    def fit(self, X: Any, y: Any) -> Self:
        if self._chooses_proxies:
            self.proxies_ = list(AUTO)
        super().fit(X, y)
        if self._chooses_proxies and not self.label_std_:
            self.proxies_ = []
        return self

    @on_one_thread
    def _fit(self, samples: list[Sample], labels: Array) -> None:
        groups = _groups(samples)
        self.orders_ = RankTransform.of(groups, labels, _FEW).orders
        targets = self._ranks.scores(groups, labels)
        chosen = self._validated(samples, targets)
        if self._chooses_proxies:
            without = self._validated([_without(AUTO, sample) for sample in samples], targets)
            if chosen.tau < without.tau + _WORTHWHILE:
                chosen, self.proxies_ = without, []
        self.weights_ = chosen.weights
        self.error_ = float(np.sqrt(np.mean((chosen.mean - targets) ** 2)))
        self.calibration_ = asdict(Calibration.of(chosen.mean, np.sqrt(chosen.variance), targets))
        line = self._line(chosen.columns, targets)
        left = targets - line.at(chosen.columns)[0]
        self.line_ = asdict(line)
        self.members_ = {
            name: _fitted(chosen.library[name], chosen.columns, left) for name in self.weights_
        }
        self._remember(samples, targets - self._mean(chosen.columns)[0], targets - chosen.mean)
        self.report_ = {
            "weights": self.weights_,
            "tau": {name: kendall(values, targets) for name, values in chosen.held_out.items()},
            "tau of the mean": chosen.tau,
        }

    def _validated(self, samples: list[Sample], targets: Array) -> _Validated:
        """Return members' predictions of held-out folds, and the weights of members."""
        library = self._library(samples)
        columns = read_columns(samples, self._parts_read(library.values()))
        fold = _folds(samples, self.folds, self.random_state)
        held_out = {name: np.zeros(len(targets)) for name in library}
        variances = {name: np.zeros(len(targets)) for name in library}
        for number in range(fold.max() + 1):
            train, out = np.flatnonzero(fold != number), np.flatnonzero(fold == number)
            if not len(train):
                continue
            known, asked = columns.take(train), columns.take(out)
            line = self._line(known, targets[train])
            left, (along, doubt) = targets[train] - line.at(known)[0], line.at(asked)
            for name, member in library.items():
                mean, std = _predicted(_fitted(member, known, left), asked)
                held_out[name][out] = along + line.share * mean
                variances[name][out] = doubt + std**2
        weights = self._weighed(held_out, targets)
        mean, variance = _joined(
            np.array([held_out[name] for name in weights]),
            np.array([variances[name] for name in weights]),
            np.array(list(weights.values())),
        )
        tau = kendall(mean, targets)
        return _Validated(library, columns, held_out, weights, mean, variance, tau)

    def _line(self, columns: Columns, targets: Array) -> Line:
        """Return the line whose residuals members learn."""
        return Line()

    def _parts_read(self, several: Any) -> tuple[str, ...]:
        """Return all parts that the members and the line read."""
        return _parts(several)

    def _weighed(self, held_out: Mapping[str, Array], targets: Array) -> dict[str, float]:
        """Return the weights of members by their predictions of held-out labels."""
        if len(targets) < _FEW:
            return dict.fromkeys(held_out, 1.0 / len(held_out))
        return _trusted(held_out, targets)

    def _remember(self, samples: Sequence[Sample], left: Array, held_out: Array) -> None:
        """Store each network's residual, and the variance among residuals of equal networks."""
        groups: dict[str, list[int]] = {}
        for i, sample in enumerate(samples):
            groups.setdefault(_key(sample), []).append(i)
        self.known_ = list(groups)
        self.known_left_ = np.array([left[some].mean() for some in groups.values()])
        self.known_counts_ = np.array([len(some) for some in groups.values()], dtype=np.float64)
        squares = sum(float(held_out[some].var()) * len(some) for some in groups.values())
        believed = _BELIEF * _LABEL_NOISE * self.error_**2
        self.label_noise_ = (squares + believed) / (len(samples) - len(groups) + _BELIEF)

    def interval(self, X: Any, coverage: float = 0.9) -> tuple[Array, Array]:
        """Return the lower and upper ends (n,), (n,) of prediction intervals.

        Their width comes from the errors of cross-validation. About a share ``coverage`` of new
        labels lies within the intervals. This holds for architectures that are drawn like the
        labelled ones, but not for those that a search has chosen.

        Raises:
            InputError: the coverage is not between 0 and 1, or ``X`` is not what ``fit`` takes.
            NotFittedError: the predictor was not fitted.
        """
        checked_coverage(coverage)
        mean, std = self._normal_of(X)
        ratio = self._calibration.ratio(coverage) if self._knows_errors else 0.0
        groups = _groups(listed(X))
        low, high = (self._given(groups, mean + side * ratio * std) for side in (-1.0, 1.0))
        return low, high

    def better(self, X: Any, others: Any) -> Array:
        """Return the probability (n,) that each architecture is better than its counterpart.

        For different contexts, it compares the rank of each architecture within its own context.

        Raises:
            InputError: ``X`` and ``others`` differ in length, or are not what ``fit`` takes.
            NotFittedError: the predictor was not fitted.
        """
        (mean, std), (mean_of_others, std_of_others) = map(self._normal_of, (X, others))
        if len(mean) != len(mean_of_others):
            raise InputError(f"others: got {len(mean_of_others)}, expected {len(mean)} as X has")
        if not self._knows_errors:
            return np.full(len(mean), 0.5)
        return self._calibration.better(mean, std, mean_of_others, std_of_others)

    def _normal_of(self, X: Any) -> tuple[Array, Array]:
        mean, std = self._in_parts(X, self._normal)
        assert std is not None
        return mean, std

    def _given(self, groups: Sequence[str], scores: Array) -> Array:
        """Return normal scores transformed to the scale of the given labels."""
        if not self._knows_errors:
            return np.full(len(scores), self.label_mean_)
        return self._ranks.labels(groups, scores) * self.label_std_ + self.label_mean_

    @property
    def _ranks(self) -> RankTransform:
        return RankTransform(self.orders_)

    @property
    def _knows_errors(self) -> bool:
        """Whether there was anything to learn, since nothing can be learnt from constant labels."""
        return self.__sklearn_is_fitted__() and bool(self.label_std_)

    @property
    def _calibration(self) -> Calibration:
        return Calibration(**self.calibration_)

    def _predict(self, samples: list[Sample]) -> tuple[Array, Array]:
        mean, std = self._normal(samples)
        std, groups = self._calibration.scale * std, _groups(samples)
        low, middle, high = (
            self._ranks.labels(groups, mean + side * std) for side in (-1.0, 0.0, 1.0)
        )
        return middle, (high - low) / 2

    def _normal(self, samples: list[Sample]) -> tuple[Array, Array]:
        """Return predictions as normal scores, and their deviations before scaling."""
        columns = read_columns(
            samples, self._parts_read(self.members_.values()), _score_names(self.members_.values())
        )
        mean, variance = self._mean(columns)
        least = self._calibration.least
        mean, variance = self._recalled(samples, mean, np.maximum(variance, least**2))
        return mean, np.sqrt(variance)

    def _mean(self, columns: Columns) -> tuple[Array, Array]:
        """Return the members' mean and its variance, as normal scores."""
        predicted = [_predicted(member, columns) for member in self.members_.values()]
        mean, variance = _joined(
            np.array([mean for mean, _ in predicted]),
            np.array([std**2 for _, std in predicted]),
            np.array([self.weights_[name] for name in self.members_]),
        )
        line = Line(**self.line_)
        along, doubt = line.at(columns)
        return along + line.share * mean, doubt + variance

    def _recalled(
        self, samples: Sequence[Sample], mean: Array, variance: Array
    ) -> tuple[Array, Array]:
        """Return predictions and variances, corrected for networks that were labelled."""
        place = {key: i for i, key in enumerate(self.known_)}
        found = [(i, place.get(_key(sample), -1)) for i, sample in enumerate(samples)]
        again, known = np.array([pair for pair in found if pair[1] >= 0], int).reshape(-1, 2).T
        noise = self.label_noise_ / self.known_counts_[known]
        total = self.error_**2 + noise
        share = np.divide(self.error_**2, total, out=np.zeros_like(total), where=total > 0)
        mean, variance = mean.copy(), variance.copy()
        mean[again] += share * self.known_left_[known]
        variance[again] *= 1.0 - share
        return mean, variance

    def default_members(self, samples: Sequence[Sample]) -> dict[str, TabularPredictor]:
        """Return the members to choose from if none were given."""
        if len(samples) < _ENOUGH or not any(cells(sample.graph) for sample in samples):
            return members()
        return {**members(), **members_on_encoded_cells()}

    def _library(self, samples: Sequence[Sample]) -> dict[str, TabularPredictor]:
        """Return the members that can read these samples, without parts that the samples lack."""
        has = available(samples)
        offered = self.default_members(samples) if self.members is None else self.members
        found: dict[str, TabularPredictor] = {}
        for name, member in offered.items():
            parts = tuple(part for part in member.parts if has.get(part, True))
            if member.parts and not parts:
                continue
            if len(samples) > _MOST.get(type(member), len(samples)):
                continue
            copy = clone(member).set_params(parts=parts)
            if "random_state" in copy.get_params():
                copy.set_params(random_state=self.random_state)
            found[name] = copy
        if not found:
            raise InputError("members: none of them can learn from these samples")
        return found


def available(samples: Sequence[Sample]) -> dict[str, bool]:
    """Return for each optional part of features whether samples have it."""
    codes = {None if sample.code is None else len(sample.code) for sample in samples}
    return {
        "scores": any(sample.scores for sample in samples),
        "code": len(codes) == 1 and None not in codes,
        "context": any(sample.context for sample in samples),
    }


@dataclass(frozen=True)
class _Validated:
    """The cross-validation of one choice of features."""

    library: dict[str, TabularPredictor]
    columns: Columns
    held_out: dict[str, Array]
    weights: dict[str, float]
    mean: Array
    variance: Array
    tau: float


@once_per_graph
def fingerprint(graph: Graph) -> str:
    """Return a digest that is equal for equal graphs whose nodes are in the same order.

    Graphs of equal architectures have the same order. The digest is cheaper than ``hash``, which is
    equal for equal graphs in any order.
    """
    told = hashlib.blake2b(digest_size=16)
    arrays: tuple[npt.NDArray[Any], ...]
    arrays = (graph.operator, graph.attributes, graph.edges, graph.in_shapes, graph.out_shapes)
    for array in arrays:
        told.update(array.tobytes())
        told.update(b"|")
    return told.hexdigest()


def _key(sample: Sample) -> str:
    return " ".join([fingerprint(sample.graph), *map(repr, sample.context)])


def _without(names: Sequence[str], sample: Sample) -> Sample:
    kept = {name: value for name, value in sample.scores.items() if name not in names}
    return replace(sample, scores=kept)


def _joined(means: Array, variances: Array, weights: Array) -> tuple[Array, Array]:
    """Return the mean and variance (n,) of a mixture of members (m, n) by their weights (m,)."""
    share = weights[:, None]
    mean = (share * means).sum(axis=0)
    return mean, (share * ((means - mean) ** 2 + variances)).sum(axis=0)


def _fitted(member: TabularPredictor, columns: Columns, targets: Array) -> TabularPredictor:
    fitted: TabularPredictor = clone(member)
    fitted.n_samples_, fitted.label_mean_, fitted.label_std_ = len(targets), 0.0, 1.0
    fitted.features_ = Features(_parts([member])).fit(columns)
    matrix = fitted.features_.transform(columns)
    fitted.fit_matrix(matrix, targets)
    return fitted


def _predicted(member: TabularPredictor, columns: Columns) -> tuple[Array, Array]:
    return member.predict_matrix(member.features_.transform(columns))


def _parts(several: Any) -> tuple[str, ...]:
    """Return all parts that members read."""
    return tuple(dict.fromkeys(part for member in several for part in member.read_parts))


def _score_names(several: Any) -> list[str] | None:
    named = [member.features_.score_names_ for member in several]
    return max(named, key=len) if named else None


def _groups(items: Sequence[Any]) -> list[str]:
    """Return the context of each sample as text; it is empty for architectures without one."""
    return [repr(item.context) if isinstance(item, Sample) else ALL for item in items]


def _folds(samples: Sequence[Sample], count: int, seed: int) -> npt.NDArray[np.intp]:
    """Return the fold of each sample; equal networks are in one fold."""
    numbers: dict[int, int] = {}  # in order of appearance, not of addresses
    group = np.array([numbers.setdefault(id(sample.graph), len(numbers)) for sample in samples])
    order = np.random.default_rng(seed).permutation(len(numbers))
    fold: npt.NDArray[np.intp] = order[group] % min(count, len(numbers))
    return fold


def _trusted(held_out: Mapping[str, Array], labels: Array) -> dict[str, float]:
    """Return the weights of members by the tau of their predictions; tiny weights become 0."""
    deviation = kendall_deviation(len(labels))
    taus = np.array([kendall(values, labels) for values in held_out.values()])
    weights = np.exp((taus - taus.max()) / deviation)
    weights[weights < _LEAST_WEIGHT * weights.sum()] = 0.0
    total = float(weights.sum())
    return {name: float(w) / total for name, w in zip(held_out, weights, strict=True) if w}
