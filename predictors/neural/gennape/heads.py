"""Perceptrons weighted by fuzzy memberships, for single graphs and for pairs."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional


class FuzzyHeads(nn.Module):
    """One perceptron per cluster, weighted by membership.

        y'_i = sum_j U_ij f_j(h_i),  f_j(h) = w_j SiLU(W_j h + b_j) + c_j

    Args:
        width: the size of the vectors h.
        hidden: the width of each hidden layer.
        clusters: the number of perceptrons.

    Source: GENNAPE (AAAI-23), its MLP-E.

    Notes:
        One hidden layer with SiLU is our choice.

    Example:
        >>> heads = FuzzyHeads(4, 8, 2)
        >>> heads(torch.zeros(3, 4), torch.full((3, 2), 0.5)).shape
        torch.Size([3])
    """

    def __init__(self, width: int, hidden: int, clusters: int):
        super().__init__()
        self.clusters = clusters
        self.hidden = nn.Linear(width, clusters * hidden)
        self.out = nn.Parameter(_drawn(clusters, hidden))
        self.bias = nn.Parameter(torch.zeros(clusters))

    def forward(self, vectors: Tensor, memberships: Tensor) -> Tensor:
        """Return y' (n,) of vectors (n, width) and their memberships (n, clusters)."""
        hidden = functional.silu(self.hidden(vectors)).unflatten(1, (self.clusters, -1))
        heads = (hidden * self.out).sum(dim=2) + self.bias
        mixed: Tensor = (memberships * heads).sum(dim=1)
        return mixed


class FuzzyPairHeads(nn.Module):
    """Log odds that the first of two graphs is better, with one perceptron per cluster.

        logit(a, b) = sum_j (U_aj + U_bj) / 2 (g_j(a, b) - g_j(b, a))
        g_j(a, b) = w_j SiLU(L_j a + R_j b + c_j)

    so that ``logit(b, a) = -logit(a, b)``.

    Args:
        width, hidden, clusters: see ``FuzzyHeads``.

    Source: GENNAPE (AAAI-23), which has a classifier of pairs.

    Notes:
        This form of the classifier is our choice.

    Example:
        >>> heads, a, U = FuzzyPairHeads(4, 8, 1), torch.rand(3, 4), torch.ones(3, 1)
        >>> odds = heads(a, U, a, U)
        >>> bool(torch.allclose(odds, -odds.T, atol=1e-6))
        True
    """

    def __init__(self, width: int, hidden: int, clusters: int):
        super().__init__()
        self.clusters = clusters
        self.left = nn.Linear(width, clusters * hidden)
        self.right = nn.Linear(width, clusters * hidden, bias=False)
        self.out = nn.Parameter(_drawn(clusters, hidden))

    def forward(self, a: Tensor, of_a: Tensor, b: Tensor, of_b: Tensor) -> Tensor:
        """Return log odds (n, m) of vectors a (n, width) against b (m, width)."""
        odds = self._wins(a, b) - self._wins(b, a).transpose(0, 1)
        mixed = (of_a[:, None] + of_b[None]) / 2
        return (mixed * odds).sum(dim=2)

    def _wins(self, a: Tensor, b: Tensor) -> Tensor:
        pairs = functional.silu(self.left(a)[:, None] + self.right(b)[None])
        wins: Tensor = (pairs.unflatten(2, (self.clusters, -1)) * self.out).sum(dim=3)
        return wins


def _drawn(clusters: int, hidden: int) -> Tensor:
    """Draw the weights of ``clusters`` linear layers side by side as torch draws them."""
    bound = 1 / math.sqrt(hidden)
    return torch.empty(clusters, hidden).uniform_(-bound, bound)
