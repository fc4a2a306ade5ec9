"""Proxies of features' moments: how much of their room the features of each layer use."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ...errors import NotApplicable, ScoreError
from ..recording.signals import LayerFeatures
from ..registry import Measure, register
from ..spectra import eigenvalues, entropy, finite

_FEATURES = "a layer's features"
_CONSTANT = 1e-12  # variance, relative to the mean square, that is rounding alone


@register(
    "near",
    version=2,
    summary="Effective rank of the features of all layers and rectifiers.",
    formula="sum_l exp(H(s / sum s)), s singular values of the features, rows samples x positions",
    reference="Husistein et al., NEAR, 2024; rows of convolutions our choice",
    cost="1 forward",
)
def near(
    layer_features: list[LayerFeatures], *, channels: float = 512.0, seed: float = 0.0
) -> Measure:
    """Sum the effective ranks of the features of all layers and rectifiers.

    Notes:
        H is Shannon entropy in nats. Outputs of layers and of rectifiers both count, as published.
        Positions are rows and channels columns, so the rank is at most the number of channels. Of
        wider layers so many ``channels`` (or rows, where those are fewer than channels) are drawn
        and their rank is scaled up, since the time of an eigenvalue problem grows with its cube. A
        node's part is its layer's rank; those of rectifiers count in the total alone.
    """
    if channels < 1:
        raise ScoreError(f"channels: got {channels:g}, expected at least 1")
    generator = torch.Generator().manual_seed(int(seed))
    parts: dict[str, float] = {}
    total = 0.0
    for features in layer_features:
        moment = features.moment
        width = len(moment)
        if width > channels:
            drawn = torch.randperm(width, generator=generator)[: int(channels)].to(moment.device)
            moment = moment[drawn][:, drawn]
        rank = _effective_rank(moment) * width / len(moment)
        total += rank
        if features.parameter is not None:
            parts[features.parameter] = parts.get(features.parameter, 0.0) + rank
    return Measure(total, by_parameter=parts)


def _effective_rank(moment: Tensor) -> float:
    singular = eigenvalues(moment, _FEATURES).clamp_min(0).sqrt()
    return float(torch.exp(entropy(singular)))


@register(
    "meco",
    version=2,
    summary="Smallest eigenvalue of the correlation of channels, summed over layers.",
    formula="sum_l lambda_min(corr of the channels of one sample's features)",
    reference="Jiang et al., MeCo, NeurIPS 2023",
    cost="1 forward",
)
def meco(first_features: list[Tensor]) -> Measure:
    """Sum the smallest eigenvalues of the correlations of the layers' channels.

    Notes:
        Outputs of layers and rectifiers for the batch's first sample. The released code hooks every
        module, so that the same features count once more for each container around them. Where a
        layer has no more positions than channels the eigenvalue is 0; implementations that compute
        it add up its rounding.
    """
    total = 0.0
    for columns in _several(first_features):
        if len(columns) > columns.shape[1]:
            total += _smallest(columns)
    return Measure(total)


@register(
    "meco_opt",
    version=2,
    summary="MeCo of a few channels of each layer, weighted by their number.",
    formula="sum_l C_l / n * lambda_min(corr of n channels drawn from C_l)",
    reference="Jiang et al., MeCo, NeurIPS 2023",
    cost="1 forward",
)
def meco_opt(first_features: list[Tensor], *, n: float = 8.0, seed: float = 0.0) -> Measure:
    """Sum the smallest eigenvalues of the correlations of a few channels of each layer.

    Notes:
        The published remedy for spaces of varying width, where plain MeCo falls with it.
    """
    if n < 1:
        raise ScoreError(f"n: got {n:g}, expected at least 1 channel")
    generator = torch.Generator().manual_seed(int(seed))
    total = 0.0
    for columns in _several(first_features):
        channels = columns.shape[1]
        drawn = torch.randperm(channels, generator=generator)[: int(n)].to(columns.device)
        total += channels / len(drawn) * _smallest(columns[:, drawn])
    return Measure(total)


def _several(first_features: list[Tensor]) -> list[Tensor]:
    if not first_features:
        raise NotApplicable("no layer gives features of more than one position")
    return first_features


def _smallest(columns: Tensor) -> float:
    """Return the smallest eigenvalue of the correlation of standardised columns."""
    return float(eigenvalues(columns.T @ columns, _FEATURES)[0])


@register(
    "in_train",
    version=2,
    summary="Spread of features over channels, and of gradients over weights, per depth.",
    formula="gamma (1 + o) / log(L + 1), gamma = sum_l log((sum v)^2 / sum v^2), v eigenvalues of "
    "the features' covariance, o = sum_l min(1, std(g_l) / max|g_l|)",
    reference="InTrain, 2025",
    cost="1 forward + 1 backward",
    labels=True,
)
def in_train(layer_features: list[LayerFeatures], gradients: dict[str, Tensor]) -> Measure:
    """Multiply the spread of features by that of gradients, per depth.

    Notes:
        The participation ratio needs no eigenvalues: it is trace^2 / squared Frobenius norm.
        Features that are the same everywhere express nothing.
    """
    expressed = 0.0
    for features in layer_features:
        if features.parameter is not None:
            covariance = finite(features.covariance.double(), _FEATURES)
            trace = float(covariance.trace())
            if trace > _CONSTANT * float(features.moment.double().trace()):
                expressed += math.log(trace**2 / float(covariance.square().sum()))
    spread = 0.0
    for gradient in gradients.values():
        low, high = finite(gradient, "the gradients").aminmax()
        largest = max(float(high), -float(low))
        if largest > 0 and gradient.numel() > 1:
            spread += min(1.0, float(gradient.std()) / largest)
    return Measure(expressed * (1 + spread) / math.log(len(gradients) + 1))
