"""Proxies of per-sample gradients as vectors: the tangent kernel and the Fisher information."""

from __future__ import annotations

import torch
from torch import Tensor

from ...errors import NotApplicable, ScoreError
from ..recording.signals import ALL_ZERO
from ..registry import Measure, register
from ..spectra import eigenvalues, entropy, finite, of_rank


@register(
    "ntk_condition",
    version=6,
    summary="Condition number of the neural tangent kernel: how unevenly the network trains.",
    formula="lambda_max / lambda_min of G G^T, rows of G the samples' gradients of the summed "
    "outputs",
    reference="Chen et al., TE-NAS, ICLR 2021; samples apart our choice",
    higher_is_better=False,
    cost="1 forward + 1 per-sample backward",
)
def ntk_condition(tangent_kernel: Tensor) -> Measure:
    """Return the ratio of the largest to the smallest eigenvalue of the tangent kernel.

    Notes:
        Batch norm sees each sample alone, so each row is the gradient of a function of one sample,
        and one batched pass gives all rows. In TE-NAS batch norm sees the batch, which couples the
        rows and takes as many backward passes as there are samples. TE-NAS also reads the scales of
        norms. A kernel whose rank is less than the number of samples but for rounding has no
        condition.
    """
    values = eigenvalues(tangent_kernel, "the samples' gradients")
    if len(values) < 2:
        raise ScoreError("a kernel of one sample has no condition; pass a larger batch")
    if float(values[-1]) <= 0:
        raise NotApplicable(ALL_ZERO)
    if float(of_rank(values.clamp_min(0).sqrt(), len(values))[0]) == 0:
        raise NotApplicable(
            "the kernel is singular: but for rounding, some samples' gradients depend on each other"
        )
    return Measure(float(values[-1] / values[0]))


_DECILES = torch.arange(1, 10, dtype=torch.float64) / 10


@register(
    "vkdnw",
    version=7,
    summary="Depth, and how evenly the Fisher information spreads over directions.",
    formula="L + H(q / sum q), q the deciles of the eigenvalues of mean_n g_n g_n^T, one weight of "
    "each of the L layers",
    reference="Tybl and Neumann, VKDNW, CVPR 2025; the empirical Fisher our choice",
    deterministic=False,
    cost="1 forward + 1 per-sample backward",
    labels=True,
)
def vkdnw(gradient_entries: Tensor) -> Measure:
    """Add the depth and the entropy of the Fisher information's eigenvalues.

    Notes:
        The entropy is at most log 9, so the depth decides first, and the entropy orders networks of
        equal depth.
    """
    return Measure(gradient_entries.shape[1] + _evenness(gradient_entries))


@register(
    "vkdnw_entropy",
    version=7,
    summary="How evenly the Fisher information spreads over directions.",
    formula="H(q / sum q), q the deciles of the eigenvalues of mean_n g_n g_n^T",
    reference="Tybl and Neumann, VKDNW, CVPR 2025; the empirical Fisher our choice",
    deterministic=False,
    cost="1 forward + 1 per-sample backward",
    labels=True,
)
def vkdnw_entropy(gradient_entries: Tensor) -> Measure:
    """Return the entropy of the Fisher information's eigenvalues.

    Notes:
        The depth is left out. At most as many eigenvalues as samples are not 0; the deciles are
        taken of these. What is zero but for rounding is zero.
    """
    return Measure(_evenness(gradient_entries))


def _evenness(entries: Tensor) -> float:
    entries = finite(entries, "the samples' gradients")
    singular = of_rank(torch.linalg.svdvals(entries), max(entries.shape))
    values = singular.square() / len(entries)
    deciles = torch.quantile(values, _DECILES)
    if float(deciles.sum()) <= 0:
        raise NotApplicable("the gradients of the drawn weights are all zero")
    return float(entropy(deciles))
