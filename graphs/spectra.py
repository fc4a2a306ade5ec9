"""Spectra of graphs, which depend on the topology and not on the operators."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from .arrays import Arrays

_DENSE_UP_TO = 1500


def laplacian_spectrum(graph: Arrays, q: int = 21) -> npt.NDArray[np.float64]:
    """Return the ``q`` smallest eigenvalues of the normalised Laplacian ``I - D^-1/2 A D^-1/2``.

    Args:
        graph: any graph; directions of edges and repeated edges are ignored.
        q: the number of eigenvalues; GENNAPE uses 21. A graph with fewer nodes repeats its largest
            eigenvalue.

    Returns:
        float64 array (q,), ascending, in [0, 2].

    Source: GENNAPE (AAAI-23), the similarity of its contrastive loss.

    Notes:
        Repeating the largest eigenvalue of small graphs is our choice, since the paper does not say
        what to do.

    Example:
        >>> import torch
        >>> import archrank
        >>> graph = archrank.trace(torch.nn.ReLU(), (3, 8, 8))   # input - relu - output: a path
        >>> graph.spectrum(4).round(6).tolist()
        [0.0, 1.0, 2.0, 2.0]
    """
    if q < 1:
        raise InputError(f"q: got {q}, expected at least 1 eigenvalue")
    from scipy import sparse
    from scipy.linalg import eigvalsh
    from scipy.sparse.linalg import eigsh

    n = len(graph)
    source, target = graph.edges[:, 0], graph.edges[:, 1]
    ones = np.ones(len(graph.edges))
    adjacency = sparse.coo_array((ones, (source, target)), shape=(n, n)).tocsr()
    adjacency = ((adjacency + adjacency.T) > 0).astype(np.float64)
    degree: npt.NDArray[np.float64] = np.asarray(adjacency.sum(axis=1)).ravel()
    scale = np.divide(1.0, np.sqrt(degree), out=np.zeros(n), where=degree > 0)
    diagonal = sparse.diags_array((degree > 0).astype(np.float64))
    laplacian = diagonal - sparse.diags_array(scale) @ adjacency @ sparse.diags_array(scale)
    count = min(q, n)
    if n <= _DENSE_UP_TO:
        values = eigvalsh(laplacian.toarray(), subset_by_index=(0, count - 1))
    else:
        # Shift-invert just below 0 finds the smallest ones; a fixed start keeps it deterministic.
        values = eigsh(
            laplacian.tocsc(),
            k=count,
            sigma=-1e-3,
            which="LM",
            v0=np.ones(n),
            return_eigenvectors=False,
        )
    values = np.clip(np.sort(values), 0.0, 2.0)
    return np.concatenate([values, np.full(q - count, values[-1])])
