"""Variants (NAME@SOURCE) that reproduce the values of published codes.

Our own definitions run in training mode, include functions as well as modules, and count everything
once. Published codes differ in what they run, hook and count. Each variant states its differences.
Variants are asked for by name and are never part of ``"all"``. If a code draws its own weights and
inputs, its variant uses the given ones instead.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor

from .activations.aznas import az_expressivity, az_trainability
from .gradients.gradient import zico
from .gradients.gradsign import gradsign_mean
from .gradients.tangent import ntk_condition
from .recording.signals import (
    Block,
    GradientStatistics,
    ModuleSize,
    Saliency,
    SignSums,
    SynapticFlow,
)
from .registry import Measure, register, register_variant, total_of
from .spectra import correlation, eigenvalues

CODES = {
    "foresight": "SamsungLabs/zero-cost-nas",
    "naslib": "automl/NASLib",
    "gradsign": "cmu-catalyst/GradSign",
    "nas-without-training": "Mellor et al., ICML 2021",
    "az-nas": "cvlab-yonsei/AZ-NAS",
    "zico": "SLDGroup/ZiCo",
    "meco": "HamsterMimi/MeCo",
    "swap": "pym1024/SWAP",
}
"""Source of a variant -> the code's repository or paper."""


def _code(name: str) -> str:
    return CODES[name.rpartition("@")[2]]


def variant(name: str, of: str, **changed: Any) -> None:
    """Register a proxy's function as a variant that runs in the mode that the model is in."""
    register_variant(name, of, **{"mode": "as given", **changed})


def published(name: str, **facts: Any) -> Callable[..., Callable[..., Measure]]:
    """Register the decorated function as a variant that runs in the mode that the model is in."""
    return register(name, **{"mode": "as given", "reference": _code(name), **facts})


# --- the same functions over the same signals -----------------------------------------------------

_SAME = {
    "foresight": "grad_norm snip grasp plain synflow synflow_bn l2_norm jacob_cov",
    "naslib": "grad_norm snip grasp plain synflow synflow_bn l2_norm epe_nas jacov=jacob_cov",
    "gradsign": "gradsign_sum=gradsign gradsign_mean grad_conflict=gradsign",
    "meco": "meco_repo_gradsign=gradsign",
    "az-nas": "az_nb201_snip=snip az_nb201_grasp=grasp az_nb201_synflow=synflow "
    "az_nb201_gradsign=gradsign_mean az_nb201_zico=zico",
    "zico": "zico",
}
"""Source -> names that its code gives, each with our name where that is another."""

for _source, _names in _SAME.items():
    for _name in _names.split():
        _theirs, _, _ours = _name.partition("=")
        variant(f"{_theirs}@{_source}", _ours or _theirs)


# --- the same functions over other signals --------------------------------------------------------

_AS_GIVEN = {"reads": {"blocks": "given_blocks"}, "initialisation": "as given", "mode": "train"}

