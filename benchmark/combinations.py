"""Several proxies, one score: without labels, chosen by labels, learned from a few labels.

Every score is judged only on architectures whose labels it has not seen: those it has seen are
NaN in its column.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from ..basics import Array
from ..metrics import kendall
from ..predictors.features.evidence import MEASURED
from ..predictors.pretrained.reference import Reference
from ..predictors.pretrained.shipped import shipped
from ..ranking.aggregation import POPULATION, combined, relative_ranks

LABELS = (50, 100)
DRAWS = 5
FOLDS = 5
_MOST_MEMBERS = 6  # of a greedy choice: later ones fit the noise of the training folds
_LEAST_GAIN = 0.002  # in tau, for one more member
_FEWEST = 30  # architectures to judge on

Rows = npt.NDArray[np.intp]


@dataclass(frozen=True)
class Ensemble:
    """Combined scores, larger is better.

    Attributes:
        columns: (architectures, repetitions); NaN where a label was seen.
        labels: how many labels each repetition has seen; 0 for none.
        members: the proxies that it is made of.
    """

    name: str
    columns: Array
    labels: int
    members: tuple[str, ...]
    note: str


def without_labels(oriented: Mapping[str, Array]) -> list[Ensemble]:
    """Aggregate ranks: of all proxies, archrank's default, and the published ones.

    An aggregation one of whose proxies was not scored is left out, and a published one if one
    of its proxies has no value at all. archrank's default does without such a proxy, as
    ``archrank.rank`` does.

    Args:
        oriented: proxy -> value of each architecture, larger is better, NaN where missing.

    Example:
        >>> found = without_labels({"a": np.array([1.0, 2, 3]), "b": np.array([1.0, 3, 2])})
        >>> [(one.name, one.columns.ravel().tolist()) for one in found]
        [('mean rank of all', [0.0, 0.75, 0.75])]
    """
    found = []
    usable = {name: values for name, values in oriented.items() if np.isfinite(values).any()}
    if len(usable) > 1:
        everything = np.column_stack(list(usable.values()))
        note = "mean of the relative ranks by every proxy scored; no labels, nothing chosen"
        found.append(
            Ensemble(
                "mean rank of all",
                _column(combined(everything, "mean_rank")),
                0,
                (*usable,),
                note,
            )
        )
    if "auto" not in oriented and {*MEASURED} <= {*oriented}:
        found.append(_default(np.column_stack([oriented[name] for name in MEASURED])))
    for population in POPULATION.values():
        if population.name not in oriented and {*population.proxies} <= {*usable}:
            score = population.score(np.column_stack([oriented[n] for n in population.proxies]))
            note = f"{population.summary} ({population.reference})"
            found.append(Ensemble(population.name, _column(score), 0, population.proxies, note))
    return found


def _default(measured: Array) -> Ensemble:
    """Return what archrank ranks small networks by, up to its scale: evidence on the fixed scale.

    What was not measured of a network is left out.
    """
    score = Reference.read(shipped().reference_).score(measured)
    score = np.where(np.isfinite(measured).any(axis=1), score, np.nan)
    note = (
        "Sizes and six kinds of evidence on a fixed scale: the pretrained predictor, as it judges "
        "networks of small images (our choice (experiments/results/fixed_scale.md))"
    )
    return Ensemble("auto", _column(score), 0, MEASURED, note)


def greedy(
    oriented: Mapping[str, Array], truth: Array, seed: int
) -> tuple[Ensemble, dict[str, int], Rows] | None:
    """Take the mean rank of the proxies that order the training folds best, on the held-out folds.

    Proxies are added one by one as long as the tau-b of the training folds rises. Each fold's
    choice orders all architectures (without their labels), and only its held-out ones keep that
    rank, so every architecture is judged by a choice that has not seen its label.

    Returns:
        The scores, in how many of the folds each proxy was chosen, and the fold of each
        architecture; None with fewer than two proxies or too few architectures.
    """
    if len(oriented) < 2 or len(truth) < FOLDS * 4:
        return None
    names = list(oriented)
    ranks = np.column_stack([relative_ranks(oriented[name]) for name in names])
    folds = np.random.default_rng(seed).permutation(len(truth)) % FOLDS
    score = np.full(len(truth), np.nan)
    chosen: Counter[str] = Counter()
    for fold in range(FOLDS):
        members = _chosen_greedily(ranks[folds != fold], truth[folds != fold])
        chosen.update(names[i] for i in members)
        held_out = folds == fold
        score[held_out] = relative_ranks(_mean_of(ranks[:, members]))[held_out]
    note = f"mean rank of proxies chosen on {FOLDS - 1} folds, judged on the fifth; see below"
    used = dict(sorted(chosen.items(), key=lambda item: (-item[1], item[0])))
    labels = len(truth) - len(truth) // FOLDS
    return (
        Ensemble(f"greedy, {FOLDS - 1} of {FOLDS} folds", _column(score), labels, (*used,), note),
        used,
        folds,
    )


def learned(oriented: Mapping[str, Array], truth: Array, seed: int) -> list[Ensemble]:
    """Fit ridge regression and XGBoost to the ranks by all proxies, from a few labels.

    Each is fitted to the ranks of the labels drawn, and judged on all other architectures;
    ``DRAWS`` draws. A missing value counts as the lowest rank.
    """
    found: list[Ensemble] = []
    if not oriented:
        return found
    features = np.column_stack([relative_ranks(values) for values in oriented.values()])
    features = np.nan_to_num(features, nan=0.0)
    for count in LABELS:
        if len(truth) - count < _FEWEST:
            continue
        draws = [
            np.random.default_rng((seed, count, draw)).permutation(len(truth))[:count]
            for draw in range(DRAWS)
        ]
        for name, fit in (("ridge", _ridge), ("xgboost", _xgboost)):
            columns = np.column_stack([_outside(features, truth, rows, fit) for rows in draws])
            note = (
                f"{name} on the ranks by all proxies, from {count} labels drawn at random; "
                f"mean of {DRAWS} draws, judged on the other {len(truth) - count} architectures"
            )
            found.append(Ensemble(f"{name}, {count} labels", columns, count, (*oriented,), note))
    return found


Fit = Callable[[Array, Array, Array], Array]


def _outside(features: Array, truth: Array, rows: Rows, fit: Fit) -> Array:
    """Predict the architectures that were not fitted, NaN for the others."""
    target = stats.rankdata(truth[rows]) / len(rows)
    prediction = fit(features[rows], target, features)
    prediction[rows] = np.nan
    return prediction


def _ridge(features: Array, target: Array, everything: Array) -> Array:
    from sklearn.linear_model import RidgeCV

    # The penalty is chosen by leave-one-out on the labels given.
    model = RidgeCV(alphas=np.logspace(-2, 3, 11)).fit(features, target)
    return np.asarray(model.predict(everything), dtype=np.float64)


def _xgboost(features: Array, target: Array, everything: Array) -> Array:
    from xgboost import XGBRegressor

    model = XGBRegressor(
        n_estimators=150,
        max_depth=3,
        learning_rate=0.05,
        subsample=0.8,
        colsample_bytree=0.5,
        random_state=0,
        n_jobs=1,
    ).fit(features, target)
    return np.asarray(model.predict(everything), dtype=np.float64)


def _chosen_greedily(ranks: Array, truth: Array) -> list[int]:
    members: list[int] = []
    best = -np.inf
    while len(members) < _MOST_MEMBERS:
        taus = {
            index: _tau_or_nothing(_mean_of(ranks[:, [*members, index]]), truth)
            for index in range(ranks.shape[1])
            if index not in members
        }
        if not taus:
            break
        index = max(taus, key=lambda one: (taus[one], -one))
        if members and taus[index] < best + _LEAST_GAIN:
            break
        members.append(index)
        best = taus[index]
    return members


def _tau_or_nothing(scores: Array, truth: Array) -> float:
    """Compute tau-b with what has no score ranked last; -1 if there is none."""
    tau = kendall(np.nan_to_num(scores, nan=-1.0), truth)
    return tau if np.isfinite(tau) else -1.0


def _mean_of(ranks: Array) -> Array:
    """Average the relative ranks that there are, as ``combined`` takes it."""
    present = np.isfinite(ranks)
    count = present.sum(axis=1)
    total = np.where(present, ranks, 0.0).sum(axis=1)
    mean: Array = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    return mean


def _column(score: Array) -> Array:
    return score[:, None]
