"""What can be recorded from a network at initialisation: the inputs of the proxies' functions."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

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
}
"""Signal name -> what it is. A *weight* is a parameter of two or more dimensions that a
convolution, a linear or a recurrent operator applies: no biases, norms, embeddings or positions."""


@dataclass(frozen=True)
class GradientStatistics:
    """Over batches: mean of ``|g|`` and (population) standard deviation of ``g``, per element."""

    mean_abs: Tensor
    std: Tensor


@dataclass(frozen=True)
class Saliency:
    """``values[n, c]``: sum over positions of output times its gradient, sample n, channel c."""

    parameter: str | None
    values: Tensor


@dataclass(frozen=True)
class SynapticFlow:
    """``|W|`` and the summed output's gradient with respect to it, in the linearised network."""

    magnitude: Tensor
    gradient: Tensor


@dataclass(frozen=True)
class Perturbation:
    """Zen-score's ingredients.

    Attributes:
        distance: mean over samples of the L1 distance of the features of x and of x + gamma eps.
        variances: per batch norm, the mean over channels of the batch variance, in call order.
    """

    distance: float
    variances: list[float]


@dataclass(frozen=True)
class SignSums:
    """``sums[name]``: sum over ``samples`` samples of the sign of the gradient, per element."""

    samples: int
    sums: dict[str, Tensor]