_OTHER_SIGNALS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    # Modules whose class is called *ReLU*. Containers called so (ReLUConvBN) count their input
    # once more; functions are not seen.
    (
        "nwot@naslib naswot@nas-without-training",
        "naswot",
        {
            "reads": {"code_kernel": "named_relu_kernel"},
            "summary": "NASWOT over modules whose class is called *ReLU*.",
        },
    ),
    # nn.ReLU modules: no other rectifier, and no function.
    (
        "az_nb201_naswot@az-nas zico_repo_naswot@zico",
        "naswot",
        {
            "reads": {"code_kernel": "relu_kernel"},
            "summary": "NASWOT over nn.ReLU modules.",
        },
    ),
    (
        "az_nb201_linear_region@az-nas zico_repo_linear_region@zico",
        "linear_regions",
        {
            "reads": {"code_kernel": "relu_kernel"},
            "summary": "Number of different codes of nn.ReLU modules among the samples.",
        },
    ),
    (
        "swap@swap",
        "swap",
        {
            "reads": {"activation_patterns": "relu_patterns"},
            "summary": "SWAP of nn.ReLU modules of images.",
        },
    ),
    (
        "swap_regular@swap",
        "swap_regular",
        {
            "reads": {"activation_patterns": "relu_patterns"},
            "summary": "The same, damped away from a number of parameters.",
        },
    ),
    # x is the batch and the weights are as given. In training mode the running variance has seen
    # both forwards and still holds most of its initial 1; in evaluation mode it adds nothing.
    (
        "zen@naslib az_nb201_zen@az-nas zico_repo_zen@zico",
        "zen",
        {
            "reads": {"perturbation": "given_perturbation"},
            "summary": "How much features before pooling move when the given input does.",
            "formula": "log E||f(x + gamma eps) - f(x)||_1 "
            "+ sum_BN log sqrt(mean running variance)",
            "initialisation": "as given",
        },
    ),
    # Of all parameters called weight, those of norms too, but no biases.
    (
        "meco_repo_ntk@meco",
        "ntk_condition",
        {
            "reads": {"tangent_kernel": "coupled_kernel"},
            "summary": "Condition number of the tangent kernel in evaluation mode.",
            "formula": "lambda_max / lambda_min of G G^T, rows of G gradients of the summed "
            "outputs",
            "mode": "eval",
            "cost": "1 forward + 1 backward per sample",
        },
    ),
    # The code's logarithm adds 1e-8 to the shares, which moves the value in its eighth digit. Its
    # blocks are listed by each network; ours are found from the data flow.
    (
        "az_expressivity@az-nas az_mbv2_expressivity@az-nas",
        "az_expressivity",
        {
            **_AS_GIVEN,
            "summary": "AZ-NAS's expressivity of the given weights and inputs.",
            "deterministic": True,
            "cost": "1 forward + 1 backward",
        },
    ),
    (
        "az_progressivity@az-nas az_mbv2_progressivity@az-nas",
        "az_progressivity",
        {
            **_AS_GIVEN,
            "summary": "AZ-NAS's progressivity of the given weights and inputs.",
            "deterministic": True,
            "cost": "1 forward + 1 backward",
        },
    ),
    # Under random signs of our generator.
    (
        "az_trainability@az-nas az_mbv2_trainability@az-nas",
        "az_trainability",
        {
            **_AS_GIVEN,
            "summary": "AZ-NAS's trainability of the given weights and inputs.",
        },
    ),
)
"""(Names that codes give, our proxy, what of its facts is another)."""

for _names, _of, _changed in _OTHER_SIGNALS:
    for _name in _names.split():
        variant(_name, _of, **{"reference": _code(_name), **_changed})


# --- what modules without children hold and do ----------------------------------------------------


@published(
    "params@naslib",
    summary="Parameters in millions.",
    formula="1e-6 * sum over modules without children of the numel of their parameters",
    cost="1 forward of one sample",
)
def params_of_leaves(module_sizes: list[ModuleSize]) -> Measure:
    """Count the parameters of modules without children.

    Notes:
        It misses the parameters of modules that have children, such as class tokens.
    """
    return Measure(sum(size.parameters for size in module_sizes) / 1e6)


@published(
    "flops@naslib",
    summary="Operations of one forward of one sample in millions.",
    formula="1e-6 * (products of convolutions and linear layers, and a convolution's bias; 1 or, "
    "if affine, 2 per element of batch norm; 1 per element of ReLU; k^2 per pooled element)",
    cost="1 forward of one sample",
)
def flops_of_leaves(module_sizes: list[ModuleSize]) -> Measure:
    """Count the operations of modules without children.

    Notes:
        It misses functions, and modules of classes that the code does not count.
    """
    return Measure(sum(size.operations for size in module_sizes) / 1e6)


# --- gradients of the loss ------------------------------------------------------------------------


