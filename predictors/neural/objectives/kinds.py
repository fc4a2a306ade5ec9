"""Kinds of graphs, found in a corpus without being told, and batches of a few kinds each."""

from __future__ import annotations

from collections.abc import Sequence, Sized

import numpy as np
import numpy.typing as npt

from ....basics import Array
from ..batches import cut_in_order
from ..learning.plan import Plan
from ..learning.seeds import generator_of
from ..learning.training import Batching

PER_KIND = 100
"""How many graphs a kind has, about."""

Kinds = npt.NDArray[np.int64]


def kinds_of_graphs(described: Array, seed: int) -> Kinds:
    """Return which graphs are alike, int (graphs,): clusters of k-means on what they say.

    Args:
        described: (graphs, columns), standardised.
        seed: of the clusters' first centres.

    Example:
        >>> rows = np.repeat([[0.0], [9.0]], 150, axis=0)
        >>> kinds = kinds_of_graphs(rows + np.linspace(0, 0.1, 300)[:, None], seed=0)
        >>> set(kinds[:150]) & set(kinds[150:])
        set()
    """
    from sklearn.cluster import KMeans

    count = max(len(np.unique(described, axis=0)) // PER_KIND, 1)
    found: Kinds = KMeans(count, n_init=1, random_state=seed).fit_predict(described)
    return found.astype(np.int64)


def kind_batching(graphs: Sequence[Sized], kinds: Kinds, together: int, plan: Plan) -> Batching:
    """Return batches, epoch by epoch, in which ``together`` graphs each are of one kind.

    What is compared within a batch is then compared among graphs alike, where it says most.

    Args:
        graphs: what to batch; their lengths are read.
        kinds: of the graphs.
        together: how many of one kind stand together; a kind's last part may be smaller.
        plan: how large batches are, and the seed.
    """
    sizes = [len(graph) for graph in graphs]

    def cut(epoch: int) -> list[list[int]]:
        rng = generator_of(plan.seed, epoch)
        parts = []
        for kind in np.unique(kinds):
            own = rng.permutation(np.flatnonzero(kinds == kind))
            parts += [own[start : start + together] for start in range(0, len(own), together)]
        order = np.concatenate([parts[i] for i in rng.permutation(len(parts))])
        return cut_in_order(order.tolist(), sizes, plan.batch_size)

    return cut
