"""Samples as rows of a matrix of features, for predictors that learn from tables."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator

from ...basics import Array
from ...errors import InputError
from ...graphs import Graph
from ..reading import Sample
from . import profile, statistics
from .cache import once_per_graph
from .cells import cell_counts, reduction_counts
from .counts import edge_counts, neighbourhood_counts, path_counts
from .encoded_cells import encoded_cells, encoded_reductions
from .evidence import EVIDENCE


class Kind(ABC):
    """A kind of feature, which is read from samples and becomes columns."""

    @abstractmethod
    def read(self, part: str, samples: Sequence[Sample], score_names: Sequence[str]) -> Any:
        """Return the features read from each sample, in order."""

    def block(self, part: str, columns: Columns, fitted: Features) -> Array:
        """Return the columns (samples, any number) before scaling."""
        return columns.tables[part]

    def names(self, part: str, columns: Columns, fitted: Features) -> list[str]:
        """Return the name of each column."""
        return [f"{part} {i}" for i in range(columns.tables[part].shape[1])]


@dataclass(frozen=True)
class NumbersOfGraph(Kind):
    """A kind of feature that is a row of numbers computed from the graph.

    Attributes:
        row: the function from a graph to its numbers.
        own_names: the names of the numbers; None if they are only numbered.
    """

    row: Callable[[Graph], Array]
    own_names: Callable[[], Sequence[str]] | None = None

    def read(self, part: str, samples: Sequence[Sample], score_names: Sequence[str]) -> Array:
        return np.array([self.row(sample.graph) for sample in samples])

    def names(self, part: str, columns: Columns, fitted: Features) -> list[str]:
        if self.own_names is None:
            return super().names(part, columns, fitted)
        return list(self.own_names())


@dataclass(frozen=True)
class GroupOfNumbers(NumbersOfGraph):
    """The group of a graph's numbers whose names match a pattern.

    Attributes:
        pattern: a regular expression that the start of a name matches.
    """

    own_names: Callable[[], Sequence[str]]
    pattern: str = ""

    @cached_property
    def places(self) -> npt.NDArray[np.intp]:
        """The positions of the group among all numbers."""
        matches = [re.match(self.pattern, name) is not None for name in self.own_names()]
        return np.flatnonzero(matches)

    def read(self, part: str, samples: Sequence[Sample], score_names: Sequence[str]) -> Array:
        return super().read(part, samples, score_names)[:, self.places]

    def names(self, part: str, columns: Columns, fitted: Features) -> list[str]:
        every = self.own_names()
        return [every[place] for place in self.places.tolist()]


@dataclass(frozen=True)
class CountsOfGraph(Kind):
    """Named counts from the graph; only names that occur in the training set become columns.

    Attributes:
        count: the function from a graph to its counts.
    """

    count: Callable[[Graph], dict[str, float]]

    def read(
        self, part: str, samples: Sequence[Sample], score_names: Sequence[str]
    ) -> list[dict[str, float]]:
        return [self.count(sample.graph) for sample in samples]

    def block(self, part: str, columns: Columns, fitted: Features) -> Array:
        return _log_counts(columns.counts[part], fitted.vocabulary_[part])

    def names(self, part: str, columns: Columns, fitted: Features) -> list[str]:
        return fitted.vocabulary_[part]


class VectorOfSample(Kind):
    """A vector of each sample, its code or its context, of the same length for all samples."""

    def read(self, part: str, samples: Sequence[Sample], score_names: Sequence[str]) -> Array:
        return _equally_long(part, [getattr(sample, part) for sample in samples])


class Scores(Kind):
    """Proxy scores, and which of them are missing."""

    def read(self, part: str, samples: Sequence[Sample], score_names: Sequence[str]) -> Array:
        rows = [[s.scores.get(name, np.nan) for name in score_names] for s in samples]
        return np.array(rows, dtype=np.float64).reshape(len(samples), -1)

    def block(self, part: str, columns: Columns, fitted: Features) -> Array:
        scores = _symmetric_log(columns.tables[part], fitted.score_scale_)
        missing = ~np.isfinite(scores)
        known = np.where(missing, fitted.score_median_, scores)
        return np.concatenate([known, missing.astype(float)], axis=1)

    def names(self, part: str, columns: Columns, fitted: Features) -> list[str]:
        return fitted.score_names_ + [f"{name} missing" for name in fitted.score_names_]


class Evidence(Kind):
    """The joint evidence of sizes and proxies, which is the score named ``EVIDENCE``."""

    def read(self, part: str, samples: Sequence[Sample], score_names: Sequence[str]) -> Array:
        return np.array([[sample.scores.get(EVIDENCE, 0.0)] for sample in samples])

    def names(self, part: str, columns: Columns, fitted: Features) -> list[str]:
        return [part]


_statistics, _profile = once_per_graph(statistics.statistics), once_per_graph(profile.profile)
_KINDS: Mapping[str, Kind] = {
    "statistics": NumbersOfGraph(_statistics, statistics.names),
    **{
        f"statistics: {group}": GroupOfNumbers(_statistics, statistics.names, pattern)
        for group, pattern in statistics.GROUPS.items()
    },
    "profile": NumbersOfGraph(_profile, profile.names),
    **{
        f"profile: {group}": GroupOfNumbers(_profile, profile.names, pattern)
        for group, pattern in profile.GROUPS.items()
    },
    "spectrum": NumbersOfGraph(once_per_graph(lambda graph: graph.spectrum())),
    "paths": CountsOfGraph(once_per_graph(path_counts)),
    "edges": CountsOfGraph(once_per_graph(edge_counts)),
    "neighbourhoods": CountsOfGraph(once_per_graph(neighbourhood_counts)),
    "cells": CountsOfGraph(once_per_graph(cell_counts)),
    "reductions": CountsOfGraph(once_per_graph(reduction_counts)),
    "encoded cells": NumbersOfGraph(once_per_graph(encoded_cells)),
    "encoded reductions": NumbersOfGraph(once_per_graph(encoded_reductions)),
    "code": VectorOfSample(),
    "scores": Scores(),
    "evidence": Evidence(),
    "context": VectorOfSample(),
}
"""Every kind of feature: a new one is a line here."""
PARTS = tuple(_KINDS)
"""The kinds of features that columns can be made of."""
GROUPS = tuple(part for part, kind in _KINDS.items() if isinstance(kind, GroupOfNumbers))
"""The parts that split statistics and profile, so that each can be weighed on its own."""
_FARTHEST = 5.0  # in standard deviations; farther values, unseen in training, mislead


@dataclass(frozen=True)
class Columns:
    """Everything read from samples, by part; ``take`` selects samples without reading again."""

    length: int
    tables: dict[str, Array]  # part -> (samples, columns)
    counts: dict[str, list[dict[str, float]]]  # part -> counts of each sample
    score_names: tuple[str, ...]

    def take(self, rows: npt.NDArray[np.intp]) -> Columns:
        """Return the columns of some of the samples."""
        return Columns(
            len(rows),
            {part: table[rows] for part, table in self.tables.items()},
            {part: [counts[i] for i in rows.tolist()] for part, counts in self.counts.items()},
            self.score_names,
        )


def read_columns(
    samples: Sequence[Sample], parts: Sequence[str], score_names: Sequence[str] | None = None
) -> Columns:
    """Read parts from samples, and reuse what was read from the same graph object before.

    Raises:
        InputError: a part is unknown, or samples lack a part.
    """
    for part in parts:
        if part not in PARTS:
            raise InputError(f"parts: got {part!r}, expected some of {', '.join(PARTS)}")
    if score_names is None:
        score_names = sorted({name for sample in samples for name in sample.scores})
    columns = Columns(len(samples), {}, {}, tuple(score_names))
    for part in parts:
        kind = _KINDS[part]
        place = columns.counts if isinstance(kind, CountsOfGraph) else columns.tables
        place[part] = kind.read(part, samples, score_names)
    return columns


class Features(BaseEstimator):  # type: ignore[misc]
    """Standardised columns of chosen parts, with the names and columns of the training set.

    Proxy scores have both signs and span orders of magnitude, so they become sign(x) log(1 + |x| /
    median|x|). A missing score is replaced by the training median, and a further column marks it.
    Counts c become log(1 + c). All columns have mean 0 and variance 1 in training. Constant columns
    are dropped, and values beyond 5 standard deviations are clipped.

    Notes:
        All of this is our choice.

    Attributes:
        names_: the name of each column.
        ends_: where the columns of each part except the last one end.
    """

    def __init__(self, parts: Sequence[str] = ("statistics", "paths", "scores")):
        self.parts = parts

    def fit(self, columns: Columns) -> Self:
        """Choose and scale columns by their values in training samples."""
        self.vocabulary_ = {
            part: sorted({name for counts in rows for name in counts})
            for part, rows in columns.counts.items()
            if part in self.parts
        }
        self.score_names_ = list(columns.score_names)
        if "scores" in columns.tables:
            scores = columns.tables["scores"]
            finite = np.where(np.isfinite(scores), scores, np.nan)
            empty = np.isnan(finite).all(axis=0)
            finite[:, empty] = 0.0
            self.score_scale_ = np.nanmedian(np.abs(finite), axis=0) + 1e-12
            self.score_median_ = np.nanmedian(_symmetric_log(finite, self.score_scale_), axis=0)
        blocks = self._blocks(columns)
        values = np.concatenate([np.zeros((columns.length, 0)), *blocks], axis=1)
        self.mean_ = values.mean(axis=0)
        self.std_ = values.std(axis=0)
        self.kept_ = np.flatnonzero(self.std_ > 1e-9)
        self.ends_ = np.searchsorted(self.kept_, np.cumsum([b.shape[1] for b in blocks[:-1]]))
        every = self._all_names(columns)
        self.names_ = [every[i] for i in self.kept_.tolist()]
        return self

    def transform(self, columns: Columns) -> Array:
        """Return the matrix (samples, columns)."""
        values = np.concatenate([np.zeros((columns.length, 0)), *self._blocks(columns)], axis=1)
        values = (values - self.mean_)[:, self.kept_] / self.std_[self.kept_]
        # Row-major like the arrays in files, so that a loaded predictor sums in the same order.
        return np.ascontiguousarray(np.clip(values, -_FARTHEST, _FARTHEST))

    def _blocks(self, columns: Columns) -> list[Array]:
        """Return the columns of each part before scaling."""
        return [_KINDS[part].block(part, columns, self) for part in self.parts]

    def _all_names(self, columns: Columns) -> list[str]:
        parts = [_KINDS[part].names(part, columns, self) for part in self.parts]
        return [name for names in parts for name in names]


def _symmetric_log(values: Array, scale: Array) -> Array:
    made: Array = np.sign(values) * np.log1p(np.abs(values) / scale)
    return made


def _log_counts(rows: Sequence[dict[str, float]], vocabulary: Sequence[str]) -> Array:
    place = {name: i for i, name in enumerate(vocabulary)}
    once = {id(counts): counts for counts in rows}  # equal networks share their counts
    table = np.zeros((len(once), len(vocabulary)))
    for row, counts in enumerate(once.values()):
        for name, count in counts.items():
            if name in place:
                table[row, place[name]] = count
    of = {key: row for row, key in enumerate(once)}
    return np.log1p(table)[[of[id(counts)] for counts in rows]]


def _equally_long(part: str, rows: Sequence[npt.ArrayLike | None]) -> Array:
    lengths = {-1 if row is None else len(np.asarray(row)) for row in rows}
    if -1 in lengths or len(lengths) > 1:
        found = "none" if lengths == {-1} else f"lengths {sorted(lengths)} (-1: none)"
        raise InputError(
            f"X: this predictor learnt from each sample's {part}, all of one length; got "
            f"{found}. Pass architectures of the space that it was fitted to, or fit it again to "
            "graphs alone (archrank fit --portable)"
        )
    return np.array([np.asarray(row) for row in rows], dtype=np.float64)
