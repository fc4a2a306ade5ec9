"""Kendall's tau with smooth signs.

With ``dx``, ``dy`` a pair's differences in predictions and targets, and s the slope, a pair is
worth

- ``original``: ``tanh(s dx dy / 2)``, s = 1 (Zheng et al.);
- ``product``: ``tanh(s dx / 2) tanh(s dy / 2)``, s = 0.5 (ParZC);
- ``hard``: ``tanh(s dx / 2) sign(dy)``, s = 1: only predictions are smoothed.

As s grows, each tends to ``sign(dx dy)``, and the value to tau. The first two weigh pairs by how
far their targets are apart, so they depend on the targets' unit: accuracies in [0, 1] are so near
each other that gradients vanish. Give z-scored targets, preferably by the mean and deviation of
the whole training set; ``standardise`` does it with those of the call. Predictions are not
bounded: the value also rises by inflating them, and gradients vanish once pairs saturate. What is
wrong by then stays wrong for long, under ``original`` above all.

``relative`` lets the data say what a large difference is: dx, and dy where it is smoothed, are
divided by the medians of their absolute values, so that s alone says how steep a middling pair is,
whatever the unit of targets and however far predictions have grown.

Notes:
    ``relative`` is our choice; the median of predictions is held constant in the gradient.
    The form ``hard`` is our choice. ``pairs`` is the default denominator since it does not jump
    where two predictions happen to meet; a training set's ties only scale it. Under ``untied``,
    equal predictions, of a head initialised to zero say, leave their factor out, so that there is
    a gradient to part them.

Source: Zheng et al., "DiffKendall", NeurIPS 2023; Dong et al., "ParZC", AAAI 2025, whose released
code returns twice this value: it divides ordered pairs by the number of unordered.
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
"""What ``smoothed_kendall`` divides by."""


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
        form: one of ``FORMS``; the module says what pairs are worth under each.
        slope: s; None for the form's published default.
        denominator: ``"pairs"``, all n (n - 1) / 2, as in the papers: tends to tau-a.
            ``"untied"``, the geometric mean of the pairs untied in predictions and of those
            untied in targets: tends to tau-b (scipy's, and ``archrank.metrics.kendall``).
        standardise: z-score the targets of this call (population deviation).
        relative: divide differences by the medians of their absolute values in this call.
        chunk: rows of the table of pairs held at once; None chooses. It changes but rounding.

    Returns:
        A scalar.

    Raises:
        InputError: an option outside its range, or as the package says.

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
    """Return what pairs of such differences are worth, and the derivative in predictions'."""
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
    """Return minus ``smoothed_kendall``, in [-1, 1]: the loss; arguments as there.

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
    """Mean 0 and population deviation 1; constant values become zeros."""
    if not len(values):
        return values
    centred = values - values.mean()
    deviation = centred.square().mean().sqrt()
    return centred / torch.where(deviation > 0, deviation, 1)


def _untied_both(predictions: Tensor, targets: Tensor) -> float:
    in_predictions = untied(predictions.detach()) or pairs_among(len(predictions))
    return math.sqrt(in_predictions * untied(targets))


def _floating(values: Tensor, predictions: Tensor) -> torch.dtype:
    """Return a type in which targets can be averaged: their own, but at least the predictions'."""
    return torch.promote_types(values.dtype, predictions.dtype)
