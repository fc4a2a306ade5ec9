"""Proxies of the input's gradient."""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import ScoreError
from .registry import Measure, register

_K = 1e-5


@register(
    "jacob_cov",
    summary="How differently the network's linear maps treat the samples of a batch.",
    formula="-sum_i [log(v_i + k) + 1/(v_i + k)], v eigenvalues of the correlation of the rows of "
    "J, k = 1e-5",
    reference="Mellor et al., arXiv 2006.04647v1",
    cost="1 forward + 1 backward to the input",
)
def jacob_cov(input_jacobian: Tensor) -> Measure:
    """J: gradient of the sum of outputs with respect to each sample, (N, D), in float64."""
    rows = input_jacobian.double().flatten(1)
    rows = rows - rows.mean(dim=1, keepdim=True)
    norms = rows.norm(dim=1, keepdim=True)
    if not bool((norms > 0).all()):
        raise ScoreError("a sample's input gradient is constant, so its correlation is undefined")
    rows = rows / norms
    values = torch.linalg.eigvalsh(rows @ rows.T).clamp_min(0.0)
    return Measure(float(-(torch.log(values + _K) + 1.0 / (values + _K)).sum()))
