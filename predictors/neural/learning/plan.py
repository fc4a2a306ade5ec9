"""The plan of a training, and the report of an epoch."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ....errors import InputError
from ....metrics import kendall

OPTIMISERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
}
SCHEDULES: dict[str, Callable[[float], float]] = {
    "constant": lambda done: 1.0,
    "cosine": lambda done: (1.0 + math.cos(math.pi * done)) / 2.0,
}
"""Name -> function from the finished share of the training to the relative learning rate."""
BATCHINGS = ("similar", "equal")
HOLDOUTS = ("random", "last")
SELECTIONS: dict[str, Callable[[Any, Any], float]] = {
    "kendall": kendall,
    "mape": lambda predicted, labels: -float(np.mean(np.abs((predicted - labels) / labels))),
}
"""Name -> quality of predictions of held-out labels; larger is better."""


@dataclass(frozen=True)
class TrainingPlan:
    """The settings of a training.

    Attributes:
        epochs: the number of epochs; 0 leaves the weights as they are.
        batch_size: the largest number of items in a batch.
        learning_rate, weight_decay, optimiser: settings of the optimiser, ``"adam"`` or
            ``"adamw"``.
        schedule: the schedule of the learning rate r: ``"constant"``, or ``"cosine"`` for ``r (1 +
            cos(pi d)) / 2``, where d is the share of finished steps.
        clip: the largest norm of the gradient; None for no limit.
        batching: how graphs share a batch: ``"similar"`` for graphs of similar size, cut anew in
            every epoch (``batches``), or ``"equal"`` for graphs with equal numbers of nodes and of
            weighted nodes, cut once and only shuffled (the released code of GENNAPE).
        spread: with ``"similar"``, the doublings of size that may be mixed.
        validation: the share of the labels to hold out; 0 for none. The weights of the epoch that
            predicts held-out labels best are kept.
        holdout: which labels are held out: ``"random"`` ones, or the ``"last"`` ones.
        selection: the criterion of the best epoch: ``"kendall"`` for tau-b, or ``"mape"`` for the
            least mean absolute error relative to the label.
        patience: the number of epochs without improvement after which training stops; None to never
            stop early.
        seed: the seed of everything random except the initial weights.
        device: the device to train on.
        interval: the seconds between two checkpoints.

    Raises:
        InputError: a value is out of range.

    Example:
        >>> TrainingPlan(epochs=3, schedule="cosine").rate(0.5)
        0.0005
    """

    epochs: int = 100
    batch_size: int = 32
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    optimiser: str = "adam"
    schedule: str = "constant"
    clip: float | None = None
    batching: str = "similar"
    spread: float = 0.5
    validation: float = 0.0
    holdout: str = "random"
    selection: str = "kendall"
    patience: int | None = None
    seed: int = 0
    device: str = "cpu"
    interval: float = 30.0

    def __post_init__(self) -> None:
        choices: tuple[tuple[str, Iterable[str]], ...] = (
            ("optimiser", OPTIMISERS),
            ("schedule", SCHEDULES),
            ("batching", BATCHINGS),
            ("holdout", HOLDOUTS),
            ("selection", SELECTIONS),
        )
        for name, known in choices:
            if getattr(self, name) not in known:
                came = getattr(self, name)
                raise InputError(f"{name}: got {came!r}, expected one of {', '.join(known)}")
        for name, least in (("epochs", 0), ("batch_size", 1), ("seed", 0), ("patience", 1)):
            value = getattr(self, name)
            if value is not None and not (isinstance(value, (int, np.integer)) and value >= least):
                raise InputError(
                    f"{name}: got {value!r}, expected a whole number of at least {least}"
                )
        for name in ("learning_rate", "clip"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value > 0):
                raise InputError(f"{name}: got {value!r}, expected a finite number above 0")
        if not 0 <= self.validation < 1:
            raise InputError(f"validation: got {self.validation!r}, expected a share in [0, 1)")

    def rate(self, done: float) -> float:
        """Return the learning rate after the share ``done`` of the training."""
        return self.learning_rate * SCHEDULES[self.schedule](done)


@dataclass(frozen=True)
class Epoch:
    """The report of a finished epoch.

    Attributes:
        epoch, epochs: the number of this epoch, counted from 1, and of all epochs.
        loss: the mean loss over its batches.
        validation: the value of ``TrainingPlan.selection`` on held-out labels; None if there are
            none.
    """

    epoch: int
    epochs: int
    loss: float
    validation: float | None = None


EpochProgress = Callable[[Epoch], None]
"""A function called with the report of each finished epoch."""
