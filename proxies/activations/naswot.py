"""NASWOT: how many different linear regions the samples of a batch fall into."""

from __future__ import annotations

import torch
from torch import Tensor

from ...errors import NotApplicable
from ..registry import Measure, register
from ..spectra import eigenvalues


@register(
    "naswot",
    version=5,
    summary="How well the rectifiers' on/off codes tell the samples apart.",
    formula="log |det K|, K = sum over units of c c^T + (1 - c)(1 - c)^T",
    reference="Mellor et al., ICML 2021",
    cost="1 forward",
)
def naswot(code_kernel: Tensor) -> Measure:
    """Return the logarithm of the determinant of the kernel of binary codes.

    Notes:
        All rectifiers count (ReLU, ReLU6, leaky, GELU, SiLU, hardswish, ...), whether called as a
        module or as a function. A unit is on where its input is positive. K is singular if samples
        share a code or outnumber the units; there is no value then, since its determinant would be
        a rounding error.
    """
    kernel = code_kernel.double()
    values = eigenvalues(kernel, "the codes' agreements")
    if float(values[0]) <= len(values) * torch.finfo(values.dtype).eps * float(values[-1]):
        raise NotApplicable(
            "samples have the same code at every unit, or outnumber the units, so K is singular"
        )
    return Measure(float(torch.linalg.slogdet(kernel).logabsdet))


@register(
    "linear_regions",
    version=5,
    summary="Number of different on/off codes among the samples.",
    formula="number of distinct on/off codes over the batch",
    reference="Xiong et al., ICML 2020; as a proxy Chen et al., TE-NAS, ICLR 2021",
    cost="1 forward",
)
def linear_regions(code_kernel: Tensor) -> Measure:
    """Count the different codes among the samples.

    Notes:
        The number is at most the batch size, which all but narrow networks reach. It therefore
        distinguishes only narrow networks. TE-NAS counts over thousands of inputs of 3x3 pixels,
        which few networks accept.
    """
    same = code_kernel == code_kernel.diagonal()[:, None]
    return Measure(float(len(torch.unique(same, dim=0))))
