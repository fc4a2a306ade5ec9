"""Kendall's tau with smooth signs.

Let ``dx`` and ``dy`` be the differences of a pair in predictions and targets, and s the slope. The
value of a pair is

- ``original``: ``tanh(s dx dy / 2)``, s = 1 (Zheng et al.);
- ``product``: ``tanh(s dx / 2) tanh(s dy / 2)``, s = 0.5 (ParZC);
- ``hard``: ``tanh(s dx / 2) sign(dy)``, s = 1, where only predictions are smoothed.

As s grows, each value tends to ``sign(dx dy)``, and their mean tends to tau. The first two forms
weight pairs by the distance of their targets, so they depend on the unit of the targets. For
example, accuracies in [0, 1] are so close to each other that gradients vanish. Give z-scored
targets, preferably with the mean and deviation of the whole training set; ``standardise`` uses
those of the call. Predictions are not bounded: larger predictions also increase the value, and
gradients vanish as soon as pairs saturate. Pairs in the wrong order then stay wrong for long,
especially under ``original``.

With ``relative``, the data define a large difference: dx, and dy if it is smoothed, are divided by
the medians of their absolute values. Then only s sets the slope of a median pair, regardless of the
unit of targets and the scale of predictions.

Notes:
    ``relative`` is our choice; the median of predictions is held constant in the gradient.
    The form ``hard`` is our choice. ``pairs`` is the default denominator, because it does not jump
    when two predictions become equal; ties in a training set only scale it. Under ``untied``, the
    factor of predictions is left out while all predictions are equal, as for a head initialised to
    zero. So there is a gradient that separates them.

Source: Zheng et al., "DiffKendall", NeurIPS 2023; Dong et al., "ParZC", AAAI 2025. The released
code of ParZC returns twice this value, since it divides a sum over ordered pairs by the number of
unordered pairs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from .checks import checked, one_of, positive
from .pairs import median_gap, over_pairs, pairs_among, places_of, untied

FORMS: Mapping[str, float] = {"original": 1.0, "product": 0.5, "hard": 1.0}
"""Form of ``smoothed_kendall`` -> its default slope."""

DENOMINATORS = ("pairs", "untied")
"""The denominators of ``smoothed_kendall``."""


def smoothed_kendall(
    predictions: Tensor,
    targets: Tensor,
    *,
    form: str = "original",
    slope: float | None = None,
    denominator: str = "pairs",
    standardise: bool = False,
    relative: bool = False,
    chunk: int | None = None,
) -> Tensor:
    """Return Kendall's tau with smooth signs of differences, in [-1, 1]; larger is better.

    Args:
        predictions: (items,).
        targets: (items,).
        form: one of ``FORMS``; the docstring of the module has the value of a pair for each.
        slope: s; None for the form's published default.
        denominator: ``"pairs"`` is n (n - 1) / 2, as in the papers; the result tends to tau-a.
            ``"untied"`` is the geometric mean of the numbers of pairs untied in predictions and in
            targets; the result tends to tau-b (as in scipy and ``archrank.metrics.kendall``).
        standardise: whether to z-score the targets of this call (population deviation).
        relative: whether to divide differences by their median absolute values in this call.
        chunk: the number of rows of the table of pairs held at once; None chooses it. It changes
            only rounding.

    Returns:
        A scalar.

    Raises:
        InputError: an option is out of range, or see the rules of the package.

    Example:
        >>> truth = torch.tensor([0.0, 1.0, 2.0, 3.0])
        >>> guess = torch.tensor([0.0, 2.0, 1.0, 3.0])
        >>> round(smoothed_kendall(guess, truth).item(), 3)
        0.597
        >>> round(smoothed_kendall(guess, truth, slope=1e3).item(), 3)
        0.667
    """
    predictions, targets = checked(predictions, targets)
    one_of("form", form, FORMS)
    one_of("denominator", denominator, DENOMINATORS)
    half = positive("slope", FORMS[form] if slope is None else slope) / 2
    marks = (places_of(targets) if form == "hard" else targets).to(_floating(targets, predictions))
    if standardise and form != "hard":
        marks = _standardised(marks)
    of_predictions = half
    if relative:
        of_predictions = half / median_gap(predictions.detach())
        marks = marks if form == "hard" else marks / median_gap(marks)
    marks = marks.to(predictions.dtype)

    def term(gap: Tensor, rows: slice) -> tuple[Tensor, Tensor]:
        return _worth(form, of_predictions, half, gap, marks[rows, None] - marks)

    every = denominator == "pairs"
    divisor = pairs_among(len(targets)) if every else _untied_both(predictions, targets)
    return over_pairs(predictions, term, divisor, chunk)


def _worth(
    form: str, half: float, half_of_targets: float, gap: Tensor, contrast: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the values of pairs and their derivatives with respect to differences of
    predictions."""
    amplitude: Tensor | float
    steepness: Tensor | float
    if form == "original":
        amplitude, steepness = 1.0, half * contrast
    elif form == "product":
        amplitude, steepness = torch.tanh(half_of_targets * contrast), half
    else:
        amplitude, steepness = contrast.sign(), half
    sign = torch.tanh(steepness * gap)
    return amplitude * sign, amplitude * steepness * (1 - sign * sign)


def diff_kendall(
    predictions: Tensor,
    targets: Tensor,
    *,
    form: str = "original",
    slope: float | None = None,
    denominator: str = "pairs",
    standardise: bool = False,
    relative: bool = False,
    chunk: int | None = None,
) -> Tensor:
    """Return the loss, minus ``smoothed_kendall`` in [-1, 1]; it takes the same arguments.

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
        relative=relative,
        chunk=chunk,
    )


def _standardised(values: Tensor) -> Tensor:
    """Return values with mean 0 and population deviation 1; constant values become zeros."""
    if not len(values):
        return values
    centred = values - values.mean()
    deviation = centred.square().mean().sqrt()
    return centred / torch.where(deviation > 0, deviation, 1)


def _untied_both(predictions: Tensor, targets: Tensor) -> float:
    in_predictions = untied(predictions.detach()) or pairs_among(len(predictions))
    return math.sqrt(in_predictions * untied(targets))


def _floating(values: Tensor, predictions: Tensor) -> torch.dtype:
    """Return the type for averaging targets: their own type, or that of predictions if larger."""
    return torch.promote_types(values.dtype, predictions.dtype)
