"""Judging architectures without any label: by their graphs, or by evidence at initialisation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from ...basics import Array
from ...graphs import Graph
from ..features.evidence import PROXIES, measurements, table_of
from ..reading import Sample
from .distribution import Distribution, warn_of_outsiders
from .families import Slopes
from .graph_ensemble import GraphEnsemble
from .reference import Reference, sizes_alone

Basis = Literal["top-1", "proxies", "sizes"]

_OF_ANOTHER_KIND = 0.1  # the chance that networks of real size are unlike ImageNet's; our choice

_LOOKED_AT = 100
"""How many of the architectures that are judged at once are looked at for outsiders."""
REAL_SIZE = 96
"""Height and width of images from which on a network is judged by its graph alone."""


def is_of_real_size(graph: Graph) -> bool:
    """Tell whether a network takes images of realistic size, at least 96 pixels.

    Example:
        >>> import torch, archrank
        >>> is_of_real_size(archrank.trace(torch.nn.Conv2d(3, 8, 3), (3, 224, 224)))
        True
    """
    return any(len(shape) == 4 and min(shape[2:]) >= REAL_SIZE for shape in graph.input_shapes)


def is_a_classifier(graph: Graph) -> bool:
    """Tell whether an output of a network is a vector for each sample, as scores of classes are.

    Example:
        >>> import torch, archrank
        >>> is_a_classifier(archrank.trace(torch.nn.Conv2d(3, 8, 3), (3, 224, 224)))
        False
    """
    return any(len(shape) == 2 and shape[1] > 1 for shape in graph.output_shapes)


@dataclass(frozen=True)
class ZeroShot:
    """A predictor without labels that judges each architecture by itself, in standard deviations.

    Networks of real size (``is_of_real_size``) are judged by the ImageNet accuracy predicted from
    their graphs, others by sizes and proxies on a fixed scale (``Reference``). No judgement depends
    on the other architectures.

    Attributes:
        reference: the scale of the evidence.
        expert: the predictor for networks of real size; with None all are judged by the evidence.
        distribution: the distribution of the graphs that it learnt from; None if none were kept.
    """

    reference: Reference
    expert: GraphEnsemble | None = None
    distribution: Distribution | None = None

    def basis(self, samples: Sequence[Sample]) -> Basis:
        """Return the evidence that all architectures have, for a predictor that learns labels."""
        if self.expert is not None and len(self._of_expert(samples)) == len(samples):
            return "top-1"
        return "proxies" if any(set(s.scores) & set(PROXIES) for s in samples) else "sizes"

    def evidence(self, samples: Sequence[Sample], basis: Basis) -> Array:
        """Return the evidence (n,) of each architecture on one scale for all."""
        if basis == "top-1":
            assert self.expert is not None
            expected, _ = self.expert.expected([_of_graph(sample) for sample in samples])
            return (expected - self.expert.label_mean_) / self.expert.label_std_
        table = table_of([measurements(s.graph, s.scores) for s in samples])
        return self.reference.score(sizes_alone(table) if basis == "sizes" else table)

    def slopes(self, basis: Basis) -> Slopes:
        """Return the correlations of labels with such evidence in held-out families.

        The expert's families are ImageNet networks, which it orders well. Other networks of real
        size may be of another kind, for which it is trusted only as much as the scale.
        """
        if basis == "top-1":
            assert self.expert is not None
            own = np.asarray(self.expert.slopes_)
            of_others = self.reference.slopes(of_sizes=False)
            return Slopes(own, np.ones(len(own))).doubted(of_others, _OF_ANOTHER_KIND)
        return self.reference.slopes(of_sizes=basis == "sizes")

    def judge(self, samples: Sequence[Sample]) -> tuple[Array, Array]:
        """Return expected labels and their standard deviations, both (n,)."""
        table = table_of([measurements(s.graph, s.scores) for s in samples])
        mean = self.reference.slope * self.reference.score(table)
        std = np.full(len(samples), self.reference.slope * self.reference.std)
        at = self._of_expert(samples)
        if len(at):
            assert self.expert is not None
            expected, deviation = self.expert.expected([_of_graph(samples[i]) for i in at])
            mean[at] = (expected - self.expert.label_mean_) / self.expert.label_std_
            std[at] = deviation / self.expert.label_std_
        others = np.setdiff1d(np.arange(len(samples)), at)
        if self.distribution is not None and len(others):
            # Looking at thousands would take most of the time, and say the same.
            seen = [samples[i] for i in others[:: -(-len(others) // _LOOKED_AT)].tolist()]
            report = self.distribution.report([sample.graph for sample in seen])
            names = [sample.name or sample.arch or "" for sample in seen]
            warn_of_outsiders(report.in_distribution, names)
        return mean, std

    def explain(self, samples: Sequence[Sample]) -> dict[str, Array]:
        """Return each kind of evidence, and the expected top-1 with its 90 % interval.

        Values are NaN for architectures that were not judged by them. No top-1 is expected of
        networks that are no classifiers, such as those that segment images: they are ordered by
        what their design would reach as one.
        """
        table = table_of([measurements(s.graph, s.scores) for s in samples])
        at = self._of_expert(samples)
        found = self.reference.kinds(table)
        for values in found.values():
            values[at] = np.nan
        if self.expert is not None and len(at):
            given = [_of_graph(samples[i]) for i in at]
            classifies = [is_a_classifier(sample.graph) for sample in given]
            said = (self.expert.predict(given), *self.expert.interval(given))
            for name, values in zip(("top-1", "top-1 low", "top-1 high"), said, strict=True):
                found[name] = np.full(len(samples), np.nan)
                found[name][at] = np.where(classifies, values, np.nan)
        return {name: values for name, values in found.items() if np.isfinite(values).any()}

    def _of_expert(self, samples: Sequence[Sample]) -> npt.NDArray[np.intp]:
        """Return which ones the expert judges."""
        if self.expert is None:
            return np.zeros(0, dtype=np.intp)
        return np.flatnonzero([is_of_real_size(sample.graph) for sample in samples])


def _of_graph(sample: Sample) -> Sample:
    """Return a sample with its recipe, if it has one, and nothing that was measured."""
    return Sample(sample.graph, context=sample.context)
