"""Contrast without labels: what is alike in topology shall be near, and what graphs say."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ...basics import Array
from ...errors import InputError
from ...graphs import Graph

STATISTICS = ("params", "flops", "activations", "depth")
"""What is known of a graph for free."""


def spectral_targets(spectra: Tensor, temperature: float, copies: int = 2) -> Tensor:
    """Return how alike graphs are by topology, as distributions over the other rows of a batch.

        alpha^(i) = softmax_{l != i}(-|spectrum_i - spectrum_l|_2 / temperature)

    Args:
        spectra: (n, q), the q smallest eigenvalues of each graph's normalised Laplacian.
        temperature: T; the paper states none, its sister paper 0.05.
        copies: how often the batch is repeated; row ``c n + i`` is copy c of graph i, and the
            copies of a graph are at distance 0.

    Returns:
        (copies n, copies n), rows adding up to 1, zeros on the diagonal.

    Raises:
        InputError: an argument is out of range, or there is one row only.

    Source: GENNAPE (AAAI-23).

    Notes:
        The paper writes the softmax of the distance; only that of the negative distance makes
        neighbours alike (our reading).

    Example:
        >>> spectra = torch.tensor([[0.0, 1.0], [0.0, 1.0], [0.0, 2.0]]).double()
        >>> spectral_targets(spectra, 0.5, copies=1).numpy().round(2).tolist()
        [[0.0, 0.88, 0.12], [0.88, 0.0, 0.12], [0.5, 0.5, 0.0]]
    """
    positive("temperature", temperature)
    if spectra.dim() != 2:
        raise InputError(f"spectra: got shape {tuple(spectra.shape)}, expected (graphs, q)")
    rows = spectra.repeat(copies, 1)
    if len(rows) < 2:
        raise InputError(f"copies: got {len(rows)} rows in all, expected at least 2 to compare")
    distance = torch.cdist(rows, rows, compute_mode="donot_use_mm_for_euclid_dist")
    return _without_diagonal(-distance / temperature).softmax(dim=1)


def contrastive_loss(embeddings: Tensor, targets: Tensor, temperature: float) -> Tensor:
    """Return the cross-entropy between how alike embeddings are and how alike they should be.

        L = -1/n sum_i sum_{l != i} alpha^(i)_l log softmax_{r != i}(cos(z_i, z_r) / temperature)_l

    Args:
        embeddings: z (n, p), of any length: they are normalised here.
        targets: alpha (n, n), see ``spectral_targets``; what is on the diagonal is not read.
        temperature: of the similarities.

    Returns:
        A scalar.

    Raises:
        InputError: an argument is out of range or shapes do not fit.

    Source: GENNAPE (AAAI-23).

    Notes:
        The mean over rows, where the paper has the sum, is our choice.

    Example:
        >>> embeddings = torch.tensor([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0]])
        >>> alike = spectral_targets(torch.tensor([[0.0], [0.0], [9.0]]), 0.1, copies=1)
        >>> other = spectral_targets(torch.tensor([[0.0], [9.0], [0.0]]), 0.1, copies=1)
        >>> [round(contrastive_loss(embeddings, t, 0.1).item(), 2) for t in (alike, other)]
        [0.23, 5.23]
    """
    positive("temperature", temperature)
    n = len(embeddings)
    if embeddings.dim() != 2 or targets.shape != (n, n):
        raise InputError(
            f"targets: got shape {tuple(targets.shape)} for embeddings of shape "
            f"{tuple(embeddings.shape)}, expected ({n}, {n}) for (n, p)"
        )
    unit = functional.normalize(embeddings, dim=1)
    log_share = _without_diagonal(unit @ unit.T / temperature).log_softmax(dim=1)
    off_diagonal = ~torch.eye(n, dtype=torch.bool, device=targets.device)
    return -(targets[off_diagonal] * log_share[off_diagonal]).sum() / n


def free_statistics(graph: Graph) -> Array:
    """Return what a graph says of itself, as ``log2(1 + v)`` of its ``STATISTICS``, (4,).

    Example:
        >>> import archrank
        >>> graph = archrank.trace(torch.nn.Linear(8, 7, bias=False), (8,))
        >>> free_statistics(graph).round(2).tolist()
        [5.83, 5.83, 3.0, 1.0]
    """
    return np.log2(1.0 + np.array([getattr(graph, name) for name in STATISTICS], dtype=np.float64))


def _without_diagonal(values: Tensor) -> Tensor:
    diagonal = torch.eye(len(values), dtype=torch.bool, device=values.device)
    return values.masked_fill(diagonal, float("-inf"))


def positive(name: str, value: float) -> None:
    """Raise an InputError unless a number is finite and above 0."""
    if not 0 < value < float("inf"):
        raise InputError(f"{name}: got {value!r}, expected a finite number above 0")
