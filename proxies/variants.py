"""Published codes' versions of proxies, NAME@SOURCE: their values, on their terms.

Our own definitions run in training mode, see functions as well as modules and count everything
once. Published codes differ in what they run, hook and count; each difference is stated here.
Variants are asked for by name and are never part of ``"all"``.

Sources: ``foresight`` is SamsungLabs/zero-cost-nas, ``naslib`` automl/NASLib, ``gradsign``
cmu-catalyst/GradSign, ``nas-without-training`` BayesWatch's, ``az-nas`` cvlab-yonsei/AZ-NAS,
``zico`` SLDGroup/ZiCo, ``meco`` HamsterMimi/MeCo, ``swap`` pym1024/SWAP. Where a code draws its own
weights and inputs, its variant reads those that it is given.
"""

from __future__ import annotations

from itertools import accumulate

import torch
from torch import Tensor

from ..graphs import Graph
from .activations.aznas import az_expressivity, az_progressivity, az_trainability
from .activations.naswot import linear_regions, naswot
from .activations.swap import swap, swap_regular
from .activations.zen import zen
from .gradients.gradient import zico
from .gradients.gradsign import gradsign_mean
from .gradients.tangent import ntk_condition
from .recording.recorders import correlation
from .recording.signals import (
    ActivationPatterns,
    Block,
    GradientStatistics,
    ModuleSize,
    Perturbation,
    Saliency,
    SignSums,
    SynapticFlow,
)
from .registry import Measure, register, register_variant, total_of
from .spectra import eigenvalues

# --- the same functions over the same signals -----------------------------------------------------

_AS_GIVEN = {
    "foresight": "grad_norm snip grasp plain synflow synflow_bn l2_norm jacob_cov",
    "naslib": "grad_norm snip grasp plain synflow synflow_bn l2_norm epe_nas",
}
for _source, _names in _AS_GIVEN.items():
    for _name in _names.split():
        register_variant(f"{_name}@{_source}", _name, mode="as given")

for _name, _ours in (
    ("jacov@naslib", "jacob_cov"),
    ("gradsign_sum@gradsign", "gradsign"),
    ("gradsign_mean@gradsign", "gradsign_mean"),
    ("grad_conflict@gradsign", "gradsign"),
    ("meco_repo_gradsign@meco", "gradsign"),
    ("az_nb201_snip@az-nas", "snip"),
    ("az_nb201_grasp@az-nas", "grasp"),
    ("az_nb201_synflow@az-nas", "synflow"),
    ("az_nb201_gradsign@az-nas", "gradsign_mean"),
    ("az_nb201_zico@az-nas", "zico"),
    ("zico@zico", "zico"),
):
    register_variant(_name, _ours, mode="as given")


# --- what modules without children hold and do ----------------------------------------------------


@register(
    "params@naslib",
    summary="Parameters in millions.",
    formula="1e-6 * sum over modules without children of the numel of their parameters",
    reference="automl/NASLib",
    mode="as given",
    cost="1 forward of one sample",
)
def params_of_leaves(module_sizes: list[ModuleSize]) -> Measure:
    """Blind to parameters of modules that have children, as class tokens."""
    return Measure(sum(size.parameters for size in module_sizes) / 1e6)


@register(
    "flops@naslib",
    summary="Operations of one forward of one sample in millions.",
    formula="1e-6 * (products of convolutions and linear layers, and a convolution's bias; 1 or, "
    "if affine, 2 per element of batch norm; 1 per element of ReLU; k^2 per pooled element)",
    reference="automl/NASLib",
    mode="as given",
    cost="1 forward of one sample",
)
def flops_of_leaves(module_sizes: list[ModuleSize]) -> Measure:
    """Blind to functions, and to modules of any other class."""
    return Measure(sum(size.operations for size in module_sizes) / 1e6)


# --- gradients of the loss ------------------------------------------------------------------------


@register(
    "fisher@foresight",
    summary="Fisher information of channels, each counted once per weight that makes it.",
    formula="sum_l fan_in_l sum_c 1/2 mean_n (sum_positions A * dL/dA)^2",
    reference="SamsungLabs/zero-cost-nas",
    mode="train",
    cost="1 forward + 1 backward",
    labels=True,
)
def fisher_by_fan_in(second_saliencies: list[Saliency], weights: dict[str, Tensor]) -> Measure:
    """The value of a channel is spread over its weights before they are summed. Of tokens, the
    position is taken for the channel."""
    parts: dict[str, float] = {}
    for saliency in second_saliencies:
        if saliency.parameter is not None:
            fan_in = weights[saliency.parameter][0].numel()
            value = fan_in * float(saliency.values.square().mean(dim=0).mul(0.5).sum())
            parts[saliency.parameter] = parts.get(saliency.parameter, 0.0) + value
    return total_of(parts)


