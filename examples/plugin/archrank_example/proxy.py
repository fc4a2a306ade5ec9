"""A proxy: one pure function from what archrank records to a value."""

from torch import Tensor

from archrank.proxies import Measure, register


@register(
    "weight_spread",
    summary="Sum over layers of the weights' standard deviation times their number's root.",
    formula="sum_l std(W_l) sqrt(|W_l|)",
    reference="an example",
    cost="none",
)
def weight_spread(weights: dict[str, Tensor]) -> Measure:
    """Add up the spread of each layer's weights; the parameter's name says what is read."""
    parts = {
        name: float(weight.std(correction=0)) * weight.numel() ** 0.5
        for name, weight in weights.items()
    }
    return Measure(sum(parts.values()), by_parameter=parts)
