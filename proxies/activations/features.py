"""Proxies of the moments of features: how fully the features of each layer use their space."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ...errors import NotApplicable, ScoreError
from ..recording.signals import LayerFeatures
from ..registry import Measure, register
from ..spectra import eigenvalues, entropy, finite, of_rank

_FEATURES = "a layer's features"
_ROUNDING = torch.finfo(torch.float32).eps  # of products that are summed, in any type
_CONSTANT = 1e-12  # variance, relative to the mean square, that is rounding alone


@register(
    "near",
    version=8,
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
        H is the Shannon entropy in nats. Outputs of layers and of rectifiers both count, as
        published. Positions are rows and channels are columns, so the rank is at most the number
        of channels. From wider layers, ``channels`` channels are drawn (or rows, if there are fewer
        rows than channels), and their rank is scaled up, since the time of an eigenvalue problem
        grows with the cube of its size. Singular values below 3.5e-4 of the largest count as zero:
        single precision does not resolve them. The value of a node is the rank of its layer. The
        ranks of rectifiers count only in the total.
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
    values = eigenvalues(moment, _FEATURES)
    values = torch.where(values > _ROUNDING * values[-1], values, 0)
    return float(torch.exp(entropy(values.sqrt())))


@register(
    "meco",
    version=6,
    summary="Smallest eigenvalue of the correlation of channels, summed over layers.",
    formula="sum_l lambda_min(corr of the channels of one sample's features)",
    reference="Jiang et al., MeCo, NeurIPS 2023",
    cost="1 forward",
)
def meco(first_features: list[Tensor]) -> Measure:
    """Sum the smallest eigenvalues of the correlations of the layers' channels.

    Notes:
        It reads the outputs of layers and rectifiers for the first sample of the batch. The
        released code hooks every module, so the same features count again for each container around
        them. If a layer has no more positions than channels, the eigenvalue is 0; implementations
        that compute it add up rounding errors.
    """
    total = 0.0
    for columns in _several(first_features):
        if len(columns) > columns.shape[1]:
            total += _smallest(columns)
    return Measure(total)


@register(
    "meco_opt",
    version=6,
    summary="MeCo of a few channels of each layer, weighted by their number.",
    formula="sum_l C_l / n * lambda_min(corr of n channels drawn from C_l)",
    reference="Jiang et al., MeCo, NeurIPS 2023",
    cost="1 forward",
)
def meco_opt(first_features: list[Tensor], *, n: float = 8.0, seed: float = 0.0) -> Measure:
    """Sum the smallest eigenvalues of the correlations of a few channels per layer.

    Notes:
        It is the published remedy for spaces of varying width, in which plain MeCo falls as the
        width grows.
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
    """Return the smallest eigenvalue of the correlation of standardised columns, 0 if rounding."""
    values = eigenvalues(columns.T @ columns, _FEATURES)
    return float(of_rank(values, 4)[0])


@register(
    "in_train",
    version=7,
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
        The participation ratio is trace^2 / squared Frobenius norm, so no eigenvalues are needed.
        Constant features have no spread and count as 0.
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
