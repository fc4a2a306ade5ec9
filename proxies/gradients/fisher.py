"""Fisher: how sensitive the loss is to each channel of activations."""

from __future__ import annotations

from ..recording.signals import Saliency
from ..registry import Measure, register


@register(
    "fisher",
    version=7,
    summary="Fisher information of the channels of convolutions and linear layers.",
    formula="sum_c 1/2 mean_n (sum_positions A * dL/dA)^2",
    reference="Turner et al., ICLR 2020; as a proxy Abdelfattah et al., ICLR 2021",
    cost="1 forward + 1 backward",
    labels=True,
)
def fisher(saliencies: list[Saliency]) -> Measure:
    """Sum the Fisher information of all channels.

    Notes:
        Each channel counts once; foresight's code counts it once per weight of the channel.
    """
    by_parameter: dict[str, float] = {}
    total = 0.0
    for saliency in saliencies:
        value = float(saliency.values.pow(2).mean(dim=0).mul(0.5).sum())
        total += value
        if saliency.parameter is not None:
            by_parameter[saliency.parameter] = by_parameter.get(saliency.parameter, 0.0) + value
    return Measure(total, by_parameter=by_parameter)
