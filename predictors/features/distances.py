"""Distances between graphs, and embeddings of graphs that preserve them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt
from scipy import optimize
from sklearn.base import BaseEstimator, TransformerMixin

from ...basics import Array, IntArray
from ...errors import InputError
from ...graphs import Graph
from ...graphs.features import resolution
from .cache import once_per_graph

DISTANCES = ("edit", "spectral")
LARGEST = 300
"""The largest number of nodes of graphs with an edit distance."""
_CHANGED = 0.5  # the largest cost of changing a node that keeps its operator
_LEFT_OUT = (0.5, 3.0)  # costs of leaving a node out of an alignment, with its edges
_Q = 21


def spectral_distance(first: Graph, second: Graph, q: int = _Q) -> float:
    """Return the Euclidean distance between the ``q`` smallest Laplacian eigenvalues of two graphs.

    Only topology counts: graphs that differ only in operators or widths have distance 0. See
    ``archrank.graphs.spectra.laplacian_spectrum``.

    Source: GENNAPE (AAAI-23), the similarity of its contrastive loss.

    Example:
        >>> from archrank.predictors.checks import small_graphs
        >>> shallow, deep = small_graphs()[:2]
        >>> spectral_distance(shallow, shallow), spectral_distance(shallow, deep) > 0.1
        (0.0, True)
    """
    return float(np.linalg.norm(first.spectrum(q) - second.spectrum(q)))


class EditDistance(NamedTuple):
    """The bounds ``low`` and ``high`` between which an edit distance lies."""

    low: float
    high: float

    @property
    def exact(self) -> bool:
        """Tell whether both bounds are equal, so that they are the distance."""
        return self.low == self.high


def edit_distance(first: Graph, second: Graph, timeout: float = 10.0) -> EditDistance:
    """Return the least cost of turning one graph into the other, or bounds if time runs out.

    Adding or removing a node or an edge costs 1, and so does changing the operator of a node. A
    node that keeps its operator costs half the Jaccard distance of its other properties (nonzero
    attributes and channels). Repeated edges count once.

    Bounds are computed first. The lower bound is the cheapest assignment of nodes, plus the
    difference in numbers of edges. The upper bound is the cost of edits that pair nodes by an
    alignment of both orders of execution. Then networkx searches for cheaper edits until there are
    none or time runs out. Finding the cheapest is NP-hard; expect exact distances up to about ten
    nodes.

    Source: the lower bound follows Riesen and Bunke, "Approximate graph edit distance computation
    by means of bipartite graph matching", 2009. Tuli et al., FlexiBERT, 2022, compare architectures
    by edit distance.

    Notes:
        The alignment and the costs are our choice.

    Args:
        first, second: graphs of at most ``LARGEST`` nodes.
        timeout: the seconds that the search may take; 0 returns the bounds without a search.

    Raises:
        InputError: a graph has more nodes, or the timeout is negative.

    Example:
        >>> from archrank.predictors.checks import small_graphs
        >>> narrow, deep, wide = (small_graphs()[i] for i in (0, 1, 4))
        >>> edit_distance(narrow, narrow), edit_distance(narrow, wide).exact
        (EditDistance(low=0.0, high=0.0), True)
        >>> edit_distance(narrow, deep, timeout=0).exact
        False
    """
    if not timeout >= 0:
        raise InputError(f"timeout: got {timeout!r}, expected seconds, at least 0")
    one, other = _outline(first), _outline(second)
    bounds = _bounds(one, other)
    if bounds.exact or not timeout:
        return bounds
    return _searched(one, other, bounds, timeout)


class _Outline(NamedTuple):
    """The part of a graph that edits compare: facts of nodes (n, facts), operator first, and
    edges."""

    facts: IntArray
    edges: IntArray


@once_per_graph
def _outline(graph: Graph) -> _Outline:
    if len(graph) > LARGEST:
        raise InputError(
            f"graph: got one of {len(graph):,} nodes, and edit distances are computed for at most "
            f"{LARGEST}; take the distance 'spectral'"
        )
    channels = resolution(graph)[:, 5].astype(np.int64)
    facts = np.column_stack([graph.operator, graph.attributes, channels]).astype(np.int64)
    return _Outline(facts, np.unique(graph.edges.astype(np.int64).reshape(-1, 2), axis=0))


def _substitutions(one: _Outline, other: _Outline) -> Array:
    """Return the costs (n, m) of turning each node of one graph into each node of the other."""
    first, second = one.facts[:, None, 1:], other.facts[None, :, 1:]
    shared = ((first == second) & (first != 0)).sum(axis=2)
    either = (first != 0).sum(axis=2) + (second != 0).sum(axis=2) - shared
    changed = _CHANGED * (1.0 - shared / np.maximum(either, 1)) * (either > 0)
    same = one.facts[:, None, 0] == other.facts[None, :, 0]
    return np.where(same, changed, 1.0)


def _bounds(one: _Outline, other: _Outline) -> EditDistance:
    """Return bounds without a search."""
    one, other = sorted((one, other), key=_key)  # sorted, so that the result is symmetric
    nodes = _substitutions(one, other)
    # Leaving two nodes out is never cheaper than pairing them, apart from edges.
    cheapest = nodes[optimize.linear_sum_assignment(nodes)].sum()
    low = cheapest + abs(np.subtract(*nodes.shape)) + abs(len(one.edges) - len(other.edges))
    high = min(_cost(one, other, nodes, _in_order(nodes, each)) for each in _LEFT_OUT)
    # Sums of the same costs in different orders differ by rounding.
    return EditDistance(float(high if high - low < 1e-9 else low), float(high))


def _cost(one: _Outline, other: _Outline, nodes: Array, pairs: tuple[IntArray, IntArray]) -> float:
    """Return the cost of the edits that keep these pairs of nodes and leave the others out."""
    n, m = nodes.shape
    place = np.full(n, m)  # m: nowhere
    place[pairs[0]] = pairs[1]
    kept = np.isin(place[one.edges] @ [m + 1, 1], other.edges @ [m + 1, 1]).sum()
    left = n + m - 2 * len(pairs[0]) + len(one.edges) + len(other.edges) - 2 * kept
    return float(nodes[pairs].sum() + left)


def _in_order(nodes: Array, left_out: float) -> tuple[IntArray, IntArray]:
    """Return the pairs of the cheapest alignment of both sequences of nodes."""
    n, m = nodes.shape
    steps = left_out * np.arange(m + 1)
    costs = np.zeros((n + 1, m + 1))
    costs[0] = steps
    for i in range(n):
        here = costs[i] + left_out
        here[1:] = np.minimum(here[1:], costs[i, :-1] + nodes[i])
        costs[i + 1] = np.minimum.accumulate(here - steps) + steps
    pairs = []
    i, j = n, m
    while i and j:
        if costs[i, j] >= costs[i - 1, j - 1] + nodes[i - 1, j - 1] - 1e-9:
            i, j = i - 1, j - 1
            pairs.append((i, j))
        elif costs[i, j] >= costs[i - 1, j] + left_out - 1e-9:
            i -= 1
        else:
            j -= 1
    rows, columns = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    return rows, columns


def _searched(one: _Outline, other: _Outline, bounds: EditDistance, timeout: float) -> EditDistance:
    """Return the distance if the search ends in time, else the bounds of the best edits."""
    import networkx

    nodes = _substitutions(one, other)
    graphs = []
    for outline in (one, other):
        graph = networkx.DiGraph()
        graph.add_nodes_from((i, {"at": i}) for i in range(len(outline.facts)))
        graph.add_edges_from(outline.edges.tolist())
        graphs.append(graph)
    start = time.perf_counter()
    high = bounds.high
    for _, _, cost in networkx.optimize_edit_paths(
        *graphs,
        node_subst_cost=lambda u, v: nodes[u["at"], v["at"]],
        upper_bound=high + 1e-9,
        timeout=timeout,
    ):
        high = min(high, float(cost))
    if time.perf_counter() - start < timeout:  # the search was complete
        return EditDistance(high, high)
    return EditDistance(min(bounds.low, high), high)


class GraphEmbedding(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """An embedding of graphs as points whose Euclidean distances approximate those of the graphs.

    Landmarks are placed by classical multidimensional scaling. Their points are the eigenvectors of
    -J D^2 J / 2 with the largest eigenvalues, each times the root of its eigenvalue. D holds the
    distances between landmarks, and J is the centring matrix. Any other graph is placed by its
    distances d to landmarks,

        x_k = v_k . (mean of D^2 by landmark - d^2) / (2 sqrt(l_k)),

    with v_k and l_k the eigenvectors and eigenvalues. This formula gives landmarks exactly their
    own points. Distances that are not Euclidean, such as edit distances, are only approximated
    (``kept_``).

    Source: Tuli et al., FlexiBERT, 2022, which embeds edit distances by gradient descent or
    scaling; de Silva and Tenenbaum, "Sparse multidimensional scaling using landmark points", 2004.

    Args:
        distance: ``"edit"`` compares topology, operators and widths, in about a millisecond for
            each graph and landmark. ``"spectral"`` compares only topology, for graphs of any size.
        dimensions: the largest number of dimensions.
        landmarks: the largest number of landmarks, which are drawn from different graphs.
        timeout: the seconds that the search for each edit distance may take. When time runs out, or
            with 0, the upper bound is used.
        random_state: the seed of the draw of landmarks.

    Attributes:
        kept_: the share of the sum of positive eigenvalues that the kept dimensions have.

    Raises:
        InputError: there is no such distance, or an argument is out of range.

    Example:
        >>> from archrank.predictors.checks import small_graphs
        >>> graphs = small_graphs()
        >>> points = GraphEmbedding(dimensions=4).fit(graphs[:12]).transform(graphs)
        >>> points.shape
        (16, 4)
    """

    def __init__(
        self,
        distance: str = "edit",
        dimensions: int = 16,
        landmarks: int = 100,
        timeout: float = 0.0,
        random_state: int = 0,
    ):
        self.distance = distance
        self.dimensions = dimensions
        self.landmarks = landmarks
        self.timeout = timeout
        self.random_state = random_state

    def fit(self, graphs: Sequence[Graph], y: None = None) -> Self:
        """Draw landmarks from graphs and place them."""
        if self.distance not in DISTANCES:
            raise InputError(
                f"distance: got {self.distance!r}, expected one of {', '.join(DISTANCES)}"
            )
        for name in ("dimensions", "landmarks"):
            if getattr(self, name) < 1:
                raise InputError(f"{name}: got {getattr(self, name)!r}, expected at least 1")
        if not len(graphs):
            raise InputError("graphs: got none, expected at least one")
        unlike = list({_key(form): form for form in map(self._form, graphs)}.values())
        some = np.random.default_rng(self.random_state).permutation(len(unlike))[: self.landmarks]
        self.landmarks_ = [list(unlike[i]) for i in np.sort(some).tolist()]
        forms = [tuple(form) for form in self.landmarks_]
        squares = np.zeros((len(forms), len(forms)))
        for i, form in enumerate(forms):
            squares[i, :i] = squares[:i, i] = self._distances(form, forms[:i]) ** 2
        self.middle_ = squares.mean(axis=0)
        centred = -0.5 * (squares - self.middle_ - self.middle_[:, None] + squares.mean())
        values, vectors = np.linalg.eigh(centred)
        positive = max(int((values > 1e-9 * max(values[-1], 1e-9)).sum()), 1)
        chosen = slice(-1, -1 - min(self.dimensions, positive), -1)
        lengths = np.sqrt(np.maximum(values[chosen], 1e-12))
        self.axes_ = np.ascontiguousarray(0.5 * vectors[:, chosen] / lengths)
        total = np.maximum(values, 0.0).sum()
        self.kept_ = float((lengths**2).sum() / total) if total > 0 else 1.0
        return self

    def transform(self, graphs: Sequence[Graph]) -> Array:
        """Return the points (n, dimensions) of graphs."""
        forms = [tuple(form) for form in self.landmarks_]
        placed: dict[bytes, Array] = {}
        keys = []
        for form in map(self._form, graphs):
            keys.append(_key(form))
            if keys[-1] not in placed:
                squares = self._distances(form, forms) ** 2
                placed[keys[-1]] = (self.middle_ - squares) @ self.axes_
        return np.array([placed[key] for key in keys]).reshape(len(keys), self.axes_.shape[1])

    def _form(self, graph: Graph) -> tuple[npt.NDArray[Any], ...]:
        """Return the data for distances: a spectrum, or facts and edges."""
        return (graph.spectrum(_Q),) if self.distance == "spectral" else _outline(graph)

    def _distances(
        self, form: tuple[npt.NDArray[Any], ...], others: Sequence[tuple[npt.NDArray[Any], ...]]
    ) -> Array:
        if self.distance == "spectral":
            return np.array([np.linalg.norm(form[0] - other[0]) for other in others])
        return np.array([self._edits(_Outline(*form), _Outline(*other)) for other in others])

    def _edits(self, one: _Outline, other: _Outline) -> float:
        bounds = _bounds(one, other)
        if self.timeout and not bounds.exact:
            bounds = _searched(one, other, bounds, self.timeout)
        return bounds.high


def _key(form: Sequence[npt.NDArray[Any]]) -> bytes:
    return b"|".join(array.tobytes() for array in form)
