"""ParZC's network over node-wise statistics: mixer blocks between Bayesian layers."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional

from ...errors import InputError

MIXINGS = ("released", "across")
"""The modes of the first half of a ``MixerBlock``, which acts on channels or across segments."""

BODIES = ("mixer", "mlp")
"""The bodies of ``MABN`` between its Bayesian layers."""

HEADS = ("linear", "stand_alone")
"""The heads of ``MABN``."""

EVALUATIONS = ("mean", "sample")
"""The weights of a ``BayesianLinear`` in evaluation mode."""


class BayesianLinear(nn.Module):
    """A linear layer without bias whose weights are normal variables.

    ``W = mu + softplus(rho) eps`` with ``eps ~ N(0, 1)``. In training mode, every forward draws eps
    anew from torch's global generator; all items of a batch share a draw.

    Args:
        in_features: the size of the last dimension of inputs.
        out_features: the size of the last dimension of outputs.
        prior_rho: the initial rho of all weights; -5 is a deviation of 0.0067.
        evaluation: the weights in evaluation mode. ``mean`` uses mu and is deterministic;
            ``sample`` draws weights as in training, like the released code of ParZC.

    Shape:
        (..., in_features) to (..., out_features).

    Raises:
        InputError: a size is below 1, or there is no such evaluation.

    Source: Blundell et al., "Weight uncertainty in neural networks", ICML 2015; initial values (mu
    Kaiming-uniform with a = sqrt 5) as in ParZC.

    Notes:
        The mean in evaluation mode is our choice.

    Example:
        >>> layer = BayesianLinear(2, 3).eval()
        >>> inputs = torch.ones(1, 2)
        >>> bool((layer(inputs) == inputs @ layer.mu.T).all())
        True
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        prior_rho: float = -5.0,
        evaluation: str = "mean",
    ):
        super().__init__()
        _at_least("in_features", in_features, 1)
        _at_least("out_features", out_features, 1)
        _choice("evaluation", evaluation, EVALUATIONS)
        self.evaluation = evaluation
        self.mu = nn.Parameter(torch.empty(out_features, in_features))
        self.rho = nn.Parameter(torch.full((out_features, in_features), float(prior_rho)))
        nn.init.kaiming_uniform_(self.mu, a=math.sqrt(5))

    @property
    def deviation(self) -> Tensor:
        """Return the standard deviation of each weight, ``softplus(rho)``."""
        return functional.softplus(self.rho)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return outputs (..., out_features) of inputs (..., in_features)."""
        weight: Tensor = self.mu
        if self.training or self.evaluation == "sample":
            weight = weight + self.deviation * torch.randn_like(self.mu)
        return functional.linear(inputs, weight)

    def kl(self, prior_std: float = 1.0) -> Tensor:
        """Return the Kullback-Leibler divergence of the weights from a zero-mean normal prior, a
        scalar.

        ``sum log(s / sigma) + (sigma^2 + mu^2) / (2 s^2) - 1/2`` with s the prior's deviation.

        Raises:
            InputError: ``prior_std`` is not positive.

        Example:
            >>> layer = BayesianLinear(1, 1, prior_rho=0.0)
            >>> bool(layer.kl() > 0)
            True
        """
        if not (math.isfinite(prior_std) and prior_std > 0):
            raise InputError(f"prior_std: got {prior_std!r}, expected a finite number above 0")
        ratio = self.deviation / prior_std
        return ((ratio.square() + (self.mu / prior_std).square() - 1) / 2 - ratio.log()).sum()

    def extra_repr(self) -> str:
        outputs, inputs = self.mu.shape
        return f"{inputs}, {outputs}, evaluation={self.evaluation!r}"


class MixerBlock(nn.Module):
    """Two residual two-layer perceptrons: ``x + F(LN x)``, twice.

    ``F = Linear(d, r d), GELU, dropout, Linear(r d, d), dropout``. With ``released`` mixing, both
    perceptrons act on the channels of each segment separately, as in the released code of ParZC.
    With ``across`` mixing, the first acts across segments, for each channel separately, as in an
    MLP-Mixer.

    Args:
        width: the channels of a segment.
        segments: the number of segments; only ``across`` depends on it.
        mixing: one of ``MIXINGS``.
        ratios: r of the two perceptrons.
        dropout: the probability that a value is dropped.

    Shape:
        (..., segments, width) to the same.

    Raises:
        InputError: a size is below 1, or there is no such mixing.

    Source: Dong et al., "ParZC", AAAI 2025; Tolstikhin et al., "MLP-Mixer", NeurIPS 2021.

    Example:
        >>> MixerBlock(width=8, segments=4, mixing="across")(torch.zeros(2, 4, 8)).shape
        torch.Size([2, 4, 8])
    """

    def __init__(
        self,
        width: int,
        segments: int,
        *,
        mixing: str = "released",
        ratios: tuple[float, float] = (4.0, 0.5),
        dropout: float = 0.1,
    ):
        super().__init__()
        _at_least("width", width, 1)
        _at_least("segments", segments, 1)
        _choice("mixing", mixing, MIXINGS)
        self.across = mixing == "across"
        self.first_norm = nn.LayerNorm(width)
        self.first = _perceptron(segments if self.across else width, ratios[0], dropout)
        self.second_norm = nn.LayerNorm(width)
        self.second = _perceptron(width, ratios[1], dropout)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return outputs (..., segments, width) of inputs of the same shape."""
        normed = self.first_norm(inputs)
        mixed = self.first(normed.mT).mT if self.across else self.first(normed)
        first: Tensor = inputs + mixed
        second: Tensor = first + self.second(self.second_norm(first))
        return second


