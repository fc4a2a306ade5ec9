"""A new device from few measured networks: what it takes for them corrects the known devices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any, ClassVar

import numpy as np
from scipy import stats

from ..basics import Array
from ..errors import InputError
from ..predictors.contract import Predictor
from ..predictors.loading import load_predictor
from ..predictors.reading import Reader, Sample
from .devices import SETTINGS
from .grouped import Regression, regression
from .predictor import checked_costs
from .speed import Speed, SpeedPredictor

_BELIEFS = (-1.0, -1.0, -2.0)
"""Of sources, operator classes and size: how much each counts before anything is measured."""


class DeviceSpeed(Predictor):
    """Milliseconds of a batch on a device of which few networks were measured.

        log t = mean over settings k of log t_k + b + x w + noise

    t_k is what the pretrained predictor says of each setting that it knows. x says how each t_k
    differs from their mean, which share of the time goes into each class of operators, and how
    large the network is; w and b are learnt as ``grouped`` says, so that few
    measurements move only b. Source: as ``CostPredictor``; columns our choice.

    A sample's context is its batch size; without one, ``at`` says it.

    Args:
        base: the pretrained predictor; default the shipped one.
        settings: the positions in ``SETTINGS`` that are borrowed from; default all it has seen.
        space, task, inputs, proxies: see ``Predictor``.

    Example:
        >>> from archrank.predictors.checks import small_graphs
        >>> graphs = small_graphs()
        >>> times = load_predictor("speed").on("rtx4090", 64).predict(graphs) * 3
        >>> device = DeviceSpeed().fit([Sample(g, context=(64.0,)) for g in graphs[:8]], times[:8])
        >>> device.at(64).score(graphs[8:], times[8:]) > 0.8
        True
    """

    higher_is_better: ClassVar[bool] = False

    def __init__(
        self,
        base: SpeedPredictor | None = None,
        settings: Sequence[int] | None = None,
        *,
        space: Any = None,
        task: str | None = None,
        inputs: Any = None,
        proxies: Sequence[str] = (),
    ):
        self.base = base
        self.settings = settings
        self.space = space
        self.task = task
        self.inputs = inputs
        self.proxies = proxies

    @property
    def reader(self) -> Reader:
        return replace(super().reader, exact=True)

    def fit(self, X: Any, y: Any) -> DeviceSpeed:
        """Learn from networks and their milliseconds per batch, all larger than 0.

        Raises:
            InputError: as ``fit``, or a time is not larger than 0.
        """
        self.batch_size_ = 1
        return super().fit(X, checked_costs(y))

    def at(self, batch_size: int) -> DeviceSpeed:
        """The same predictor, of one batch size, for samples without a context.

        Raises:
            InputError: no whole number of at least 1.
        """
        if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
            raise InputError(
                f"batch_size: got {batch_size!r}, expected a whole number of at least 1"
            )
        made = DeviceSpeed(**self.get_params(deep=False))
        for name, value in vars(self).items():
            if name.endswith("_"):
                setattr(made, name, value)
        made.batch_size_ = batch_size
        return made

    def speed(self, X: Any, level: float = 0.9) -> Speed:
        """As ``speed``; errors of logarithms are taken as normal.

        Raises:
            InputError: ``level`` is not between 0 and 1, or as ``predict``.
        """
        if not 0 < level < 1:
            raise InputError(f"level: got {level!r}, expected a number between 0 and 1")
        samples = self._read(X)
        logs, std, parts = self._logs(samples)
        reach = float(stats.norm.ppf((1 + level) / 2)) * std
        return Speed(
            np.exp(logs - reach),
            np.exp(logs),
            np.exp(logs + reach),
            parts,
            np.zeros(len(samples), dtype=np.bool_),
        )

    def _fit(self, samples: list[Sample], labels: Array) -> None:
        times = labels * self.label_std_ + self.label_mean_
        found = load_predictor("speed") if self.base is None else self.base
        assert isinstance(found, SpeedPredictor)
        self.base_ = found
        self.sources_ = list(self.settings or found.seen_)
        mean, groups, _ = self._columns(samples)
        self.centre_ = [group.mean(axis=0) for group in groups]
        centred = [group - middle for group, middle in zip(groups, self.centre_, strict=True)]
        self.model_ = asdict(regression(centred, np.log(times) - mean, _BELIEFS))

    def _predict(self, samples: list[Sample]) -> tuple[Array, Array]:
        logs, std, _ = self._logs(samples)
        times = np.exp(logs)
        return (times - self.label_mean_) / self.label_std_, times * std / self.label_std_

    def _logs(self, samples: Sequence[Sample]) -> tuple[Array, Array, Array]:
        """Logarithms of milliseconds, their standard deviations, and shares of the parts."""
        mean, groups, parts = self._columns(samples)
        centred = [group - middle for group, middle in zip(groups, self.centre_, strict=True)]
        off, std = Regression(**self.model_).predict(np.concatenate(centred, axis=1))
        return mean + off, std, parts

    def _columns(self, samples: Sequence[Sample]) -> tuple[Array, list[Array], Array]:
        """The mean of what the settings take, the groups of columns, and shares of the parts."""
        logs, shares, parts = [], [], []
        for place in self.sources_:
            there = [self._there(sample, place) for sample in samples]
            said = self.base_.shares(there)
            logs.append(said[0])
            shares.append(said[1])
            parts.append(said[2])
        mean = np.mean(logs, axis=0)
        differences = (np.array(logs) - mean).T / np.sqrt(len(logs))
        size = (mean / np.log(100.0))[:, None]
        return mean, [differences, np.mean(shares, axis=0), size], np.mean(parts, axis=0)

    def _there(self, sample: Sample, place: int) -> Sample:
        if len(sample.context) > 1:
            raise InputError(f"context: got {sample.context}, expected a batch size alone")
        batch = sample.context[0] if sample.context else float(self.batch_size_)
        if not batch >= 1 or not 0 <= place < len(SETTINGS):
            raise InputError(f"context: got a batch size of {batch}, expected at least 1")
        return Sample(sample.graph, context=(float(place), batch))
