"""The positions of nodes in a graph: eigenvectors of its Laplacian."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

_DENSE_UP_TO = 1500


def laplacian_positions(
    nodes: int, edges: npt.NDArray[np.int64], k: int
) -> npt.NDArray[np.float32]:
    """Return eigenvectors of ``I - D^-1/2 A D^-1/2`` for the ``k`` smallest eigenvalues after the
    first.

    The graph is treated as undirected and simple. The first eigenvector contains only the degrees.
    Each column is scaled to norm ``sqrt(nodes)``, so that entries are of size 1 in graphs of any
    size. Graphs with too few nodes get columns of zeros. Both are our choice.

    An eigenvector's sign is arbitrary. Here it is canonical, so that equal graphs give equal
    results: the entry of largest magnitude is positive, or the earliest of several in execution
    order. Nearly equal graphs may still get opposite signs, so encoders flip them at random in
    training. Eigenvectors of a repeated eigenvalue are as arbitrary as the solver returns them.

    Args:
        nodes: the number of nodes.
        edges: (m, 2) of (source, target).
        k: the number of columns.

    Returns:
        float32 array (nodes, k).

    Source: Dwivedi and Bresson, "A generalization of transformer networks to graphs", 2021.

    Example:
        >>> path = np.array([[0, 1], [1, 2]])
        >>> laplacian_positions(3, path, 1)[:, 0].round() + 0.0
        array([ 1.,  0., -1.], dtype=float32)
    """
    result = np.zeros((nodes, k), dtype=np.float32)
    count = min(k, nodes - 1)
    if count < 1:
        return result
    from scipy import sparse
    from scipy.linalg import eigh
    from scipy.sparse.csgraph import laplacian
    from scipy.sparse.linalg import eigsh

    ones = np.ones(len(edges))
    adjacency = sparse.coo_array((ones, (edges[:, 0], edges[:, 1])), shape=(nodes, nodes)).tocsr()
    simple = ((adjacency + adjacency.T) > 0).astype(np.float64)
    matrix = sparse.csr_array(laplacian(simple, normed=True))  # type: ignore[arg-type]
    if nodes <= _DENSE_UP_TO:
        _, vectors = eigh(matrix.toarray(), subset_by_index=(0, count))
    else:
        # Shift-invert just below 0 finds the smallest; a fixed start makes it deterministic.
        values, vectors = eigsh(matrix.tocsc(), k=count + 1, sigma=-1e-3, v0=np.ones(nodes))
        vectors = vectors[:, np.argsort(values)]
    vectors = vectors[:, 1:]
    size = np.abs(vectors)
    pivot = (size > (1 - 1e-6) * size.max(axis=0)).argmax(axis=0)
    result[:, :count] = vectors * np.sign(vectors[pivot, np.arange(count)]) * np.sqrt(nodes)
    return result
