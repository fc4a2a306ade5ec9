"""Calibration of a new device: few measured networks correct the predictions for known devices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import special, stats

from ..basics import Array
from ..errors import InputError
from ..predictors.contract import Predictor
from ..predictors.loading import is_predictor, load_predictor
from ..predictors.reading import Reader, Sample
from ..scoring.candidates import collect
from .devices import SETTINGS
from .grouped_regression import Regression, regression
from .operators.loads import CLASSES, loads
from .operators.roofline import PROCESSOR, processor_times
from .predictor import checked_costs
from .speed import Speed, SpeedPredictor
from .tracing import graph_of

CALIBRATION = tuple(
    f"timm:{name}"
    for name in (
        *("efficientformer_l3", "deit3_small_patch16_224", "resnet50t", "mobilenetv3_large_150d"),
        *("regnety_032", "swin_s3_tiny_224", "coatnet_0_224", "maxvit_rmlp_nano_rw_256"),
        *("resnet18d", "regnetz_d8", "tf_efficientnet_b4", "spnasnet_100", "focalnet_tiny_lrf"),
        *("efficientnetv2_rw_s", "efficientnet_b1_pruned", "ecaresnet50d"),
        *("vit_relpos_small_patch16_224", "deit_small_distilled_patch16_224", "mambaout_tiny"),
        "mobilevitv2_150",
    )
)
"""Networks to measure first: each next one, of at most 5 billion multiply-adds, brings all of timm
nearest to one of them, by the shares of operator classes in multiply-adds and bytes, and by size.
No measured time chose them (``experiments/calibration.py --choose``)."""
_TENSOR_CORES = 20.0  # TFLOP/s: more has nothing but tensor cores
_UNKNOWN = 0.4  # standard deviation of the logarithm before anything is measured
_BELIEFS = (-1.0, -1.0, -2.0, -1.0)
"""Of sources, operator classes, size and parts: how much each counts before measurements."""
_FULLER = (1.0, 16.0)
"""Batches that are borrowed, in batches asked for: a slow device is as full with few samples as
known ones with many."""
_TOLD_APART = 5  # measurements from which a processor is told from devices like the known ones
_JUDGED = 3  # measurements from which how far it is off without one is told


class _Columns(NamedTuple):
    """What a regression reads of networks.

    Attributes:
        mean: (n,) of what the settings take, in logarithms.
        groups: by sources, operator classes, size and parts, each (n, columns).
    """

    mean: Array
    groups: list[Array]

    def of(self, some: npt.NDArray[np.bool_]) -> _Columns:
        """Return the references of some of the networks."""
        return _Columns(self.mean[some], [group[some] for group in self.groups])

    def centred(self, centre: Sequence[Array]) -> list[Array]:
        """Return the groups less their centres."""
        return [group - middle for group, middle in zip(self.groups, centre, strict=False)]


class DeviceSpeed(Predictor):
    """A predictor of the milliseconds of a batch on a device with few measured networks.

        log t = mean over settings k of log t_k + b + x w + noise

    t_k is what the pretrained predictor says of each setting that it knows. x says how each t_k
    differs from their mean, which shares of the time go into each class of operators and into work,
    bytes and starts, and how large the network is; w and b are learnt as ``grouped`` says, so that
    few measurements move only b. There are several such regressions: t_k of this batch or, as of a
    slower device, of one 16 times as large; from 5 measurements on one without known devices, on
    what a roofline says of a processor (``roofline.processor_times``); and, with a datasheet, work
    and bytes scaled by the ratio of the two devices' figures, or not. Their predictions are
    averaged in proportion to the probability of the measurements under each. Intervals are widened
    by the errors on measured networks that were held out.

    With a datasheet alone, only settings of the same kind (tensor cores, or none) are borrowed
    from.

    Source: as ``CostPredictor``.

    Notes:
        Columns, batches and intervals are our choice.

    A sample's context is its batch size; without one, ``at`` says it.

    Args:
        base: the pretrained predictor; default the shipped one.
        datasheet: (TFLOP/s, GB/s) of the device, as ``Setting`` has them.
        settings: the positions in ``SETTINGS`` that are borrowed from; default all of inference
            that ``base`` has seen.
        space, task, inputs, proxies: see ``Predictor``.

    Attributes:
        sources_: positions of the settings that it borrows from.
        ways_: the regressions, each with its share in what is said.
        stretch_: by how much deviations are widened.

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
        """Return the same predictor, of one batch size, for samples without a context.

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
        """Return what ``SpeedPredictor.speed`` returns; errors of logarithms are taken as those of
        Student's t.

        Raises:
            InputError: ``level`` is not between 0 and 1, or as ``predict``.
        """
        if not 0 < level < 1:
            raise InputError(f"level: got {level!r}, expected a number between 0 and 1")
        samples = self._read(X)
        logs, std, parts = self._logs(samples)
        reach = self._errors().ppf((1 + level) / 2) * std
        return Speed(
            np.exp(logs - reach),
            np.exp(logs),
            np.exp(logs + reach),
            parts,
            np.zeros(len(samples), dtype=np.bool_),
        )

    def chance_within(self, X: Any, milliseconds: float) -> Array:
        """Return the chances (n,) that the networks take at most so long."""
        logs, std, _ = self._logs(self._read(X))
        chances: Array = self._errors().cdf((np.log(milliseconds) - logs) / std)
        return chances

    def _errors(self) -> Any:
        """Return the distribution of errors in their deviations, which are learnt, too."""
        few = self.n_samples_ - 2  # b and the deviation are learnt
        return stats.t(max(few, 1)) if self.n_samples_ else stats.norm()

    @classmethod
    def of_datasheet(
        cls, teraflops: float, gigabytes: float, base: SpeedPredictor | None = None, **options: Any
    ) -> DeviceSpeed:
        """Return a device without measurements, from its datasheet.

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
        made._borrow(alike=True)
        widths = (len(made.sources_), len(CLASSES), 1, 3)
        none, empty = np.zeros(sum(widths)), np.zeros((0, sum(widths)))
        model = Regression(none, 0.0, none, empty, np.zeros(0), _UNKNOWN**2, 1.0, 0.0)
        centre = [np.zeros(width) for width in widths]
        made.ways_ = [{**_way(1.0, True), "centre": centre, "model": asdict(model)}]
        made.stretch_ = 1.0
        return made

    def _borrow(self, alike: bool = False) -> None:
        """Take the pretrained predictor, and the settings to borrow from: of the device's kind."""
        found = load_predictor("speed") if self.base is None else self.base
        assert isinstance(found, SpeedPredictor)
        self.base_ = found
        places = self.settings or [k for k in found.seen_ if not SETTINGS[k].training]
        if alike and self.datasheet is not None:
            cores = self.datasheet[0] > _TENSOR_CORES
            same = [k for k in places if (SETTINGS[k].teraflops > _TENSOR_CORES) == cores]
            places = same or places
        self.sources_ = list(places)

    def _fit(self, samples: list[Sample], labels: Array) -> None:
        logs = np.log(labels * self.label_std_ + self.label_mean_)
        self._borrow()
        scaled = (False,) if self.datasheet is None else (False, True)
        ways = [_way(times, one) for one in scaled for times in _FULLER]
        if len(logs) >= _TOLD_APART:
            ways += [_way(1.0, one, processor=True) for one in scaled]
        columns = [self._columns(samples, way) for way in ways]
        self.ways_ = _learnt(ways, columns, logs)
        self.stretch_ = 1.0
        if len(logs) >= _JUDGED:
            self.stretch_ = max(1.0, float(np.sqrt(np.mean(_off(ways, columns, logs) ** 2))))

    def _predict(self, samples: list[Sample]) -> tuple[Array, Array]:
        logs, std, _ = self._logs(samples)
        times = np.exp(logs)
        return (times - self.label_mean_) / self.label_std_, times * std / self.label_std_

    def _logs(self, samples: Sequence[Sample]) -> tuple[Array, Array, Array]:
        """Return the logarithms of milliseconds, their standard deviations, and shares of the
        parts."""
        ways, stretch = getattr(self, "ways_", None), getattr(self, "stretch_", 1.0)
        if ways is None:  # saved when there was one
            way = _way(1.0, self.datasheet is not None)
            ways = [{**way, "centre": self.centre_, "model": self.model_}]
        columns = [self._columns(samples, way) for way in ways]
        mean, std = _said(ways, columns)
        shares = [way["share"] for way in ways]
        parts = np.average([one.groups[-1] for one in columns], axis=0, weights=shares)
        return mean, std * stretch, parts

    def _columns(self, samples: Sequence[Sample], way: dict[str, Any]) -> _Columns:
        """Return what a regression reads."""
        if way.get("processor", False):  # files of before have none
            return self._columns_of_processor(samples, way)
        logs, shares, parts = [], [], []
        for place in self.sources_:
            there = [self._there(sample, place, way["times"]) for sample in samples]
            log, share, part = self.base_.shares(there)
            known = SETTINGS[place].teraflops, SETTINGS[place].gigabytes
            logs.append(log + (self._scaled(part, known) if way["scaled"] else 0.0))
            shares.append(share)
            parts.append(part)
        mean = np.mean(logs, axis=0)
        differences = (np.array(logs) - mean).T / np.sqrt(len(logs))
        return _Columns(
            mean, [differences, np.mean(shares, axis=0), _size(mean), np.mean(parts, axis=0)]
        )

    def _columns_of_processor(self, samples: Sequence[Sample], way: dict[str, Any]) -> _Columns:
        """Return what a regression reads where nothing is borrowed: no sources."""
        networks = [loads(sample.graph) for sample in samples]
        by_class, parts = processor_times(networks, [self._batch(sample) for sample in samples])
        shares = [each / each.sum(axis=1, keepdims=True) for each in (by_class, parts)]
        mean = np.log(parts.sum(axis=1))
        mean += self._scaled(shares[1], PROCESSOR) if way["scaled"] else 0.0
        return _Columns(mean, [shares[0], _size(mean), shares[1]])

    def _scaled(self, parts: Array, known: tuple[float, float]) -> Array:
        """Return by how much the datasheet changes the logarithms of the times of a known
        device."""
        assert self.datasheet is not None
        work, moved = known[0] / self.datasheet[0], known[1] / self.datasheet[1]
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
        """Its name in tables."""
        return "calibrated"

    @property
    def described(self) -> str:
        """What it learnt from, in words."""
        return f"a device of which {self.n_samples_} networks were measured"

    def _batch(self, sample: Sample) -> float:
        if len(sample.context) > 1:
            raise InputError(f"context: got {sample.context}, expected a batch size alone")
        batch = sample.context[0] if sample.context else float(self.batch_size_)
        if not batch >= 1:
            raise InputError(f"context: got a batch size of {batch}, expected at least 1")
        return batch

    def _there(self, sample: Sample, place: int, times: float) -> Sample:
        return Sample(sample.graph, context=(float(place), times * self._batch(sample)))


