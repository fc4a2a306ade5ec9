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
