"""The signals that can be recorded from a network at initialisation: the inputs of proxies."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ...errors import NotApplicable

_LOG_4 = math.log(4)
_LARGEST_LOG2 = 1000

SIGNALS: dict[str, str] = {
    "graph": "Graph of the model (no pass)",
    "weights": "weight name -> tensor (no pass)",
    "gradients": "weight name -> gradient of the batch's mean loss",
    "gradient_statistics": "weight name -> GradientStatistics over several batches",
    "hessian_gradients": "weight name -> Hessian times gradient of the batch's mean loss",
    "saliencies": "list of Saliency: output times its gradient, per sample and channel",
    "input_jacobian": "(N, D) gradient of the sum of outputs with respect to each sample",
    "code_kernel": "(N, N) agreements of the rectifiers' binary codes",
    "flow": "weight name -> SynapticFlow, batch norm left out",
    "flow_with_norm": "weight name -> SynapticFlow, batch norm active",
    "perturbation": "Perturbation of a Gaussian network's features",
    "sign_sums": "SignSums of per-sample gradients",
    "gradient_entries": "(N, L) per-sample gradients of one drawn weight of each layer",
    "tangent_kernel": "(N, N) products of per-sample gradients of the summed outputs",
    "targets": "(N,) classes of the samples",
    "class_count": "number of the classifier's outputs",
    "activation_patterns": "ActivationPatterns of the rectifiers",
    "layer_features": "list of LayerFeatures: moments of what layers and rectifiers give",
    "first_features": "list of (positions, C): the same of the first sample, where each channel is "
    "without its mean and of norm 1, a constant one 0; none of one position",
    "output_confidence": "(N,) largest softmax probability of each sample",
    "attention_confidences": "list of (heads,): per attention map, how sharply its heads look",
    "attention_importances": "list of (heads,): per attention map, what the loss feels of them",
    "blocks": "list of Block: spectra and Jacobians of the blocks of a Kaiming network",
    "constant_outputs": "two (N, D) outputs, all weights one small, then one large constant",
    "twins": "list of Twin: layers of the network beside those of a perturbed one",
    "named_relu_kernel": "code_kernel of the inputs of modules whose class is called *ReLU*",
    "relu_kernel": "code_kernel of nn.ReLU modules alone",
    "relu_patterns": "ActivationPatterns of nn.ReLU modules of images alone",
    "second_saliencies": "saliencies, the second dimension read as channels, tokens' too",
    "module_features": "list of (C, positions): every module's output for one 64x64 image",
    "module_sizes": "list of ModuleSize: of every call of a module without children",
    "parameter_gradients": "parameter name -> gradient of the batch's mean loss, biases too",
    "batch_gradients": "for each of several batches: weight name -> gradient of its mean loss",
    "gradient_kernel": "(N, N) products of per-sample gradients of the loss",
    "coupled_kernel": "(N, N) as tangent_kernel, in one batch, of all parameters called *weight*",
    "given_perturbation": "Perturbation of the network as it is, variances those that norms track",
    "given_blocks": "blocks of the network and the batch as they are",
}
"""Signal name -> what it is. A *weight* is a parameter of two or more dimensions that a
convolution, a linear or a recurrent operator applies, that multiplies a spectrum, of which values
pick matrices that multiply, or to which distances are taken: no biases, norms, embeddings or
positions. What multiplies states element by element, as the decays of state spaces (A of Mamba) do,
is none; of a kernel that is transformed to multiply a spectrum (S4), what it is made of is, and of
one that is convolved with, the kernel. The outputs of both are features, the states are none."""

ALL_ZERO = (
    "the gradient of each sample is zero but for rounding, as it always is where batch norm of one "
    "sample is averaged. In evaluation it has others: call model.eval() and ask for the variant "
    "that runs the model as it is given, gradsign_sum@gradsign"
)
"""Why per-sample gradients say nothing."""

OF_SEVERAL_BATCHES = frozenset({"gradient_statistics", "batch_gradients"})
"""Signals that compare batches, so that one batch is not enough to record them."""


@dataclass(frozen=True)
class GradientStatistics:
    """The mean of ``|g|`` and the population deviation of ``g`` over batches, per element."""

    mean_abs: Tensor
    std: Tensor

    def per_deviation(self, values: Tensor | float) -> float:
        """Return the sum of values divided by deviations, over elements that deviate."""
        ratios = torch.where(self.std > 0, values / self.std, 0)
        return float(ratios.sum(dtype=torch.float64))


@dataclass(frozen=True)
class Saliency:
    """``values[n, c]``: the sum over positions of output times gradient, sample n, channel c."""

    parameter: str | None
    values: Tensor


@dataclass(frozen=True)
class SynapticFlow:
    """``|W|`` and the gradient of the summed output by it, in the linearised network.

    Attributes:
        magnitude: ``|W|``.
        gradient: the gradient of the summed output, to be multiplied by 4 to the power of
            ``power``.
        power: 0, unless the gradient is beyond the range of double precision.
    """

    magnitude: Tensor
    gradient: Tensor
    power: int = 0

    @classmethod
    def within_range(cls, magnitude: Tensor, gradient: Tensor, power: int) -> SynapticFlow:
        """Return a flow without a power if double precision can hold it."""
        product = float((magnitude * gradient).abs().sum())
        if product == 0 or abs(math.log2(product) + 2 * power) < _LARGEST_LOG2:
            return cls(magnitude, gradient * 2.0**power * 2.0**power)
        return cls(magnitude, gradient, power)

    @cached_property
    def total(self) -> float:
        """Return the sum of ``|W * dR/dW|``.

        Raises:
            ScoreError: the sum is beyond the range of double precision.
        """
        if self.power:
            decimal = self.log_total / math.log(10)
            beyond = "more" if decimal > 0 else "less"
            raise NotApplicable(
                f"the flow through a weight is about 10^{decimal:.0f}, {beyond} than double "
                "precision holds; synflow_log gives the logarithm"
            )
        return self._product

    @cached_property
    def log_total(self) -> float:
        """Return the logarithm of the total, of any size; minus infinity if it is 0."""
        product = self._product
        if not product > 0:
            return -math.inf if product == 0 else product
        return math.log(product) + self.power * _LOG_4

    @cached_property
    def _product(self) -> float:
        return float((self.magnitude * self.gradient).abs_().sum())

    def log1p(self) -> Tensor:
        """Return ``log(1 + |dR/dW|)``."""
        magnitude = self.gradient.abs()
        if not self.power:
            return magnitude.log1p_()
        return torch.logaddexp(torch.zeros_like(magnitude), magnitude.log() + self.power * _LOG_4)


@dataclass(frozen=True)
class Perturbation:
    """The two quantities of the Zen-score.

    Attributes:
        distance: the mean over samples of the L1 distance between the features of x and of x +
            gamma eps.
        variances: for each batch norm in call order, the mean over channels of the batch variance.
    """

    distance: float
    variances: list[float]


@dataclass(frozen=True)
class SignSums:
    """``sums[name]``: the sum over ``samples`` samples of the sign of the gradient, per element."""

    samples: int
    sums: dict[str, Tensor]

    @cached_property
    def totals(self) -> dict[str, float]:
        """Name -> the sum of ``|S|``."""
        return {n: float(s.abs().sum(dtype=torch.float64)) for n, s in self.sums.items()}


@dataclass(frozen=True)
class ActivationPatterns:
    """The numbers of different patterns of units: a pattern says for which samples a unit is on.

    A unit is a position of a rectifier.

    Attributes:
        total: the number of different patterns over all rectifiers together.
        by_rectifier: the number for each rectifier, in call order.
    """

    total: int
    by_rectifier: tuple[int, ...]


@dataclass(frozen=True)
class LayerFeatures:
    """The moments of one output over samples and positions.

    With fewer samples and positions than channels, R < C, moments are stored as (R, R) matrices.
    These have the same eigenvalues except zeros, and so the same trace and norm.

    Attributes:
        parameter: the weight of the layer that made the output; None for a rectifier.
        moment: (C, C), the mean of f f^T.
        covariance: (C, C), the covariance over samples and positions.
    """

    parameter: str | None
    moment: Tensor
    covariance: Tensor


@dataclass(frozen=True)
class Block:
    """One block of a network: the part between two feature maps.

    Attributes:
        entropy: the entropy of the normalised eigenvalues of the covariance of the output's
            channels.
        spectral_norm: the largest singular value of the correlation between a random sign vector at
            the output and its pull-back to the input. It is None for the first block and where the
            positions of output and input do not correspond, and NaN for an identity.
    """

    entropy: float
    spectral_norm: float | None


@dataclass(frozen=True)
class ModuleSize:
    """The parameters that a module holds itself, and its operations on one sample."""

    parameters: int
    operations: int


@dataclass(frozen=True)
class Twin:
    """The cosines of one layer between the network and its perturbed twin."""

    weights: float
    gradients: float
    features: float