def _way(times: float, scaled: bool, processor: bool = False) -> dict[str, Any]:
    """Return a regression on so many batches, scaled by the datasheet or not."""
    return {"times": times, "scaled": scaled, "processor": processor, "share": 1.0}


def _size(mean: Array) -> Array:
    """Return the column (n, 1) of how large networks are."""
    size: Array = (mean / np.log(100.0))[:, None]
    return size


def _learnt(
    ways: Sequence[dict[str, Any]], columns: Sequence[_Columns], logs: Array
) -> list[dict[str, Any]]:
    """Return the regressions, and which share each has in what is said."""
    models, centres = [], []
    for one in columns:
        centres.append([group.mean(axis=0) for group in one.groups])
        models.append(
            regression(one.centred(centres[-1]), logs - one.mean, _BELIEFS[-len(one.groups) :])
        )
    shares = special.softmax([model.evidence for model in models])
    return [
        {**way, "share": float(share), "centre": centre, "model": asdict(model)}
        for way, share, centre, model in zip(ways, shares, centres, models, strict=True)
    ]


def _said(ways: Sequence[dict[str, Any]], columns: Sequence[_Columns]) -> tuple[Array, Array]:
    """Return the logarithms of milliseconds (n,), the mean of all ways, and their standard
    deviations."""
    means, variances = [], []
    for way, one in zip(ways, columns, strict=True):
        table = np.concatenate(one.centred(way["centre"]), axis=1)
        off, std = Regression(**way["model"]).predict(table)
        means.append(one.mean + off)
        variances.append(std**2)
    shares = np.array([way["share"] for way in ways])
    mean = shares @ np.array(means)
    return mean, np.sqrt(shares @ (np.array(variances) + (np.array(means) - mean) ** 2))


def _off(
    ways: Sequence[dict[str, Any]], columns: Sequence[_Columns], logs: Array
) -> npt.NDArray[np.float64]:
    """Return the error of each measurement in deviations, learnt from the others."""
    off = np.zeros(len(logs))
    for out in range(len(logs)):
        kept = np.arange(len(logs)) != out
        learnt = _learnt(ways, [one.of(kept) for one in columns], logs[kept])
        mean, std = _said(learnt, [one.of(~kept) for one in columns])
        off[out] = (logs[out] - mean[0]) / std[0]
    return off


def calibrated(
    measurements: pd.DataFrame,
    candidates: Any,
    inputs: Any = None,
    datasheet: tuple[float, float] | None = None,
) -> DeviceSpeed:
    """Learn a device from measurements of ``measure``, of the networks in ``CALIBRATION`` or
    others.

    Args:
        measurements: as ``measure`` gives them; failed ones are left out.
        candidates, inputs: what was measured, as there.
        datasheet: the same as in ``DeviceSpeed``.

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
    """Return the predictor of a device, given the name of a known one or the folder of a saved
    ``DeviceSpeed``.

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