@published(
    "fisher@foresight",
    summary="Fisher information of channels, each counted once per weight that makes it.",
    formula="sum_l fan_in_l sum_c 1/2 mean_n (sum_positions A * dL/dA)^2",
    mode="train",
    cost="1 forward + 1 backward",
    labels=True,
)
def fisher_by_fan_in(second_saliencies: list[Saliency], weights: dict[str, Tensor]) -> Measure:
    """Sum the Fisher information of all channels, each counted once per weight.

    Notes:
        The value of a channel is copied to each of its weights before the sum. For tokens,
        positions are taken for channels.
    """
    parts: dict[str, float] = {}
    for saliency in second_saliencies:
        if saliency.parameter is not None:
            fan_in = weights[saliency.parameter][0].numel()
            value = fan_in * float(saliency.values.square().mean(dim=0).mul(0.5).sum())
            parts[saliency.parameter] = parts.get(saliency.parameter, 0.0) + value
    return total_of(parts)


register_variant("fisher@naslib", "fisher@foresight", reference=CODES["naslib"])


@published(
    "az_nb201_gradnorm@az-nas",
    summary="Norm of the gradient of all parameters together.",
    formula="||g||_2, biases, norms and embeddings included",
    cost="1 forward + 1 backward",
    labels=True,
)
def gradient_length(parameter_gradients: dict[str, Tensor]) -> Measure:
    """Return the norm of the gradient of all parameters together.

    Notes:
        It is one norm; grad_norm adds up the norms of the layers.
    """
    squares = [float(g.double().square().sum()) for g in parameter_gradients.values()]
    return Measure(sum(squares) ** 0.5)


variant("zico_repo_gradnorm@zico", "az_nb201_gradnorm@az-nas", reference=CODES["zico"])


@published(
    "zico_repo_syncflow@zico",
    summary="Synaptic flow per output channel, batch norm active, negated.",
    formula="-sum_l 1/C_l sum |W * dR/dW|, C_l output channels",
    initialisation="as given, absolute",
    dtype="float64",
    higher_is_better=False,
    cost="1 forward + 1 backward of one sample in double precision",
)
def syncflow(flow_with_norm: dict[str, SynapticFlow]) -> Measure:
    """Sum the flow per output channel, negated.

    Notes:
        In training mode, batch norm of the single all-ones sample cancels most of the flow.
    """
    return total_of({n: -f.total / len(f.magnitude) for n, f in flow_with_norm.items()})


@published(
    "meco_repo_zico@gpu@meco",
    summary="ZiCo of gradients that are never cleared, as on a GPU.",
    formula="zico of g_1, g_1 + g_2, ...",
    cost="2 forwards + 2 backwards",
    labels=True,
)
def zico_of_sums(batch_gradients: list[dict[str, Tensor]]) -> Measure:
    """Return ZiCo of gradients that accumulate over batches.

    Notes:
        The gradient of each batch is added to those before it.
    """
    sums = accumulate(
        batch_gradients, lambda before, new: {name: before[name] + g for name, g in new.items()}
    )
    return zico(_statistics([*sums]))


@published(
    "meco_repo_zico@meco",
    summary="ZiCo of gradients that are never cleared, as on a CPU: always 0.",
    formula="0, since every batch's gradient is the same buffer, which does not deviate",
    cost="2 forwards + 2 backwards",
    labels=True,
)
def zico_of_one_buffer(batch_gradients: list[dict[str, Tensor]]) -> Measure:
    """Return 0 for every layer.

    Notes:
        Layers without deviation are left out; here no layer has any.
    """
    return total_of(dict.fromkeys(batch_gradients[0], 0.0))


def _statistics(batches: list[dict[str, Tensor]]) -> dict[str, GradientStatistics]:
    stacks = {name: torch.stack([batch[name] for batch in batches]) for name in batches[0]}
    return {
        name: GradientStatistics(stack.abs().mean(dim=0), stack.std(dim=0, unbiased=False))
        for name, stack in stacks.items()
    }


# --- gradients of samples -------------------------------------------------------------------------


