"""epsinas: how much outputs change when all weights are one constant instead of another."""

from __future__ import annotations

from torch import Tensor

from ...errors import NotApplicable
from ..registry import Measure, register
from ..spectra import finite


@register(
    "epsinas",
    summary="Change of the outputs between two networks of constant weights.",
    formula="mean |v1 - v2| / mean((v1 + v2) / 2), v outputs scaled to [0, 1] over the batch",
    reference="Gracheva, Trainless model performance estimation, 2021",
    initialisation="all weights 1e-7, then all 1",
    dtype="float64",
    cost="2 forwards in double precision",
)
def epsinas(constant_outputs: tuple[Tensor, Tensor]) -> Measure:
    """Return the mean change of the outputs, relative to their mean.

    Notes:
        It needs neither targets nor gradients. Normalisation layers cancel most of the effect of a
        constant.
    """
    first, second = (_scaled(v) for v in constant_outputs)
    return Measure(float((first - second).abs().mean() / ((first + second) / 2).mean()))


def _scaled(outputs: Tensor) -> Tensor:
    low, high = finite(outputs, "the outputs with constant weights").aminmax()
    if not float(high - low) > 0:
        raise NotApplicable("with constant weights all outputs are the same")
    return (outputs - low) / (high - low)