register_variant("fisher@naslib", "fisher@foresight", reference="automl/NASLib")


@register(
    "az_nb201_gradnorm@az-nas",
    summary="Norm of the gradient of all parameters together.",
    formula="||g||_2, biases, norms and embeddings included",
    reference="cvlab-yonsei/AZ-NAS",
    mode="as given",
    cost="1 forward + 1 backward",
    labels=True,
)
def gradient_length(parameter_gradients: dict[str, Tensor]) -> Measure:
    """One norm, where grad_norm adds up those of the layers."""
    squares = [float(g.double().square().sum()) for g in parameter_gradients.values()]
    return Measure(sum(squares) ** 0.5)


register_variant("zico_repo_gradnorm@zico", "az_nb201_gradnorm@az-nas", reference="SLDGroup/ZiCo")


@register(
    "zico_repo_syncflow@zico",
    summary="Synaptic flow per output channel, batch norm active, negated.",
    formula="-sum_l 1/C_l sum |W * dR/dW|, C_l output channels",
    reference="SLDGroup/ZiCo",
    mode="as given",
    initialisation="as given, absolute",
    dtype="float64",
    higher_is_better=False,
    cost="1 forward + 1 backward of one sample in double precision",
)
def syncflow(flow_with_norm: dict[str, SynapticFlow]) -> Measure:
    """Of one all-ones sample, whose batch norm in training mode cancels most of the flow."""
    flows = flow_with_norm.items()
    return total_of(
        {n: -float((f.magnitude * f.gradient).abs().sum() / len(f.magnitude)) for n, f in flows}
    )


@register(
    "meco_repo_zico@gpu@meco",
    summary="ZiCo of gradients that are never cleared, as on a GPU.",
    formula="zico of g_1, g_1 + g_2, ...",
    reference="HamsterMimi/MeCo",
    mode="as given",
    cost="2 forwards + 2 backwards",
    labels=True,
)
def zico_of_sums(batch_gradients: list[dict[str, Tensor]]) -> Measure:
    """Each batch's gradient is added to those before it."""
    sums = accumulate(
        batch_gradients, lambda before, new: {name: before[name] + g for name, g in new.items()}
    )
    return zico(_statistics([*sums]))


@register(
    "meco_repo_zico@meco",
    summary="ZiCo of gradients that are never cleared, as on a CPU: always 0.",
    formula="0, since every batch's gradient is the same buffer, which does not deviate",
    reference="HamsterMimi/MeCo",
    mode="as given",
    cost="2 forwards + 2 backwards",
    labels=True,
)
def zico_of_one_buffer(batch_gradients: list[dict[str, Tensor]]) -> Measure:
    """Layers without deviation are left out, which here are all."""
    return total_of(dict.fromkeys(batch_gradients[0], 0.0))


def _statistics(batches: list[dict[str, Tensor]]) -> dict[str, GradientStatistics]:
    stacks = {name: torch.stack([batch[name] for batch in batches]) for name in batches[0]}
    return {
        name: GradientStatistics(stack.abs().mean(dim=0), stack.std(dim=0, unbiased=False))
        for name, stack in stacks.items()
    }


# --- gradients of samples -------------------------------------------------------------------------


@register(
    "az_nb201_gradsign_rev@az-nas",
    summary="GradSign per weight of the layers whose gradients do not all vanish.",
    formula="1/m sum_k |S_k|, over the m weights of layers with any S_k other than 0",
    reference="cvlab-yonsei/AZ-NAS",
    mode="as given",
    cost="1 forward + 1 per-sample backward",
    labels=True,
)
def gradsign_of_used(sign_sums: SignSums) -> Measure:
    """Without the zeros of layers that the output does not depend on."""
    used = {name: sums for name, sums in sign_sums.sums.items() if bool(sums.any())}
    return gradsign_mean(SignSums(sign_sums.samples, used))


