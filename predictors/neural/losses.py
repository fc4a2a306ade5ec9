"""Losses that teach a predictor to order: predictions and targets in, a scalar to minimise out.

All take two tensors ``(items,)``, larger being better in both, and share these rules:

- Targets are constants: no gradient flows into them.
- Pairs tied in the targets say nothing about the order and contribute zero to every ranking loss.
  Where that leaves nothing (no items, one item, constant targets) the loss is zero, with a gradient
  of zeros. :func:`mse` and :func:`huber` are zero for no items.
- Values that are not finite, tensors of another number of dimensions and lengths that differ raise
  ``InputError``.
- Half precision is computed in, and returned as, float32.

Losses over pairs hold a few rows of the table of pairs at a time, forward and backward, so memory
grows with the items and not with the pairs. They can be differentiated once.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from ...errors import InputError

FORMS: Mapping[str, float] = {"original": 1.0, "product": 0.5, "hard": 1.0}
"""Form of :func:`smoothed_kendall` -> its default slope."""

DENOMINATORS = ("pairs", "untied")
"""What :func:`smoothed_kendall` divides by."""

_PAIRS_AT_ONCE = 2**16  # a few such tensors fit a core's cache; larger ones are slower

# What a pair (i, j) is worth and its derivative in prediction_i - prediction_j, given these
# differences for some rows i and all j. Swapping i and j must leave the worth as it is.
_PairTerm = Callable[[Tensor, slice], tuple[Tensor, Tensor]]


class _PairSum(torch.autograd.Function):
    """Sum of a term over unordered pairs, from row sums of the table of ordered pairs."""

    @staticmethod
    def forward(ctx: Any, predictions: Tensor, term: _PairTerm, rows_at_once: int) -> Tensor:
        # Filled in place: small results kept between large temporaries would keep these from being
        # reused, and the heap would grow to the size of the whole table.
        worths, slopes = torch.empty_like(predictions), torch.empty_like(predictions)
        for start in range(0, len(predictions), rows_at_once):
            rows = slice(start, start + rows_at_once)
            worth, slope = term(predictions[rows, None] - predictions, rows)
            worths[rows], slopes[rows] = worth.sum(1), slope.sum(1)
        # The derivative changes sign with a pair's order, so a row's sum is the whole gradient.
        ctx.save_for_backward(slopes)
        return worths.sum() / 2

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (slopes,) = ctx.saved_tensors
        return gradient * slopes, None, None


def _over_pairs(
    predictions: Tensor, term: _PairTerm, denominator: float, chunk: int | None
) -> Tensor:
    if chunk is not None and chunk < 1:
        raise InputError(f"chunk: got {chunk!r}, expected a number of rows of at least 1, or None")
    if not denominator:
        return _zero(predictions)
    rows_at_once = chunk or max(1, _PAIRS_AT_ONCE // len(predictions))
    total: Tensor = _PairSum.apply(predictions, term, rows_at_once)
    return total / denominator


def smoothed_kendall(
    predictions: Tensor,
    targets: Tensor,
    *,
    form: str = "original",
    slope: float | None = None,
    denominator: str = "pairs",
    standardise: bool = False,
    chunk: int | None = None,
) -> Tensor:
    """Kendall's tau with the signs of differences smoothed, in [-1, 1]; larger is better.

    With ``dx``, ``dy`` a pair's differences in predictions and targets, and s the slope, a pair is
    worth

    - ``original``: ``tanh(s dx dy / 2)``, s = 1 (Zheng et al.);
    - ``product``: ``tanh(s dx / 2) tanh(s dy / 2)``, s = 0.5 (ParZC);
    - ``hard``: ``tanh(s dx / 2) sign(dy)``, s = 1 (our choice): only predictions are smoothed.

    As s grows, each tends to ``sign(dx dy)``, and the value to tau. The first two weigh pairs by
    how far their targets are apart, so they depend on the targets' unit: accuracies in [0, 1] are
    so near each other that gradients vanish. Give z-scored targets, preferably by the mean and
    deviation of the whole training set; ``standardise`` does it with those of this very batch.
    Predictions are not bounded: the value also rises by inflating them, and gradients vanish once
    pairs saturate. What is wrong by then stays wrong for long, under ``original`` above all.

    Args:
        predictions: (items,).
        targets: (items,).
        form: one of :data:`FORMS`.
        slope: s; None for the form's published default.
        denominator: ``pairs``, all n (n - 1) / 2, as in the papers: tends to tau-a. ``untied``, the
            geometric mean of the pairs untied in predictions and of those untied in targets: tends
            to tau-b (scipy's, and :func:`archrank.metrics.kendall`). ``pairs`` is the default
            since it does not jump where two predictions happen to meet; a training set's ties only
            scale it. Equal predictions, of a head initialised to zero say, leave their factor
            out, so that there is a gradient to part them.
        standardise: z-score the targets of this call (population deviation).
        chunk: rows of the table of pairs held at once; None chooses. It changes but rounding.

    Returns:
        A scalar.

    Raises:
        InputError: an option outside its range, or as the module says.

    Source: Zheng et al., "DiffKendall", NeurIPS 2023; Dong et al., "ParZC", AAAI 2025, whose
    released code returns twice this value: it divides ordered pairs by the number of unordered.

    Example:
        >>> truth = torch.tensor([0.0, 1.0, 2.0, 3.0])
        >>> guess = torch.tensor([0.0, 2.0, 1.0, 3.0])
        >>> round(smoothed_kendall(guess, truth).item(), 3)
        0.597
        >>> round(smoothed_kendall(guess, truth, slope=1e3).item(), 3)
        0.667
    """
    predictions, targets = _checked(predictions, targets)
    _choice("form", form, FORMS)
    _choice("denominator", denominator, DENOMINATORS)
    half = _positive("slope", FORMS[form] if slope is None else slope) / 2
    marks = (_places(targets) if form == "hard" else targets).to(_floating(targets, predictions))
    if standardise and form != "hard":
        marks = _standardised(marks)
    marks = marks.to(predictions.dtype)

    def term(gap: Tensor, rows: slice) -> tuple[Tensor, Tensor]:
        contrast = marks[rows, None] - marks
        amplitude: Tensor | float
        steepness: Tensor | float
        if form == "original":
            amplitude, steepness = 1.0, half * contrast
        elif form == "product":
            amplitude, steepness = torch.tanh(half * contrast), half
        else:
            amplitude, steepness = contrast.sign(), half
        sign = torch.tanh(steepness * gap)
        return amplitude * sign, amplitude * steepness * (1 - sign * sign)

    pairs = _pairs(len(targets)) if denominator == "pairs" else _untied_both(predictions, targets)
    return _over_pairs(predictions, term, pairs, chunk)


def diff_kendall(
    predictions: Tensor,
    targets: Tensor,
    *,
    form: str = "original",
    slope: float | None = None,
    denominator: str = "pairs",
    standardise: bool = False,
    chunk: int | None = None,
) -> Tensor:
    """Minus :func:`smoothed_kendall`, in [-1, 1]: the loss; arguments as there.

    Example:
        >>> truth = torch.tensor([0.0, 1.0, 2.0])
        >>> diff_kendall(truth, truth, slope=100.0).item()
        -1.0
    """
    return -smoothed_kendall(
        predictions,
        targets,
        form=form,
        slope=slope,
        denominator=denominator,
        standardise=standardise,
        chunk=chunk,
    )


def pairwise_hinge(
    predictions: Tensor, targets: Tensor, *, margin: float = 1.0, chunk: int | None = None
) -> Tensor:
    """By how much pairs fall short of being ordered by a margin.

    ``mean over pairs with dy != 0 of max(0, margin - dx sign(dy))``.

    Args:
        predictions: (items,).
        targets: (items,).
        margin: by how much the better is to be predicted above the worse; above 0.
        chunk: as in :func:`smoothed_kendall`.

    Raises:
        InputError: margin is not positive, or as the module says.

    Source: Herbrich et al., "Large margin rank boundaries for ordinal regression", 2000.

    Example:
        >>> truth = torch.tensor([0.0, 1.0])
        >>> pairwise_hinge(torch.tensor([0.0, 0.25]), truth).item()
        0.75
    """
    predictions, targets = _checked(predictions, targets)
    _positive("margin", margin)
    places = _places(targets).to(predictions.dtype)

    def term(gap: Tensor, rows: slice) -> tuple[Tensor, Tensor]:
        order = (places[rows, None] - places).sign()
        lacking = margin - order * gap
        violated = lacking > 0
        return order.abs() * lacking * violated, -order * violated

    return _over_pairs(predictions, term, _untied(targets), chunk)


def pairwise_logistic(predictions: Tensor, targets: Tensor, *, chunk: int | None = None) -> Tensor:
    """Cross-entropy of the guess which of a pair is better.

    ``mean over pairs with dy != 0 of log(1 + exp(-dx sign(dy)))``.

    Args:
        predictions: (items,).
        targets: (items,).
        chunk: as in :func:`smoothed_kendall`.

    Raises:
        InputError: as the module says.

    Source: Burges et al., "Learning to rank using gradient descent" (RankNet), ICML 2005; the
    "pairwise" loss of ParZC.

    Example:
        >>> truth = torch.tensor([0.0, 1.0, 1.0])
        >>> round(pairwise_logistic(torch.zeros(3), truth).item(), 4)
        0.6931
    """
    predictions, targets = _checked(predictions, targets)
    places = _places(targets).to(predictions.dtype)

    def term(gap: Tensor, rows: slice) -> tuple[Tensor, Tensor]:
        return _logistic(gap, (places[rows, None] - places).sign())

    return _over_pairs(predictions, term, _untied(targets), chunk)


def weighted_ranking(predictions: Tensor, targets: Tensor, *, chunk: int | None = None) -> Tensor:
    """As :func:`pairwise_logistic`, with most weight on pairs that hold one of the best.

    ``sum w_ij log(1 + exp(-dx sign(dy))) / sum w_ij`` over pairs with dy != 0, where
    ``w_ij = 1 / log2(1 + rank of the better by its target)``; the best has rank 1, tied targets the
    smallest rank of their tie.

    Args:
        predictions: (items,).
        targets: (items,).
        chunk: as in :func:`smoothed_kendall`.

    Raises:
        InputError: as the module says.

    Source: our choice, after the weighted pairs of Weston et al., "WSABIE" (WARP), IJCAI 2011,
    with the discount of Jarvelin and Kekalainen, TOIS 2002, on true ranks in place of sampled ones.

    Example:
        >>> truth = torch.tensor([3.0, 2.0, 1.0])
        >>> top, bottom = torch.tensor([2.0, 3.0, 1.0]), torch.tensor([3.0, 1.0, 2.0])
        >>> bool(weighted_ranking(top, truth) > weighted_ranking(bottom, truth))
        True
    """
    predictions, targets = _checked(predictions, targets)
    ranks = _places(targets)
    ascending = ranks.sort().values
    worse = torch.searchsorted(ascending, ranks)
    better = len(ranks) - torch.searchsorted(ascending, ranks, right=True)
    places = ranks.to(predictions.dtype)
    weights = 1 / (2 + better).to(predictions.dtype).log2()

    def term(gap: Tensor, rows: slice) -> tuple[Tensor, Tensor]:
        worth, slope = _logistic(gap, (places[rows, None] - places).sign())
        # The better of two has the larger weight, as weights fall with the rank.
        weight = torch.maximum(weights[rows, None], weights)
        return weight * worth, weight * slope

    return _over_pairs(predictions, term, float((weights * worse).sum()), chunk)


def list_mle(predictions: Tensor, targets: Tensor) -> Tensor:
    """Negative log-likelihood of the true order if items were drawn best first by softmax.

    ``mean over i of log(exp(x_i) + sum over {j: y_j < y_i} of exp(x_j)) - x_i``: each item against
    itself and all that are truly worse. Without ties this is ListMLE over the number of items, so
    that it does not grow with the list. Tied targets do not compete with each other (our choice),
    so that neither the order of the items nor chance breaks ties.

    Args:
        predictions: (items,).
        targets: (items,).

    Raises:
        InputError: as the module says.

    Source: Xia et al., "Listwise approach to learning to rank", ICML 2008, eq. 8.

    Example:
        >>> truth = torch.tensor([1.0, 2.0])
        >>> round(2 * list_mle(torch.zeros(2), truth).item(), 4)  # log 2: one choice of two
        0.6931
    """
    predictions, targets = _checked(predictions, targets)
    if not len(predictions):
        return _zero(predictions)
    ascending, order = _places(targets).sort()
    scores = predictions[order]
    nothing = scores.new_full((1,), -math.inf)
    of_lowest = torch.cat([nothing, scores.logcumsumexp(0)])
    worse = torch.searchsorted(ascending, ascending)
    return (torch.logaddexp(scores, of_lowest[worse]) - scores).mean()


def mse(predictions: Tensor, targets: Tensor) -> Tensor:
    """Mean squared error, ``mean (x - y)^2``.

    Raises:
        InputError: as the module says.

    Example:
        >>> mse(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 4.0])).item()
        2.0
    """
    predictions, targets = _checked(predictions, targets)
    if not len(predictions):
        return _zero(predictions)
    return functional.mse_loss(predictions, targets.to(predictions.dtype))


def huber(predictions: Tensor, targets: Tensor, *, delta: float = 1.0) -> Tensor:
    """Squared error near zero, absolute beyond: ``e^2 / 2`` up to delta, then linear; the mean.

    Args:
        predictions: (items,).
        targets: (items,).
        delta: where it turns linear, in units of the targets; above 0.

    Raises:
        InputError: delta is not positive, or as the module says.

    Source: Huber, "Robust estimation of a location parameter", 1964.

    Example:
        >>> huber(torch.tensor([0.0, 0.0]), torch.tensor([1.0, 3.0])).item()
        1.5
    """
    predictions, targets = _checked(predictions, targets)
    _positive("delta", delta)
    if not len(predictions):
        return _zero(predictions)
    return functional.huber_loss(predictions, targets.to(predictions.dtype), delta=delta)


class Loss(nn.Module):
    """A loss of this module with its options fixed; derive by naming the function.

    Args:
        options: the function's keyword arguments.

    Raises:
        InputError: an option that the function does not have, or outside its range.

    Example:
        >>> DiffKendall(form="hard", slope=2.0)
        DiffKendall(form='hard', slope=2.0)
    """

    function: ClassVar[Callable[..., Tensor]]

    def __init__(self, **options: Any):
        super().__init__()
        known = [*inspect.signature(self.function).parameters][2:]
        if unknown := sorted(options.keys() - known):
            raise InputError(
                f"options: got {', '.join(unknown)} for {type(self).__name__}, expected some of: "
                f"{', '.join(known) or 'none'}"
            )
        self.options = options
        self(torch.zeros(2), torch.arange(2.0))  # a wrong value is reported here, not in training

    def forward(self, predictions: Tensor, targets: Tensor) -> Tensor:
        """The loss of predictions (items,) for targets (items,): a scalar."""
        return self.function(predictions, targets, **self.options)

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={value!r}" for name, value in self.options.items())


class DiffKendall(Loss):
    """:func:`diff_kendall` as a module; options: form, slope, denominator, standardise, chunk."""

    function = staticmethod(diff_kendall)


class PairwiseHinge(Loss):
    """:func:`pairwise_hinge` as a module; options: margin, chunk."""

    function = staticmethod(pairwise_hinge)


class PairwiseLogistic(Loss):
    """:func:`pairwise_logistic` as a module; options: chunk."""

    function = staticmethod(pairwise_logistic)


class WeightedRanking(Loss):
    """:func:`weighted_ranking` as a module; options: chunk."""

    function = staticmethod(weighted_ranking)


class ListMLE(Loss):
    """:func:`list_mle` as a module."""

    function = staticmethod(list_mle)


class MSE(Loss):
    """:func:`mse` as a module."""

    function = staticmethod(mse)


class Huber(Loss):
    """:func:`huber` as a module; options: delta."""

    function = staticmethod(huber)


LOSSES: Mapping[str, type[Loss]] = {
    "diff_kendall": DiffKendall,
    "pairwise_hinge": PairwiseHinge,
    "pairwise_logistic": PairwiseLogistic,
    "weighted_ranking": WeightedRanking,
    "list_mle": ListMLE,
    "mse": MSE,
    "huber": Huber,
}
"""Name -> loss."""


def loss(name_or_module: str | nn.Module, **options: Any) -> nn.Module:
    """A loss by its name, or the module itself.

    Args:
        name_or_module: one of :data:`LOSSES`, or any module of (predictions, targets).
        options: of the named loss.

    Raises:
        InputError: no such name, no such option, or options beside a module.

    Example:
        >>> loss("pairwise_hinge", margin=0.1)
        PairwiseHinge(margin=0.1)
    """
    if isinstance(name_or_module, nn.Module):
        if options:
            raise InputError(
                f"options: got {', '.join(options)} beside a module, expected none; give them to "
                f"the constructor of {type(name_or_module).__name__}"
            )
        return name_or_module
    _choice("loss", name_or_module, LOSSES)
    return LOSSES[name_or_module](**options)


class Mixed(nn.Module):
    """A weighted sum of losses, ``sum_k w_k L_k``.

    Args:
        parts: (loss or its name, weight above 0), at least one.

    Raises:
        InputError: no parts, an unknown name, or a weight that is not positive.

    Source: ParZC trains with the sum of its pairwise loss and DiffKendall on some spaces.

    Example:
        >>> both = Mixed([("pairwise_logistic", 1.0), ("diff_kendall", 0.5)])
        >>> round(both(torch.zeros(2), torch.tensor([0.0, 1.0])).item(), 4)
        0.6931
    """

    def __init__(self, parts: Sequence[tuple[str | nn.Module, float]]):
        super().__init__()
        _some("parts", parts)
        self.losses = nn.ModuleList([loss(part) for part, _ in parts])
        self.weights = [_positive("weight", weight) for _, weight in parts]

    def forward(self, predictions: Tensor, targets: Tensor) -> Tensor:
        """The loss of predictions (items,) for targets (items,): a scalar."""
        terms = [
            weight * part(predictions, targets)
            for part, weight in zip(self.losses, self.weights, strict=True)
        ]
        return torch.stack(terms).sum()

    def extra_repr(self) -> str:
        return f"weights={self.weights}"


class Scheduled(nn.Module):
    """One loss after the other: each for its epochs, the last one for all that follow.

    The training loop sets ``epoch``, counted from 0. Inside another loss it is found by
    ``modules()``.

    Args:
        parts: (loss or its name, epochs), at least one.

    Attributes:
        epoch: which epoch it is.

    Raises:
        InputError: no parts, an unknown name, or epochs that are no whole number of at least 1.

    Example:
        >>> first_fit_then_rank = Scheduled([("mse", 10), ("diff_kendall", 20)])
        >>> first_fit_then_rank.epoch = 10
        >>> first_fit_then_rank.at(first_fit_then_rank.epoch)
        DiffKendall()
    """

    def __init__(self, parts: Sequence[tuple[str | nn.Module, int]]):
        super().__init__()
        _some("parts", parts)
        for _, epochs in parts:
            if not isinstance(epochs, int) or epochs < 1:
                raise InputError(f"epochs: got {epochs!r}, expected a whole number of at least 1")
        self.losses = nn.ModuleList([loss(part) for part, _ in parts])
        self.epochs = [epochs for _, epochs in parts]
        self.epoch = 0

    def at(self, epoch: int) -> nn.Module:
        """The loss of an epoch, counted from 0."""
        if epoch < 0:
            raise InputError(f"epoch: got {epoch}, expected at least 0")
        for part, epochs in zip(self.losses, self.epochs, strict=True):
            if epoch < epochs:
                return part
            epoch -= epochs
        return self.losses[-1]

    def forward(self, predictions: Tensor, targets: Tensor) -> Tensor:
        """The loss of predictions (items,) for targets (items,): a scalar."""
        value: Tensor = self.at(self.epoch)(predictions, targets)
        return value

    def extra_repr(self) -> str:
        return f"epochs={self.epochs}"


def _logistic(gap: Tensor, order: Tensor) -> tuple[Tensor, Tensor]:
    """``log(1 + exp(-gap order))`` and its derivative in gap; zero where order is."""
    lead = order * gap
    return -order.abs() * functional.logsigmoid(lead), -order * torch.sigmoid(-lead)


def _places(values: Tensor) -> Tensor:
    """Dense ranks from 0: the order of the values and their ties, whatever their precision."""
    places: Tensor = values.unique(return_inverse=True)[1]
    return places


def _standardised(values: Tensor) -> Tensor:
    """Mean 0 and population deviation 1; constant values become zeros."""
    if not len(values):
        return values
    centred = values - values.mean()
    deviation = centred.square().mean().sqrt()
    return centred / torch.where(deviation > 0, deviation, 1)


def _pairs(items: int) -> int:
    return items * (items - 1) // 2


def _untied(values: Tensor) -> int:
    """How many unordered pairs differ."""
    counts = values.unique(return_counts=True)[1]
    return (len(values) ** 2 - int(counts.square().sum())) // 2


def _untied_both(predictions: Tensor, targets: Tensor) -> float:
    in_predictions = _untied(predictions.detach()) or _pairs(len(predictions))
    return math.sqrt(in_predictions * _untied(targets))


def _zero(predictions: Tensor) -> Tensor:
    """Zero, connected to the predictions so that its gradient is zeros and not missing."""
    return (predictions * 0).sum()


def _floating(values: Tensor, predictions: Tensor) -> torch.dtype:
    """A type in which targets can be averaged: their own, but at least the predictions'."""
    return torch.promote_types(values.dtype, predictions.dtype)