@published(
    "az_nb201_gradsign_rev@az-nas",
    summary="GradSign per weight of the layers whose gradients do not all vanish.",
    formula="1/m sum_k |S_k|, over the m weights of layers with any S_k other than 0",
    cost="1 forward + 1 per-sample backward",
    labels=True,
)
def gradsign_of_used(sign_sums: SignSums) -> Measure:
    """Return GradSign per weight of the layers that are used.

    Notes:
        Layers that the output does not depend on have zero gradients and are left out.
    """
    used = {name: sums for name, sums in sign_sums.sums.items() if bool(sums.any())}
    return gradsign_mean(SignSums(sign_sums.samples, used))


@published(
    "grad_angle@gradsign",
    summary="How far the samples' gradients point the same way.",
    formula="mean_n cos(g_n, sum_m g_m / |g_m|)",
    cost="1 forward + 1 per-sample backward",
    labels=True,
)
def grad_angle(gradient_kernel: Tensor) -> Measure:
    """Return the mean cosine between the gradients and the mean of their directions.

    Notes:
        This mean cosine equals the length of the mean of the directions.
    """
    norms = gradient_kernel.diagonal().sqrt()
    cosines = gradient_kernel / norms[:, None] / norms
    return Measure(float(cosines.mean().sqrt()))


@published(
    "az_nb201_ntk@az-nas",
    summary="Condition number of the tangent kernel of a coupled batch, negated.",
    formula="-lambda_max / lambda_min of G G^T, rows of G gradients of the summed outputs",
    cost="1 forward + 1 backward per sample",
)
def ntk_of_batch(coupled_kernel: Tensor) -> Measure:
    """Return the negated condition number of the coupled kernel.

    Notes:
        In training mode, batch norm couples the samples: each row depends on the inputs of all
        samples.
    """
    return Measure(-ntk_condition(coupled_kernel).total)


variant("zico_repo_ntk@zico", "az_nb201_ntk@az-nas", reference=CODES["zico"])


# --- features -------------------------------------------------------------------------------------


@published(
    "meco@meco",
    summary="Smallest eigenvalue of the correlation of channels, summed over all modules.",
    formula="sum over modules of lambda_min(corr of the channels of one 64x64 image's features)",
    deterministic=False,
    cost="1 forward of one image",
)
def meco_of_modules(module_features: list[Tensor]) -> Measure:
    """Sum the smallest eigenvalues of the correlations of all modules' channels.

    Notes:
        Containers count the output of their last module again. Undefined correlations, such as
        those of features of one position, are 0. If there are fewer positions than channels, the
        eigenvalue is a rounding error.
    """
    correlations = [correlation(features.T) for features in module_features]
    return Measure(sum(float(eigenvalues(c, "a module's features")[0]) for c in correlations))


@published(
    "az_autoformer_expressivity@az-nas",
    summary="AZ-NAS's expressivity of a vision transformer.",
    formula="sum_b H(v / sum v), v eigenvalues of the covariance of block b's channels",
    mode="eval",
    cost="1 forward + 1 backward",
)
def az_autoformer_expressivity(given_blocks: list[Block]) -> Measure:
    """Sum the entropies of the features of all blocks but the first.

    Notes:
        Blocks end after each attention and each perceptron. The patch embedding does not count.
    """
    return az_expressivity(given_blocks[1:])


@published(
    "az_autoformer_trainability@az-nas",
    summary="AZ-NAS's trainability of a vision transformer.",
    formula="mean_b 2 - s_b - 1 / (s_b + 1e-6), s_b spectral norm of g_in^T g_out / positions",
    mode="eval",
    deterministic=False,
    cost="1 forward + 1 backward",
)
def az_autoformer_trainability(given_blocks: list[Block]) -> Measure:
    """Return the mean trainability of all blocks but the first.

    Notes:
        The maps lead from one block of tokens to the next. The patch embedding does not count.
    """
    return az_trainability(given_blocks[1:])
