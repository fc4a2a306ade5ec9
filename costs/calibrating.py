"""A new device from few measured networks: what it takes for them corrects the known devices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from scipy import stats

from ..basics import Array
from ..errors import InputError
from ..predictors.contract import Predictor
from ..predictors.loading import is_predictor, load_predictor
from ..predictors.reading import Reader, Sample
from ..scoring.candidates import collect
from .devices import SETTINGS
from .grouped import Regression, regression
from .loads import CLASSES
from .predictor import checked_costs
from .speed import Speed, SpeedPredictor
from .tracing import graph_of

CALIBRATION = tuple(
    f"timm:{name}"
    for name in (
        *("nf_seresnet26", "coat_lite_small", "rexnetr_200", "legacy_seresnet50", "regnety_032"),
        *("resnet34", "hardcorenas_b", "twins_pcpvt_small", "poolformer_s24", "haloregnetz_b"),
        *("efficientnet_b1", "efficientnetv2_rw_t", "deit_tiny_patch16_224"),
        *("mobilenetv3_small_100", "regnetx_032", "semnasnet_140", "ecaresnet101d_pruned"),
        *("regnetz_b16_evos", "resnet26d", "mixnet_xxl"),
    )
)
"""Networks to measure first: each next one brings all of timm nearest to one of them, by the shares
of operator classes in multiply-adds and bytes, and by size. No measured time chose them."""
_TENSOR_CORES = 20.0  # TFLOP/s: more has nothing but tensor cores
_UNKNOWN = 0.4  # standard deviation of the logarithm before anything is measured
_BELIEFS = (-1.0, -1.0, -2.0)
"""Of sources, operator classes and size: how much each counts before anything is measured."""


class DeviceSpeed(Predictor):
    """Milliseconds of a batch on a device of which few networks were measured.

        log t = mean over settings k of log t_k + b + x w + noise

    t_k is what the pretrained predictor says of each setting that it knows. x says how each t_k
    differs from their mean, which share of the time goes into each class of operators, and how
    large the network is; w and b are learnt as ``grouped`` says, so that few
    measurements move only b. Source: as ``CostPredictor``; columns our choice.

    With a datasheet, the work and the bytes of t_k are scaled by the ratio of the two devices'
    figures, and only settings of the same kind (tensor cores, or none) count: what is known with no
    measurement.

    A sample's context is its batch size; without one, ``at`` says it.

    Args:
        base: the pretrained predictor; default the shipped one.
        datasheet: (TFLOP/s, GB/s) of the device, as ``Setting`` has them.
        settings: the positions in ``SETTINGS`` that are borrowed from; default all of inference
            that ``base`` has seen.
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
    precision: ClassVar[str] = "fp32"
    training: ClassVar[bool] = False

    def __init__(
        self,
        base: SpeedPredictor | None = None,
        datasheet: tuple[float, float] | None = None,
        settings: Sequence[int] | None = None,
        *,
        space: Any = None,
        task: str | None = None,
        inputs: Any = None,
        proxies: Sequence[str] = (),
    ):
        self.base = base
        self.datasheet = datasheet
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
        samples = self._read(X)
        self.batch_size_ = 1
        sizes = [sample.context[0] if sample.context else 1.0 for sample in samples]
        self.batches_ = [min(sizes, default=1.0), max(sizes, default=1.0)]
        return super().fit(samples, checked_costs(y))

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

    def chance_within(self, X: Any, milliseconds: float) -> Array:
        """Chances (n,) that the networks take at most so long."""
        logs, std, _ = self._logs(self._read(X))
        chances: Array = stats.norm.cdf((np.log(milliseconds) - logs) / std)
        return chances

    @classmethod
    def of_datasheet(
        cls, teraflops: float, gigabytes: float, base: SpeedPredictor | None = None, **options: Any
    ) -> DeviceSpeed:
        """A device of which nothing was measured.

        Args:
            teraflops, gigabytes: in a second, as ``Setting`` has them.
            base, options: of the constructor.

        Raises:
            InputError: one is not larger than 0.
        """
        if not teraflops > 0 or not gigabytes > 0:
            raise InputError(
                f"teraflops, gigabytes: got {teraflops}, {gigabytes}, expected numbers above 0"
            )
        made = cls(base, (teraflops, gigabytes), **options)
        made.n_samples_, made.label_mean_, made.label_std_, made.batch_size_ = 0, 0.0, 1.0, 1
        made.batches_ = [1.0, 1.0]
        made._borrow()
        widths = (len(made.sources_), len(CLASSES), 1)
        made.centre_ = [np.zeros(width) for width in widths]
        columns = sum(widths)
        none, empty = np.zeros(columns), np.zeros((0, columns))
        spread = _UNKNOWN**2
        made.model_ = asdict(Regression(none, 0.0, none, empty, np.zeros(0), spread, 1.0, 0.0))
        return made

    def _borrow(self) -> None:
        """Take the pretrained predictor, and the settings to borrow from."""
        found = load_predictor("speed") if self.base is None else self.base
        assert isinstance(found, SpeedPredictor)
        self.base_ = found
        places = self.settings or [k for k in found.seen_ if not SETTINGS[k].training]
        if self.datasheet is not None:
            cores = self.datasheet[0] > _TENSOR_CORES
            alike = [k for k in places if (SETTINGS[k].teraflops > _TENSOR_CORES) == cores]
            places = alike or places
        self.sources_ = list(places)

    def _fit(self, samples: list[Sample], labels: Array) -> None:
        times = labels * self.label_std_ + self.label_mean_
        self._borrow()
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
            log, share, part = self.base_.shares(there)
            logs.append(log + self._scaled(part, place))
            shares.append(share)
            parts.append(part)
        mean = np.mean(logs, axis=0)
        differences = (np.array(logs) - mean).T / np.sqrt(len(logs))
        size = (mean / np.log(100.0))[:, None]
        return mean, [differences, np.mean(shares, axis=0), size], np.mean(parts, axis=0)

    def _scaled(self, parts: Array, place: int) -> Array | float:
        """By how much the datasheet changes the logarithms of a setting's times."""
        if self.datasheet is None:
            return 0.0
        known = SETTINGS[place]
        work, moved = known.teraflops / self.datasheet[0], known.gigabytes / self.datasheet[1]
        scaled: Array = np.log(parts @ np.array([work, moved, 1.0]))
        return scaled

    @property
    def batch_size(self) -> int:
        """Of the step whose time it predicts."""
        return self.batch_size_

    @property
    def batches(self) -> tuple[int, int]:
        """The smallest and the largest batch size that was measured."""
        return int(self.batches_[0]), int(self.batches_[1])

    @property
    def device(self) -> str:
        """What it is called in tables."""
        return "calibrated"

    @property
    def described(self) -> str:
        """What it learnt of, in words."""
        return f"a device of which {self.n_samples_} networks were measured"

    def _there(self, sample: Sample, place: int) -> Sample:
        if len(sample.context) > 1:
            raise InputError(f"context: got {sample.context}, expected a batch size alone")
        batch = sample.context[0] if sample.context else float(self.batch_size_)
        if not batch >= 1 or not 0 <= place < len(SETTINGS):
            raise InputError(f"context: got a batch size of {batch}, expected at least 1")
        return Sample(sample.graph, context=(float(place), batch))


