"""What measurements at initialisation say of a network among others, without any label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from types import MappingProxyType
from typing import Any, Self

import numpy as np
from scipy import stats

from ...basics import SIZES, Array
from ...graphs import Graph
from ...proxies import get
from .rank_transform import normal_scores

KINDS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "size": SIZES,
        "spread of activations": ("near", "meco_opt"),
        "activation patterns": ("l_swag", "swap", "naswot"),
        "synaptic flow": ("synflow", "logsynflow"),
        "gradients": ("gradsign", "zico", "in_train"),
        "expressivity of blocks": ("az_expressivity",),
        "trainability of blocks": ("az_trainability",),
    }
)
"""Kind of evidence -> the measurements that give it; those of a kind look at the same thing."""
MEASURED = tuple(name for names in KINDS.values() for name in names)
"""All of them."""
PROXIES = tuple(name for name in MEASURED if name not in SIZES)
"""Those that a model is needed for; a graph alone gives the others."""
AUTO = ("near", "synflow", "jacob_cov", "meco_opt", "az_progressivity", "swap")
"""What ``proxies="auto"`` of predictors computes to learn from: the best few of three measured
spaces (``experiments/choose_default.py``), a fraction of the cost of all evidence."""

_KNOWN = 0.5  # share of a population that a measurement must have values of
_MISSING = -2.0  # normal score of a network that a measurement fails on
_FARTHEST = 3.0  # normal score; what lies beyond the reference may not count without bound


@dataclass(frozen=True)
class Evidence:
    """A reference population, which says what is much and what is little of each measurement.

    A measurement x of a network becomes its normal score among the reference's: the quantile of
    the normal distribution at its rank, in a straight line between ranks and beyond them. The mean
    over the measurements of a kind, standardised over the reference, is v_k; a network's score is

        z = mean_k log Phi(v_k),

    standardised again: kinds count the same, and being last in one counts more than being first
    in another, as in AZ-NAS. A measurement that fails on most of the reference is left out; a
    network that it fails on alone has the normal score -2.

    Weights of kinds that are fitted to labels of some spaces carry over worse to others than equal
    ones do (``experiments/results/transfer.md``), as Dawes, "The robust beauty of improper linear
    models", American Psychologist 1979, found elsewhere. Kinds and formula are our choice.

    Attributes:
        values: measurement -> its distinct values in the reference, ascending.
        places: measurement -> their normal scores.
        kinds: kind -> mean and deviation of its score over the reference; those it can judge.
        centre: the same of z.

    Example:
        >>> table = np.full((3, len(MEASURED)), np.nan)
        >>> table[:, 0] = [10.0, 1000.0, 100.0]  # parameters
        >>> evidence = Evidence.of(table)
        >>> list(evidence.kinds), evidence.score(table).argsort().tolist()
        (['size'], [0, 2, 1])
    """

    values: dict[str, Array]
    places: dict[str, Array]
    kinds: dict[str, list[float]]
    centre: list[float]

    @classmethod
    def of(cls, table: Array) -> Self:
        """The reference of measurements (networks, ``MEASURED``): larger is better, NaN where
        there is none."""
        values, places = {}, {}
        for name, column in zip(MEASURED, _drawn_together(table).T, strict=True):
            known = np.isfinite(column)
            if known.any() and known.mean() >= _KNOWN:
                distinct, first = np.unique(np.sort(column[known]), return_index=True)
                values[name] = distinct
                places[name] = normal_scores(np.sort(column[known]))[first]
        plain = cls(values, places, {}, [0.0, 1.0])
        kinds = {kind: _centre(score) for kind, score in plain._raw(table).items()}
        whole = cls(values, places, kinds, [0.0, 1.0])
        return cls(values, places, kinds, _centre(whole.score(table)))

    @classmethod
    def read(cls, state: Mapping[str, Any]) -> Self:
        """The one that ``state`` was taken of."""
        return cls(**state)

    def state(self) -> dict[str, Any]:
        """Arrays and numbers that say everything."""
        return asdict(self)

    def score(self, table: Array) -> Array:
        """z (networks,) of measurements (networks, ``MEASURED``); 0 without any evidence."""
        if not self.kinds:
            return np.zeros(len(table))
        logs = [stats.norm.logcdf(score) for score in self.scores(table).values()]
        mean, deviation = self.centre
        z: Array = (np.mean(logs, axis=0) - mean) / deviation
        return z

    def scores(self, table: Array) -> dict[str, Array]:
        """Kind -> v_k (networks,)."""
        raw = self._raw(table)
        return {kind: (raw[kind] - mean) / by for kind, (mean, by) in self.kinds.items()}

    def _raw(self, table: Array) -> dict[str, Array]:
        """Kind -> mean normal score of its measurements."""
        columns = dict(zip(MEASURED, _drawn_together(table).T, strict=True))
        found = {}
        for kind, names in KINDS.items():
            here = [self._placed(name, columns[name]) for name in names if name in self.values]
            if here:
                found[kind] = np.mean(here, axis=0)
        return found

    def _placed(self, name: str, column: Array) -> Array:
        """Normal scores of one measurement among the reference's."""
        known, places = self.values[name], self.places[name]
        if len(known) < 2:
            return np.zeros(len(column))
        beyond = np.minimum(column - known[0], 0) + np.maximum(column - known[-1], 0)
        with np.errstate(over="ignore"):
            reaches = np.clip(beyond / (known[-1] - known[0]), -_FARTHEST, _FARTHEST)
        score = np.interp(column, known, places) + reaches * (places[-1] - places[0])
        score = np.where(np.isfinite(column), score, _MISSING)
        return np.clip(score, -_FARTHEST, _FARTHEST)


def measurements(graph: Graph, scores: Mapping[str, float]) -> list[float]:
    """The row of a table: sizes of the graph, and values of proxies as far as they are known.

    Proxies that fall with accuracy change their sign.

    Example:
        >>> import torch, archrank
        >>> graph = archrank.trace(torch.nn.Linear(4, 2), (4,))
        >>> dict(zip(MEASURED, measurements(graph, {"near": 3.0})))["near"]
        3.0
    """
    sizes = [float(getattr(graph, name)) for name in SIZES]
    return sizes + [sign * float(scores.get(name, np.nan)) for name, sign in _signs().items()]


@cache
def _signs() -> dict[str, float]:
    return {name: get(name).sign for name in PROXIES}


def _drawn_together(table: Array) -> Array:
    """Orders of magnitude as steps: sign(x) log(1 + |x|)."""
    made: Array = np.sign(table) * np.log1p(np.abs(table))
    return made


def _centre(scores: Array) -> list[float]:
    if not len(scores):
        return [0.0, 1.0]
    deviation = float(scores.std())
    return [float(scores.mean()), deviation if deviation > 1e-9 else 1.0]


def table_of(rows: Sequence[Sequence[float]]) -> Array:
    """Measurements of several networks (networks, ``MEASURED``)."""
    return np.array(rows, dtype=np.float64).reshape(len(rows), len(MEASURED))
