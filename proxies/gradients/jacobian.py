"""Proxies of the gradient with respect to the input."""

from __future__ import annotations

import torch
from torch import Tensor

from ...errors import NotApplicable
from ..registry import Measure, register
from ..spectra import finite

_K = 1e-5
_MANY_CLASSES = 100


@register(
    "jacob_cov",
    version=3,
    summary="How differently the network's linear maps treat the samples of a batch.",
    formula="-sum_i [log(v_i + k) + 1/(v_i + k)], v eigenvalues of the correlation of the rows of "
    "J, k = 1e-5",
    reference="Mellor et al., arXiv 2006.04647v1",
    cost="1 forward + 1 backward to the input",
)
def jacob_cov(input_jacobian: Tensor) -> Measure:
    """Sum a penalty on the eigenvalues of the correlation of the Jacobian's rows.

    Notes:
        J is the gradient of the sum of outputs with respect to each sample, (N, D), in float64.
    """
    values = torch.linalg.eigvalsh(_correlation(input_jacobian)).clamp_min(0.0)
    return Measure(float(-(torch.log(values + _K) + 1.0 / (values + _K)).sum()))


@register(
    "epe_nas",
    version=3,
    summary="How differently the network's linear maps treat samples of one class.",
    formula="sum_c |s_c|, s_c = sum over pairs of samples of class c of log(|corr| + k), k = 1e-5; "
    "beyond 100 outputs the mean over c of sum_d |s_c / n_c - s_d / n_d|",
    reference="Lopes et al., EPE-NAS, ICANN 2021",
    cost="1 forward + 1 backward to the input",
    labels=True,
)
def epe_nas(input_jacobian: Tensor, targets: Tensor, class_count: int) -> Measure:
    """Sum over classes the correlations of the Jacobian's rows.

    Notes:
        corr is the correlation of the rows of J. A class with a single sample adds next to nothing,
        so the batch should have several samples of most classes. With random targets, the score
        measures only the spread of the rows. The number of classes is that of the model's outputs,
        not that of the batch.
    """
    correlation = _correlation(input_jacobian)
    classes = targets.to(correlation.device)
    scores, counts = [], []
    for one in classes.unique():
        own = classes == one
        scores.append(torch.log(correlation[own][:, own].abs() + _K).sum())
        counts.append(own.sum())
    sums = torch.stack(scores)
    if class_count <= _MANY_CLASSES:
        return Measure(float(sums.abs().sum()))
    means = sums / torch.stack(counts)
    return Measure(float((means[:, None] - means[None, :]).abs().sum() / len(means)))


def _correlation(jacobian: Tensor) -> Tensor:
    """Return the correlation (N, N) of rows, in float64."""
    rows = finite(jacobian.double(), "the input's gradients").flatten(1)
    rows = rows - rows.mean(dim=1, keepdim=True)
    norms = rows.norm(dim=1, keepdim=True)
    if not bool((norms > 0).all()):
        raise NotApplicable(
            "a sample's input gradient is constant, so its correlation is undefined. It is zero if "
            "outputs of which the sum is fixed are summed, as those of softmax, or behind a norm"
        )
    rows = rows / norms
    correlation: Tensor = rows @ rows.T
    return correlation