def _checked(predictions: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Predictions in at least single precision, and targets without a gradient."""
    for name, values in (("predictions", predictions), ("targets", targets)):
        if not isinstance(values, Tensor):
            raise InputError(f"{name}: got {type(values).__name__}, expected a tensor (items,)")
        if values.dim() != 1:
            raise InputError(
                f"{name}: got shape {tuple(values.shape)}, expected one dimension, (items,); "
                "flatten it first"
            )
        if not values.isfinite().all():
            raise InputError(f"{name}: got values that are not finite, expected finite ones")
    if len(predictions) != len(targets):
        raise InputError(
            f"targets: got {len(targets)}, expected {len(predictions)}, one for each prediction"
        )
    at_least_single = torch.promote_types(predictions.dtype, torch.float32)
    return predictions.to(at_least_single), targets.detach()


def _choice(name: str, value: str, choices: Mapping[str, object] | Sequence[str]) -> None:
    if value not in choices:
        raise InputError(f"{name}: got {value!r}, expected one of: {', '.join(choices)}")


def _positive(name: str, value: float) -> float:
    if not (math.isfinite(value) and value > 0):
        raise InputError(f"{name}: got {value!r}, expected a finite number above 0")
    return float(value)


def _some(name: str, parts: Sequence[object]) -> None:
    if not parts:
        raise InputError(f"{name}: got none, expected at least one (loss, number)")
