"""NASWOT: how many different linear regions the samples of a batch fall into."""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import ScoreError
from .registry import Measure, register


@register(
    "naswot",
    summary="How well the rectifiers' on/off codes tell the samples apart.",
    formula="log |det K|, K = sum over units of c c^T + (1 - c)(1 - c)^T",
    reference="Mellor et al., ICML 2021",
    cost="1 forward",
)
def naswot(code_kernel: Tensor) -> Measure:
    """All rectifiers count (ReLU, ReLU6, leaky, GELU, SiLU, hardswish, ...), called as a module or
    as a function; a unit is on where its input is positive."""
    sign, logdet = torch.linalg.slogdet(code_kernel.double())
    if float(sign) == 0.0 or not bool(torch.isfinite(logdet)):
        raise ScoreError("two samples have the same code at every unit, so K is singular")
    return Measure(float(logdet))


@register(
    "linear_regions",
    summary="Number of different on/off codes among the samples.",
    formula="number of distinct on/off codes over the batch",
    reference="Xiong et al., ICML 2020; as a proxy Chen et al., TE-NAS, ICLR 2021",
    cost="1 forward",
)
def linear_regions(code_kernel: Tensor) -> Measure:
    """At most the batch's size, which networks of any width reach: it tells narrow ones alone
    apart. TE-NAS counts over thousands of inputs of 3x3 pixels, which few networks accept."""
    same = code_kernel == code_kernel.diagonal()[:, None]
    return Measure(float(len(torch.unique(same, dim=0))))
