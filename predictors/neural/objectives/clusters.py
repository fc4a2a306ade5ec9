"""Clusters of graphs, found without labels, and batches of a few clusters each."""

from __future__ import annotations

from collections.abc import Sequence, Sized

import numpy as np
import numpy.typing as npt

from ....basics import Array
from ..batches import cut_in_order
from ..learning.plan import TrainingPlan
from ..learning.seeds import generator_of
from ..learning.training import Batching

CLUSTER_SIZE = 100
"""The approximate number of graphs in a cluster."""

Clusters = npt.NDArray[np.int64]


def clusters_of_graphs(described: Array, seed: int) -> Clusters:
    """Return the cluster of each graph, int (graphs,): k-means on descriptions of the graphs.

    Args:
        described: (graphs, columns), standardised.
        seed: the seed of the initial centres.

    Example:
        >>> rows = np.repeat([[0.0], [9.0]], 150, axis=0)
        >>> clusters = clusters_of_graphs(rows + np.linspace(0, 0.1, 300)[:, None], seed=0)
        >>> set(clusters[:150]) & set(clusters[150:])
        set()
    """
    from sklearn.cluster import KMeans

    count = max(len(np.unique(described, axis=0)) // CLUSTER_SIZE, 1)
    found: Clusters = KMeans(count, n_init=1, random_state=seed).fit_predict(described)
    return found.astype(np.int64)


def cluster_batching(
    graphs: Sequence[Sized], clusters: Clusters, together: int, plan: TrainingPlan
) -> Batching:
    """Return batches, epoch by epoch, of groups of ``together`` graphs from one cluster.

    Comparisons within a batch are then mostly among similar graphs, which are the most informative.

    Args:
        graphs: the graphs to batch; only their lengths are read.
        clusters: the cluster of each graph.
        together: the size of a group from one cluster; the last group of a cluster may be smaller.
        plan: the plan with the size of batches and the seed.
    """
    sizes = [len(graph) for graph in graphs]

    def cut(epoch: int) -> list[list[int]]:
        rng = generator_of(plan.seed, epoch)
        parts = []
        for cluster in np.unique(clusters):
            own = rng.permutation(np.flatnonzero(clusters == cluster))
            parts += [own[start : start + together] for start in range(0, len(own), together)]
        order = np.concatenate([parts[i] for i in rng.permutation(len(parts))])
        return cut_in_order(order.tolist(), sizes, plan.batch_size)

    return cut
