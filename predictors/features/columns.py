"""Samples as the columns of a matrix, for predictors that learn from tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

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
from .evidence import EVIDENCE

_COUNTED = {
    "paths": once_per_graph(path_counts),
    "edges": once_per_graph(edge_counts),
    "neighbourhoods": once_per_graph(neighbourhood_counts),
    "cells": once_per_graph(cell_counts),
    "reductions": once_per_graph(reduction_counts),
}


@dataclass(frozen=True)
class NumbersOfGraph:
    """A kind of feature that is a row of numbers of the graph alone.

    Attributes:
        read: the row of a graph.
        names: what its columns are; None where they are numbered.
    """

    read: Callable[[Graph], Array]
    names: Callable[[], Sequence[str]] | None = None


_NUMBERS: Mapping[str, NumbersOfGraph] = {
    "statistics": NumbersOfGraph(once_per_graph(statistics.statistics), statistics.names),
    "profile": NumbersOfGraph(once_per_graph(profile.profile), profile.names),
    "spectrum": NumbersOfGraph(once_per_graph(lambda graph: graph.spectrum())),
}
"""Kinds of features made of numbers of a graph: a new one is a line here."""
PARTS = (*_NUMBERS, *_COUNTED, "code", "scores", "evidence", "context")
"""What columns can be made of: numbers of the graph (its statistics, its profile, eigenvalues of
its Laplacian), five kinds of counts, the space's vector, proxies, what sizes and
proxies say together (a score named ``EVIDENCE``), and the context."""
_FARTHEST = 5.0  # standard deviations; beyond, what was not seen in training misleads


@dataclass(frozen=True)
class Columns:
    """Everything read out of samples, part by part; cut by ``take`` without reading again."""

    length: int
    tables: dict[str, Array]  # part -> (samples, columns)
    counts: dict[str, list[dict[str, float]]]  # part -> counts of each sample
    score_names: tuple[str, ...]

    def take(self, rows: npt.NDArray[np.intp]) -> Columns:
        """Return the same of some samples only."""
        return Columns(
            len(rows),
            {part: table[rows] for part, table in self.tables.items()},
            {part: [counts[i] for i in rows.tolist()] for part, counts in self.counts.items()},
            self.score_names,
        )


def read_columns(
    samples: Sequence[Sample], parts: Sequence[str], score_names: Sequence[str] | None = None
) -> Columns:
    """Read the parts out of samples; what was read of a graph object before is remembered.

    Raises:
        InputError: a part is unknown, or samples lack it.
    """
    for part in parts:
        if part not in PARTS:
            raise InputError(f"parts: got {part!r}, expected some of {', '.join(PARTS)}")
    if score_names is None:
        score_names = sorted({name for sample in samples for name in sample.scores})
    tables: dict[str, Array] = {}
    for part, numbers in _NUMBERS.items():
        if part in parts:
            tables[part] = np.array([numbers.read(sample.graph) for sample in samples])
    if "scores" in parts:
        rows = [[s.scores.get(name, np.nan) for name in score_names] for s in samples]
        tables["scores"] = np.array(rows, dtype=np.float64).reshape(len(samples), -1)
    if "evidence" in parts:
        tables["evidence"] = np.array([[s.scores.get(EVIDENCE, 0.0)] for s in samples])
    if "code" in parts:
        tables["code"] = _equally_long("code", [sample.code for sample in samples])
    if "context" in parts:
        tables["context"] = _equally_long("context", [sample.context for sample in samples])
    counts = {
        part: [_COUNTED[part](sample.graph) for sample in samples]
        for part in parts
        if part in _COUNTED
    }
    return Columns(len(samples), tables, counts, tuple(score_names))


def _equally_long(part: str, rows: Sequence[npt.ArrayLike | None]) -> Array:
    lengths = {-1 if row is None else len(np.asarray(row)) for row in rows}
    if -1 in lengths or len(lengths) > 1:
        found = "none" if lengths == {-1} else f"lengths {sorted(lengths)} (-1: none)"
        raise InputError(
            f"X: this predictor learnt of each sample's {part}, of one length; got {found}. Pass "
            "architectures of the space that it was fitted to, or fit it again to graphs alone "
            "(archrank fit --portable)"
        )
    return np.array([np.asarray(row) for row in rows], dtype=np.float64)


class Features(BaseEstimator):  # type: ignore[misc]
    """Standardised columns of chosen parts; keeps the words and columns that training has.

    Proxy scores span orders of magnitude and signs: they become sign(x) log(1 + |x| / median|x|).
    A missing score is the training median, with a column that says so. Word counts c become
    log(1 + c). All columns have mean 0 and variance 1 in training, constant ones are dropped, and
    values beyond 5 deviations are cut. All of it is our choice.

    Attributes:
        names_: what each column is.
        ends_: where among them the columns of each part but the last end.
    """

    def __init__(self, parts: Sequence[str] = ("statistics", "paths", "scores")):
        self.parts = parts

    def fit(self, columns: Columns) -> Self:
        """Choose and scale columns by those of training samples."""
        self.vocabulary_ = {
            part: sorted({word for counts in rows for word in counts})
            for part, rows in columns.counts.items()
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
        self.names_ = [self._all_names(columns)[i] for i in self.kept_.tolist()]
        return self

    def transform(self, columns: Columns) -> Array:
        """Return the matrix (samples, columns)."""
        values = np.concatenate([np.zeros((columns.length, 0)), *self._blocks(columns)], axis=1)
        values = (values - self.mean_)[:, self.kept_] / self.std_[self.kept_]
        # Rows first in memory, as files hold them: what is loaded then adds up in the same order.
        return np.ascontiguousarray(np.clip(values, -_FARTHEST, _FARTHEST))

    def _blocks(self, columns: Columns) -> list[Array]:
        """Return the columns of each part, before they are scaled."""
        made = []
        for part in self.parts:
            if part in _COUNTED:
                made.append(_counts(columns.counts[part], self.vocabulary_[part]))
            elif part == "scores":
                scores = _symmetric_log(columns.tables[part], self.score_scale_)
                missing = ~np.isfinite(scores)
                known = np.where(missing, self.score_median_, scores)
                made.append(np.concatenate([known, missing.astype(float)], axis=1))
            else:
                made.append(columns.tables[part])
        return made

    def _all_names(self, columns: Columns) -> list[str]:
        names: list[str] = []
        for part in self.parts:
            if part in _COUNTED:
                names += self.vocabulary_[part]
            elif part in _NUMBERS and (own := _NUMBERS[part].names) is not None:
                names += own()
            elif part == "scores":
                names += self.score_names_ + [f"{name} missing" for name in self.score_names_]
            elif part == "evidence":
                names.append(part)
            else:
                names += [f"{part} {i}" for i in range(columns.tables[part].shape[1])]
        return names


def _symmetric_log(values: Array, scale: Array) -> Array:
    made: Array = np.sign(values) * np.log1p(np.abs(values) / scale)
    return made


def _counts(rows: Sequence[dict[str, float]], vocabulary: Sequence[str]) -> Array:
    place = {word: i for i, word in enumerate(vocabulary)}
    once = {id(counts): counts for counts in rows}  # equal networks share theirs
    table = np.zeros((len(once), len(vocabulary)))
    for row, counts in enumerate(once.values()):
        for word, count in counts.items():
            if word in place:
                table[row, place[word]] = count
    of = {key: row for row, key in enumerate(once)}
    return np.log1p(table)[[of[id(counts)] for counts in rows]]
