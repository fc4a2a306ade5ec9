"""Features computed from graphs, as tables of columns that encoders learn to predict."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from hashlib import blake2b

import numpy as np

from .... import basics
from ....basics import Array
from ....graphs import Graph
from ...features import profile, statistics
from ...features.cache import once_per_graph
from ...features.counts import edge_counts, neighbourhood_counts, path_counts
from ...reading import Sample

SIZES = (*basics.SIZES, "depth")
"""The reader of the sizes of a graph, which FBNetV3 calls free labels."""
SKETCH = 128
"""The number of columns of a sketch."""


def log_sizes(graph: Graph) -> Array:
    """Return the sizes of a graph, ``log2(1 + v)`` of its ``SIZES``, (4,).

    Example:
        >>> import archrank, torch
        >>> graph = archrank.trace(torch.nn.Linear(8, 7, bias=False), (8,))
        >>> log_sizes(graph).round(2).tolist()
        [5.83, 5.83, 3.0, 1.0]
    """
    return np.log2(1.0 + np.array([getattr(graph, name) for name in SIZES], dtype=np.float64))


def sketch(counts: Mapping[str, float]) -> Array:
    """Return counts by any names as a vector (``SKETCH``,).

        s = sum_n log(1 + c_n) r_n,  r_n in {-1, 1}^k / sqrt(k)

    Each name has its own fixed random signs. So dot products of sketches approximate those of the
    logarithmic counts, with an error that falls as 1 / sqrt(k).

    Source: Achlioptas, "Database-friendly random projections", JCSS 2003.

    Notes:
        Signs from a hash of the name are our choice.

    Example:
        >>> one, other = sketch({"conv3 conv3": 4.0}), sketch({"pool": 4.0})
        >>> bool(abs(one @ other) < one @ one)
        True
    """
    total = np.zeros(SKETCH)
    for name, count in counts.items():
        total += np.log1p(count) * _signs(name)
    return total


@lru_cache(maxsize=100_000)
def _signs(name: str) -> Array:
    digest = blake2b(name.encode(), digest_size=SKETCH // 8).digest()
    bits = np.unpackbits(np.frombuffer(digest, dtype=np.uint8))
    made: Array = (2.0 * bits - 1.0) / np.sqrt(SKETCH)
    return made


def described(graph: Graph) -> Array:
    """Return ``statistics`` and ``profile`` of a graph, side by side."""
    return np.concatenate([statistics.statistics(graph), profile.profile(graph)])


def counted(graph: Graph) -> Array:
    """Return sketches of a graph's paths, edges and neighbourhoods, (3 SKETCH,)."""
    return np.concatenate(
        [sketch(count(graph)) for count in (path_counts, edge_counts)] + [labelled(graph)]
    )


@once_per_graph
def labelled(graph: Graph) -> Array:
    """Return the sketch of a graph's Weisfeiler-Lehman labels, (SKETCH,)."""
    return sketch(neighbourhood_counts(graph))


_OF_GRAPH: Mapping[str, Callable[[Graph], Array]] = {
    "sizes": once_per_graph(log_sizes),
    "statistics": once_per_graph(described),
    "counts": once_per_graph(counted),
}
TABLES = (*_OF_GRAPH, "scores")
"""Names of tables: sizes, statistics and counts of graphs, and scores of proxies."""


def table_of(name: str, samples: Sequence[Sample]) -> Array:
    """Return one of ``TABLES`` (samples, columns), standardised; NaN where a score is missing.

    Known values of columns have mean 0 and deviation 1; constant columns become zeros. Scores of
    proxies span orders of magnitude, so they first become asinh(v / median|v|).
    """
    if name == "scores":
        return standardised(_scores(samples))
    return standardised(np.array([_OF_GRAPH[name](sample.graph) for sample in samples]))


def _scores(samples: Sequence[Sample]) -> Array:
    names = sorted({name for sample in samples for name in sample.scores})
    rows = [[sample.scores.get(name, np.nan) for name in names] for sample in samples]
    values = np.array(rows, dtype=np.float64).reshape(len(samples), -1)
    values[~np.isfinite(values)] = np.nan
    known = values[:, ~np.isnan(values).all(axis=0)]
    sizes = np.nanmedian(np.abs(known), axis=0)
    made: Array = np.arcsinh(known / np.where(sizes > 0, sizes, 1.0))
    return made


def standardised(table: Array) -> Array:
    """Return columns of mean 0 and deviation 1 over known values; constant columns become zeros."""
    spread = np.nanstd(table, axis=0)
    made: Array = (table - np.nanmean(table, axis=0)) / np.where(spread > 1e-9, spread, np.inf)
    return made