def calibrated(
    measurements: pd.DataFrame,
    candidates: Any,
    inputs: Any = None,
    datasheet: tuple[float, float] | None = None,
) -> DeviceSpeed:
    """Learn a device from what ``measure`` found there, of networks of ``CALIBRATION`` or others.

    Args:
        measurements: as ``measure`` gives them; failed ones are left out.
        candidates, inputs: what was measured, as there.
        datasheet: as ``DeviceSpeed`` takes.

    Raises:
        InputError: nothing was measured.

    Example:
        >>> import archrank
        >>> names = ["digits:" + arch for arch in archrank.data.space("digits").sample(2, seed=0)]
        >>> table = archrank.measure(names, device="cpu", seconds=0.01)
        >>> calibrated(table, names).n_samples_
        2
    """
    good = measurements[measurements["status"] == "ok"]
    if good.empty:
        raise InputError("measurements: got none that succeeded, expected at least one")
    wanted = set(good["name"])
    graphs = {one.name: graph_of(one, inputs) for one in collect(candidates) if one.name in wanted}
    samples = [
        Sample(graphs[name], context=(float(batch),))
        for name, batch in zip(good["name"], good["batch_size"], strict=True)
    ]
    return DeviceSpeed(datasheet=datasheet).fit(samples, good["latency_ms"].to_numpy())


def speed_on(device: str, batch_size: int = 1, **how: Any) -> SpeedPredictor | DeviceSpeed:
    """What predicts a device: a known one by name, or the folder of a saved ``DeviceSpeed``.

    Raises:
        InputError: it is neither.

    Example:
        >>> speed_on("rtx4090", 64).described
        'rtx4090, inference, amp, nchw, eager (torch 2.9.1, CUDA 12.8)'
    """
    found = load_predictor(device if is_predictor(device) else "speed")
    if isinstance(found, DeviceSpeed):
        asked = [name for name, value in how.items() if value is not None]
        if asked:
            raise InputError(f"{asked[0]}: {device!r} was calibrated one way; leave it out")
        return found.at(batch_size)
    if not isinstance(found, SpeedPredictor):
        raise InputError(
            f"device: {device!r} holds a {type(found).__name__}, expected a DeviceSpeed"
        )
    return found.on(device, batch_size, **how)
