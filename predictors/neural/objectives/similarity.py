"""Contrastive objectives, by which similar graphs get near vectors."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from ....basics import Array
from ..contrast import contrastive_loss, label_targets, spectral_targets
from .contract import Objective, Step

Targets = Callable[[Tensor, float, int], Tensor]
"""Maps columns to compare, a temperature and a number of copies to the similarities of rows."""


class Contrast(Objective):
    """An objective that fits similarities of vectors, projected by a perceptron, to those of
    graphs.

    Args:
        compared: (graphs, columns), the columns by which graphs are compared.
        targets: the function that gives the similarities of rows.
        sharpness: the temperature of the targets.
        temperature: the temperature of the similarities of vectors.
        width, projection: the sizes of the vectors and of their projections.
        copies: the number of copies of each graph in a batch.
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
        """Return the cross-entropy between the similarities of a step's graphs and of their
        vectors."""
        if len(step.vectors) < 2:  # there is nothing to compare with
            return step.vectors.sum() * 0.0
        wanted = self.targets(self.compared[step.rows], self.sharpness, step.copies)
        return contrastive_loss(
            self.projection(step.vectors), wanted.to(step.vectors), self.temperature
        )


def spectral(
    spectra: Array, sharpness: float, temperature: float, width: int, projection: int
) -> Contrast:
    """Return GENNAPE's contrast, which compares topology and needs two copies of each graph."""
    return Contrast(spectra, spectral_targets, sharpness, temperature, width, projection, 2)


def by_labels(
    labels: Array, sharpness: float, temperature: float, width: int, projection: int
) -> Contrast:
    """Return the contrast by operators and their surroundings, with one copy of each graph."""
    return Contrast(labels, label_targets, sharpness, temperature, width, projection, 1)
