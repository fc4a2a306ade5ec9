"""Contrastive losses without labels, which draw graphs of similar topology or operators
together."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from ...errors import InputError


def spectral_targets(spectra: Tensor, temperature: float, copies: int = 2) -> Tensor:
    """Return similarities of topology, as distributions over the other rows of a batch.

        alpha^(i) = softmax_{l != i}(-|spectrum_i - spectrum_l|_2 / temperature)

    Args:
        spectra: (n, q), the q smallest eigenvalues of each graph's normalised Laplacian.
        temperature: T; the paper states none, its sister paper 0.05.
        copies: the number of copies of the batch. Row ``c n + i`` is copy c of graph i, and the
            copies of a graph are at distance 0.

    Returns:
        (copies n, copies n), rows adding up to 1, zeros on the diagonal.

    Raises:
        InputError: an argument is out of range, or there is only one row.

    Source: GENNAPE (AAAI-23).

    Notes:
        The paper writes the softmax of the distance. Our reading is the negative distance, since
        only that makes near graphs similar.

    Example:
        >>> spectra = torch.tensor([[0.0, 1.0], [0.0, 1.0], [0.0, 2.0]]).double()
        >>> spectral_targets(spectra, 0.5, copies=1).numpy().round(2).tolist()
        [[0.0, 0.88, 0.12], [0.88, 0.0, 0.12], [0.5, 0.5, 0.0]]
    """
    positive("temperature", temperature)
    distance = _distances("spectra", spectra, copies)
    return _without_diagonal(-distance / temperature).softmax(dim=1)


def label_targets(labels: Tensor, temperature: float, copies: int = 1) -> Tensor:
    """Return similarities of operators, as distributions over the other rows of a batch.

        alpha^(i) = softmax_{l != i}(-|c_i - c_l|_2 / (temperature d_i)),  d_i = mean_l |c_i - c_l|

    Args:
        labels: c (n, k), logarithmic counts of Weisfeiler-Lehman labels, or sketches of them. The
            distance is that of the Weisfeiler-Lehman subtree kernel on such counts.
        temperature: the temperature relative to the mean distance d_i. So targets are as sharp in a
            batch of one family as in a batch of many.
        copies: the number of copies of the batch.

    Returns:
        (copies n, copies n), rows adding up to 1, zeros on the diagonal.

    Raises:
        InputError: an argument is out of range, or there is only one row.

    Source: Shervashidze et al., "Weisfeiler-Lehman graph kernels", JMLR 2011, in place of GENNAPE's
    spectra.

    Notes:
        The relative temperature is our choice.

    Example:
        >>> labels = torch.tensor([[0.0, 1.0], [0.0, 1.0], [0.0, 2.0]]).double()
        >>> label_targets(labels, 0.5).numpy().round(2).tolist()
        [[0.0, 0.98, 0.02], [0.98, 0.0, 0.02], [0.5, 0.5, 0.0]]
    """
    positive("temperature", temperature)
    distance = _distances("labels", labels, copies)
    mean = distance.sum(dim=1, keepdim=True) / (len(distance) - 1)
    relative = distance / mean.clamp(min=torch.finfo(mean.dtype).tiny)
    return _without_diagonal(-relative / temperature).softmax(dim=1)


def _distances(name: str, values: Tensor, copies: int) -> Tensor:
    if values.dim() != 2:
        raise InputError(f"{name}: got shape {tuple(values.shape)}, expected (graphs, columns)")
    rows = values.repeat(copies, 1)
    if len(rows) < 2:
        raise InputError(f"copies: got {len(rows)} rows in all, expected at least 2 to compare")
    return torch.cdist(rows, rows, compute_mode="donot_use_mm_for_euclid_dist")


def contrastive_loss(embeddings: Tensor, targets: Tensor, temperature: float) -> Tensor:
    """Return the cross-entropy between the similarities of embeddings and their targets.

        L = -1/n sum_i sum_{l != i} alpha^(i)_l log softmax_{r != i}(cos(z_i, z_r) / temperature)_l

    Args:
        embeddings: z (n, p), of any norm, since they are normalised here.
        targets: alpha (n, n), see ``spectral_targets``; the diagonal is not read.
        temperature: the temperature of the similarities.

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


def _without_diagonal(values: Tensor) -> Tensor:
    diagonal = torch.eye(len(values), dtype=torch.bool, device=values.device)
    return values.masked_fill(diagonal, float("-inf"))


def positive(name: str, value: float) -> None:
    """Raise an InputError unless a number is finite and above 0."""
    if not 0 < value < float("inf"):
        raise InputError(f"{name}: got {value!r}, expected a finite number above 0")