class StandAloneHead(nn.Module):
    """The last layers of ParZC if no other encoder follows.

    ``BayesianLinear(d, d), Linear(d, d / 2), dropout, Linear(d / 2, outputs)``, without
    nonlinearities between them.

    Args:
        width: d.
        outputs: the number of outputs.
        dropout: the probability that a value is dropped.
        bayesian: whether the first layer is Bayesian; otherwise it is an ordinary layer without
            bias.
        prior_rho, evaluation: as in ``BayesianLinear``.

    Shape:
        (..., width) to (..., outputs).

    Raises:
        InputError: a size is below 1, or there is no such evaluation.

    Source: Dong et al., "ParZC", AAAI 2025, released code for NDS, MQ-Bench and ViT-Bench.

    Example:
        >>> StandAloneHead(8)(torch.zeros(3, 8)).shape
        torch.Size([3, 1])
    """

    def __init__(
        self,
        width: int,
        outputs: int = 1,
        *,
        dropout: float = 0.1,
        bayesian: bool = True,
        prior_rho: float = -5.0,
        evaluation: str = "mean",
    ):
        super().__init__()
        _at_least("width", width, 1)
        _at_least("outputs", outputs, 1)
        half = max(1, width // 2)
        self.layers = nn.Sequential(
            _linear(width, width, bayesian, prior_rho, evaluation),
            nn.Linear(width, half),
            nn.Dropout(dropout),
            nn.Linear(half, outputs),
        )

    def forward(self, inputs: Tensor) -> Tensor:
        """Return outputs (..., outputs) of inputs (..., width)."""
        found: Tensor = self.layers(inputs)
        return found


class MABN(nn.Module):
    """ParZC's mixer architecture with a Bayesian network, on statistics of a network's nodes.

    ``Linear(inputs, length)``, cut into segments, ``BayesianLinear(segment, width)``, ``depth``
    ``MixerBlock``, LayerNorm, mean over segments, ``BayesianLinear(width, outputs)``.

    Two arguments give the ablations of the paper. ``body="mlp"`` has no segments. It has ``depth``
    layers ``Linear(width, width), GELU, dropout`` after ``BayesianLinear(length, width)``. Their
    form is our choice, since the paper does not state it. ``bayesian=False`` replaces Bayesian
    layers by ordinary layers without bias. On NDS, ParZC has ``length=752, width=1600, depth=5,
    dropout=0.18, head="stand_alone"``.

    Args:
        inputs: the number of statistics, which is proxies times nodes.
        length: the size that they are projected to.
        segment: the size of a segment, a divisor of ``length``.
        width: the number of channels.
        depth: the number of blocks.
        dropout: the probability of dropout in the blocks.
        outputs: the number of outputs; 1 for a score.
        mixing: one of ``MIXINGS``.
        evaluation: one of ``EVALUATIONS``, for evaluation mode.
        bayesian: whether weights are random variables.
        body: one of ``BODIES``.
        head: one of ``HEADS``: the last layer, or ``StandAloneHead`` instead of it.
        prior_rho: as in ``BayesianLinear``.

    Shape:
        (..., inputs) to (..., outputs).

    Raises:
        InputError: a size is below 1, ``segment`` does not divide ``length``, a choice is unknown,
            or (from ``forward``) inputs have another size.

    Source: Dong et al., "ParZC", AAAI 2025, and its released code, whose mixing is ``released`` and
    whose evaluation is ``sample``.

    Example:
        >>> model = MABN(12, length=32, segment=8, width=16, depth=1)
        >>> model(torch.zeros(5, 12)).shape
        torch.Size([5, 1])
    """

    def __init__(
        self,
        inputs: int,
        *,
        length: int = 256,
        segment: int = 16,
        width: int = 512,
        depth: int = 4,
        dropout: float = 0.1,
        outputs: int = 1,
        mixing: str = "released",
        evaluation: str = "mean",
        bayesian: bool = True,
        body: str = "mixer",
        head: str = "linear",
        prior_rho: float = -5.0,
    ):
        super().__init__()
        sizes = {"inputs": inputs, "length": length, "segment": segment, "width": width}
        for name, size in {**sizes, "outputs": outputs}.items():
            _at_least(name, size, 1)
        _at_least("depth", depth, 0)
        _choice("mixing", mixing, MIXINGS)
        _choice("evaluation", evaluation, EVALUATIONS)
        _choice("body", body, BODIES)
        _choice("head", head, HEADS)
        if length % segment:
            raise InputError(
                f"segment: got {segment}, expected a divisor of length={length}; change either"
            )
        self.inputs = inputs
        self.segment = segment if body == "mixer" else length
        self.project = nn.Linear(inputs, length)
        self.embed = _linear(self.segment, width, bayesian, prior_rho, evaluation)
        self.body = nn.Sequential(
            *(
                MixerBlock(width, length // segment, mixing=mixing, dropout=dropout)
                if body == "mixer"
                else nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Dropout(dropout))
                for _ in range(depth)
            )
        )
        self.norm = nn.LayerNorm(width)
        self.head = (
            _linear(width, outputs, bayesian, prior_rho, evaluation)
            if head == "linear"
            else StandAloneHead(
                width, outputs, bayesian=bayesian, prior_rho=prior_rho, evaluation=evaluation
            )
        )

    def forward(self, inputs: Tensor) -> Tensor:
        """Return outputs (..., outputs) of statistics (..., inputs)."""
        if not inputs.dim() or inputs.shape[-1] != self.inputs:
            raise InputError(
                f"inputs: got shape {tuple(inputs.shape)}, expected (..., {self.inputs})"
            )
        segments = self.project(inputs).unflatten(-1, (-1, self.segment))
        mixed = self.norm(self.body(self.embed(segments)))
        outputs: Tensor = self.head(mixed.mean(-2))
        return outputs

    def kl(self, prior_std: float = 1.0) -> Tensor:
        """Return the sum of ``BayesianLinear.kl`` over the Bayesian layers; 0 if there are none.

        Divide it by the number of training items and add it to the loss. ParZC leaves it out.

        Example:
            >>> MABN(4, length=8, segment=4, width=4, depth=1, bayesian=False).kl().item()
            0.0
        """
        terms = [layer.kl(prior_std) for layer in _bayesian_layers(self)]
        return torch.stack(terms).sum() if terms else self.project.weight.new_zeros(())


def monte_carlo(module: nn.Module, inputs: Tensor, draws: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return the mean and deviation of a module's outputs over draws of its Bayesian weights.

    Only these weights are random. All else runs in evaluation mode, regardless of the module's mode
    and ``evaluation``. The states of the module and of torch's generators are restored. There are
    no gradients.

    Args:
        module: a module with ``BayesianLinear`` layers; without any, the deviation is 0.
        inputs: the inputs of the module.
        draws: the number of draws, at least 2.
        seed: the seed of the draws.

    Returns:
        Two tensors like an output; the deviation is the unbiased one (n - 1).

    Raises:
        InputError: ``draws`` is below 2.

    Example:
        >>> model = MABN(12, length=32, segment=8, width=16, depth=1)
        >>> mean, deviation = monte_carlo(model, torch.ones(5, 12), draws=8, seed=0)
        >>> mean.shape, bool((deviation > 0).all())
        (torch.Size([5, 1]), True)
    """
    _at_least("draws", draws, 2)
    devices = range(torch.cuda.device_count())
    with torch.no_grad(), _only_weights_random(module), torch.random.fork_rng(devices):
        torch.manual_seed(seed)
        outputs = torch.stack([module(inputs) for _ in range(draws)])
    return outputs.mean(0), outputs.std(0)


@contextmanager
def _only_weights_random(module: nn.Module) -> Iterator[None]:
    layers = _bayesian_layers(module)
    modes = [(part, part.training) for part in module.modules()]
    evaluations = [layer.evaluation for layer in layers]
    try:
        module.eval()
        for layer in layers:
            layer.evaluation = "sample"
        yield
    finally:
        for part, training in modes:
            part.training = training
        for layer, evaluation in zip(layers, evaluations, strict=True):
            layer.evaluation = evaluation


def _bayesian_layers(module: nn.Module) -> list[BayesianLinear]:
    return [part for part in module.modules() if isinstance(part, BayesianLinear)]


def _linear(
    inputs: int, outputs: int, bayesian: bool, prior_rho: float, evaluation: str
) -> nn.Module:
    if bayesian:
        return BayesianLinear(inputs, outputs, prior_rho, evaluation)
    return nn.Linear(inputs, outputs, bias=False)


def _perceptron(size: int, ratio: float, dropout: float) -> nn.Sequential:
    hidden = max(1, int(ratio * size))
    return nn.Sequential(
        nn.Linear(size, hidden),
        nn.GELU(),
        nn.Dropout(dropout),
        nn.Linear(hidden, size),
        nn.Dropout(dropout),
    )


def _choice(name: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        raise InputError(f"{name}: got {value!r}, expected one of: {', '.join(choices)}")


def _at_least(name: str, value: int, least: int) -> None:
    if not isinstance(value, int) or value < least:
        raise InputError(f"{name}: got {value!r}, expected a whole number of at least {least}")