@register(
    "grad_angle@gradsign",
    summary="How far the samples' gradients point the same way.",
    formula="mean_n cos(g_n, sum_m g_m / |g_m|)",
    reference="cmu-catalyst/GradSign",
    mode="as given",
    cost="1 forward + 1 per-sample backward",
    labels=True,
)
def grad_angle(gradient_kernel: Tensor) -> Measure:
    """The mean cosine with the mean of the directions is that mean's length."""
    norms = gradient_kernel.diagonal().sqrt()
    cosines = gradient_kernel / norms[:, None] / norms
    return Measure(float(cosines.mean().sqrt()))


@register(
    "meco_repo_ntk@meco",
    summary="Condition number of the tangent kernel in evaluation mode.",
    formula="lambda_max / lambda_min of G G^T, rows of G gradients of the summed outputs",
    reference="HamsterMimi/MeCo",
    mode="eval",
    higher_is_better=False,
    cost="1 forward + 1 backward per sample",
)
def ntk_of_weights(coupled_kernel: Tensor) -> Measure:
    """Of all parameters called weight, those of norms too, but no biases."""
    return ntk_condition(coupled_kernel)


@register(
    "az_nb201_ntk@az-nas",
    summary="Condition number of the tangent kernel of a coupled batch, negated.",
    formula="-lambda_max / lambda_min of G G^T, rows of G gradients of the summed outputs",
    reference="cvlab-yonsei/AZ-NAS",
    mode="as given",
    cost="1 forward + 1 backward per sample",
)
def ntk_of_batch(coupled_kernel: Tensor) -> Measure:
    """In training mode batch norm couples the samples, whose rows depend on each other's input."""
    return Measure(-ntk_condition(coupled_kernel).total)


register_variant("zico_repo_ntk@zico", "az_nb201_ntk@az-nas", reference="SLDGroup/ZiCo")


# --- rectifiers -----------------------------------------------------------------------------------


@register(
    "nwot@naslib",
    summary="NASWOT over modules whose class is called *ReLU*.",
    formula="log |det K|, K = sum over units of c c^T + (1 - c)(1 - c)^T",
    reference="automl/NASLib",
    mode="as given",
    cost="1 forward",
)
def naswot_by_name(named_relu_kernel: Tensor) -> Measure:
    """Containers called so (ReLUConvBN) count their input once more; functions are not seen."""
    return naswot(named_relu_kernel)


register_variant("naswot@nas-without-training", "nwot@naslib", reference="Mellor et al., ICML 2021")


@register(
    "az_nb201_naswot@az-nas",
    summary="NASWOT over nn.ReLU modules.",
    formula="log |det K|, K = sum over units of c c^T + (1 - c)(1 - c)^T",
    reference="cvlab-yonsei/AZ-NAS",
    mode="as given",
    cost="1 forward",
)
def naswot_of_relus(relu_kernel: Tensor) -> Measure:
    """No other rectifier, and no function."""
    return naswot(relu_kernel)


register_variant("zico_repo_naswot@zico", "az_nb201_naswot@az-nas", reference="SLDGroup/ZiCo")


@register(
    "az_nb201_linear_region@az-nas",
    summary="Number of different codes of nn.ReLU modules among the samples.",
    formula="number of distinct on/off codes over the batch",
    reference="cvlab-yonsei/AZ-NAS",
    mode="as given",
    cost="1 forward",
)
def linear_regions_of_relus(relu_kernel: Tensor) -> Measure:
    """No other rectifier, and no function."""
    return linear_regions(relu_kernel)


register_variant(
    "zico_repo_linear_region@zico", "az_nb201_linear_region@az-nas", reference="SLDGroup/ZiCo"
)


@register(
    "swap@swap",
    summary="SWAP of nn.ReLU modules of images.",
    formula="|{c_u}|, c_u the pattern over the batch in which rectifier unit u is on",
    reference="pym1024/SWAP",
    mode="as given",
    cost="1 forward",
)
def swap_of_relus(relu_patterns: ActivationPatterns) -> Measure:
    """No other rectifier, and no function."""
    return swap(relu_patterns)


@register(
    "swap_regular@swap",
    summary="The same, damped away from a number of parameters.",
    formula="swap * exp(-(p - mu)^2 / sigma), p = parameters / 1000",
    reference="pym1024/SWAP",
    mode="as given",
    cost="1 forward",
)
def swap_regular_of_relus(
    relu_patterns: ActivationPatterns, graph: Graph, *, mu: float = 30.0, sigma: float = 40.0
) -> Measure:
    """The defaults are the published ones."""
    return swap_regular(relu_patterns, graph, mu=mu, sigma=sigma)


