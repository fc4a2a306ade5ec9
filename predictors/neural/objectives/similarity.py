"""Contrast: graphs that are similar, in one sense or another, should be near."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from ....basics import Array
from ..contrast import contrastive_loss, label_targets, spectral_targets
from .contract import Objective, Step

Targets = Callable[[Tensor, float, int], Tensor]
"""From what graphs are compared by, a temperature and a number of copies to how alike rows are."""


class Contrast(Objective):
    """Holds projected vectors, by a perceptron, against how alike their graphs are.

    Args:
        compared: (graphs, columns), what graphs are compared by.
        targets: how alike rows are by that.
        sharpness: the temperature of the targets.
        temperature: of the similarities of vectors.
        width, projection: of the vectors and of their projections.
        copies: how often each graph is needed.
    """

    def __init__(
        self,
        compared: Array,
        targets: Targets,
        sharpness: float,
        temperature: float,
        width: int,
        projection: int,
        copies: int,
    ) -> None:
        super().__init__()
        self.compared = torch.from_numpy(np.ascontiguousarray(compared))
        self.targets, self.sharpness, self.temperature = targets, sharpness, temperature
        self.copies = copies
        self.projection = nn.Sequential(
            nn.Linear(width, width), nn.ReLU(), nn.Linear(width, projection)
        )

    def forward(self, step: Step) -> Tensor:
        """Return the cross-entropy between likeness and nearness of a step's graphs."""
        if len(step.vectors) < 2:  # nothing to compare with
            return step.vectors.sum() * 0.0
        wanted = self.targets(self.compared[step.rows], self.sharpness, step.copies)
        return contrastive_loss(
            self.projection(step.vectors), wanted.to(step.vectors), self.temperature
        )


def spectral(
    spectra: Array, sharpness: float, temperature: float, width: int, projection: int
) -> Contrast:
    """Return GENNAPE's contrast: by topology alone, each graph twice."""
    return Contrast(spectra, spectral_targets, sharpness, temperature, width, projection, 2)


def by_labels(
    labels: Array, sharpness: float, temperature: float, width: int, projection: int
) -> Contrast:
    """Return contrast by the operators and what is around them, each graph once."""
    return Contrast(labels, label_targets, sharpness, temperature, width, projection, 1)