# --- features -------------------------------------------------------------------------------------


@register(
    "zen@naslib",
    summary="How much features before pooling move when the given input does.",
    formula="log E||f(x + gamma eps) - f(x)||_1 + sum_BN log sqrt(mean running variance)",
    reference="automl/NASLib",
    mode="as given",
    deterministic=False,
    cost="2 forwards",
)
def zen_as_given(given_perturbation: Perturbation) -> Measure:
    """x is the batch and the weights are as given. In training mode the running variance has seen
    both forwards and still holds most of its initial 1; in evaluation mode it adds nothing."""
    return zen(given_perturbation)


for _name, _reference in (
    ("az_nb201_zen@az-nas", "cvlab-yonsei/AZ-NAS"),
    ("zico_repo_zen@zico", "SLDGroup/ZiCo"),
):
    register_variant(_name, "zen@naslib", reference=_reference)


@register(
    "meco@meco",
    summary="Smallest eigenvalue of the correlation of channels, summed over all modules.",
    formula="sum over modules of lambda_min(corr of the channels of one 64x64 image's features)",
    reference="HamsterMimi/MeCo",
    mode="as given",
    deterministic=False,
    cost="1 forward of one image",
)
def meco_of_modules(module_features: list[Tensor]) -> Measure:
    """Containers count what their last module gave once more. What is undefined of a correlation,
    as of features of one position, is 0; where positions are fewer than channels the eigenvalue
    is rounding."""
    correlations = [correlation(features.T) for features in module_features]
    return Measure(sum(float(eigenvalues(c, "a module's features")[0]) for c in correlations))


@register(
    "az_expressivity@az-nas",
    summary="AZ-NAS's expressivity of the given weights and inputs.",
    formula="sum_b H(v / sum v), v eigenvalues of the covariance of block b's channels",
    reference="cvlab-yonsei/AZ-NAS",
    mode="train",
    cost="1 forward + 1 backward",
)
def az_expressivity_as_given(given_blocks: list[Block]) -> Measure:
    """Their logarithm adds 1e-8 to the shares, which moves the value in its eighth digit. Their
    blocks are listed by each network; ours are found from the data flow."""
    return az_expressivity(given_blocks)


@register(
    "az_progressivity@az-nas",
    summary="AZ-NAS's progressivity of the given weights and inputs.",
    formula="min_b H_b+1 - H_b",
    reference="cvlab-yonsei/AZ-NAS",
    mode="train",
    cost="1 forward + 1 backward",
)
def az_progressivity_as_given(given_blocks: list[Block]) -> Measure:
    """Of the same entropies."""
    return az_progressivity(given_blocks)


@register(
    "az_trainability@az-nas",
    summary="AZ-NAS's trainability of the given weights and inputs.",
    formula="mean_b 2 - s_b - 1 / (s_b + 1e-6), s_b spectral norm of g_in^T g_out / positions",
    reference="cvlab-yonsei/AZ-NAS",
    mode="train",
    deterministic=False,
    cost="1 forward + 1 backward",
)
def az_trainability_as_given(given_blocks: list[Block]) -> Measure:
    """Under random signs of our generator."""
    return az_trainability(given_blocks)


for _name in ("expressivity", "progressivity", "trainability"):
    register_variant(f"az_mbv2_{_name}@az-nas", f"az_{_name}@az-nas")


@register(
    "az_autoformer_expressivity@az-nas",
    summary="AZ-NAS's expressivity of a vision transformer.",
    formula="sum_b H(v / sum v), v eigenvalues of the covariance of block b's channels",
    reference="cvlab-yonsei/AZ-NAS",
    mode="eval",
    cost="1 forward + 1 backward",
)
def az_autoformer_expressivity(given_blocks: list[Block]) -> Measure:
    """After each attention and each perceptron; the patch embedding does not count."""
    return az_expressivity(given_blocks[1:])


@register(
    "az_autoformer_trainability@az-nas",
    summary="AZ-NAS's trainability of a vision transformer.",
    formula="mean_b 2 - s_b - 1 / (s_b + 1e-6), s_b spectral norm of g_in^T g_out / positions",
    reference="cvlab-yonsei/AZ-NAS",
    mode="eval",
    deterministic=False,
    cost="1 forward + 1 backward",
)
def az_autoformer_trainability(given_blocks: list[Block]) -> Measure:
    """From block to block of tokens; the patch embedding does not count."""
    return az_trainability(given_blocks[1:])
