"""Speed of any network on devices that you do not have, from its graph alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
import numpy.typing as npt
import torch
from sklearn.base import clone
from sklearn.model_selection import GroupKFold

from ..basics import Array
from ..errors import InputError
from ..predictors.contract import Predictor
from ..predictors.reading import Reader, Sample
from .devices import SETTINGS, Setting, setting
from .operators.loads import CLASSES, loads
from .operators.roofline import Roofline, Rows, fitted, rows
from .predictor import checked_costs

_LEVELS = np.linspace(0.0, 1.0, 201)  # at which quantiles of errors are kept
_AT_ONCE = 64  # networks whose operators are looked at together


class Speed(NamedTuple):
    """Predicted times of networks, in milliseconds per batch.

    Attributes:
        low, milliseconds, high: the ends of the interval, and the most likely value.
        parts: (n, 3) the shares of work, bytes moved and starts of operators in the time.
        beyond: whether nothing so quick or so slow was measured. The interval of what is quicker
            than all reaches up to the shortest time measured, and may still not hold: what starting
            an operator takes is then most of it, and little was learnt from that.
    """

    low: Array
    milliseconds: Array
    high: Array
    parts: Array
    beyond: npt.NDArray[np.bool_]


class SpeedPredictor(Predictor):
    """The milliseconds of a batch as a sum over the operators of the network, each with a learnt
    efficiency.

    The formula stands in ``roofline``. Several such sums, from different first
    guesses, are averaged in the logarithm. How far it is off on networks that it has not seen is
    found while it is fitted: groups of networks are left out in turn.

    ``archrank.load_predictor("speed")`` is one that knows the devices of
    ``SETTINGS``. A sample's context is (position in ``SETTINGS``, batch
    size); without one, ``on`` says what is meant.

    Args:
        members: the number of sums that are averaged.
        epochs, decay: of their training (``fitted``).
        folds: the number of folds that are held out in turn; 0 for no intervals on new networks.
        seed: the seed of first guesses and orders.
        space, task, inputs, proxies: see ``Predictor``.

    Attributes:
        states_: the weights of each member.
        seen_: positions of the settings that it was fitted to.
        left_out_: log(measured / predicted) of each network, its group left out.
        parts_: of each network, with which others it was left out.
        errors_: of each setting, ``error_quantiles`` of log(measured / predicted).
        ranges_: of each setting the shortest and the longest time measured.
        at_: (setting, batch size) of samples without a context.

    Example:
        >>> import archrank
        >>> net = torch.nn.Sequential(torch.nn.Conv2d(3, 64, 3), torch.nn.ReLU())
        >>> graph = archrank.trace(net, (3, 224, 224))
        >>> speed = archrank.load_predictor("speed")
        >>> one, many = (speed.on("rtx4090", n).predict([graph])[0] for n in (64, 1024))
        >>> bool(one < many)
        True
    """

    higher_is_better: ClassVar[bool] = False

    def __init__(
        self,
        members: int = 3,
        epochs: int = 40,
        decay: float = 0.1,
        folds: int = 5,
        *,
        space: Any = None,
        task: str | None = None,
        inputs: Any = None,
        proxies: Sequence[str] = (),
        seed: int = 0,
    ):
        self.members = members
        self.epochs = epochs
        self.decay = decay
        self.folds = folds
        self.space = space
        self.task = task
        self.inputs = inputs
        self.proxies = proxies
        self.seed = seed

    @property
    def reader(self) -> Reader:
        return replace(super().reader, exact=True)

    def fit(self, X: Any, y: Any, groups: Sequence[Any] | None = None) -> Self:
        """Learn from networks and their milliseconds per batch, all larger than 0.

        Args:
            X: networks; samples whose context says setting and batch size.
            y: milliseconds.
            groups: of each network its family; errors are those of families left out.

        Raises:
            InputError: as ``fit``, or a time is not larger than 0.
        """
        samples = self._read(X)
        self.at_ = [0, 1.0]
        self._groups = np.arange(len(samples)) if groups is None else np.asarray(groups)
        if len(self._groups) != len(samples):
            raise InputError(f"groups: got {len(self._groups)} for {len(samples)} networks")
        try:
            return super().fit(samples, checked_costs(y))
        finally:
            del self._groups

    def on(self, device: str, batch_size: int = 1, **how: Any) -> SpeedPredictor:
        """Return the same predictor, of one device and batch size, for samples without a context.

        Args:
            device, how: the same as in ``setting``.
            batch_size: of one step.

        Raises:
            InputError: the device is not known, or not like that.
        """
        if not isinstance(batch_size, int) or batch_size < 1:
            raise InputError(
                f"batch_size: got {batch_size!r}, expected a whole number of 1 or more"
            )
        made: SpeedPredictor = clone(self)
        for name, value in vars(self).items():
            if name.endswith("_"):
                setattr(made, name, value)
        made.at_ = [SETTINGS.index(setting(device, **how)), float(batch_size)]
        return made

    @property
    def setting(self) -> Setting:
        """The device that it predicts, and how networks run there."""
        return SETTINGS[int(self.at_[0])]

    @property
    def device(self) -> str:
        """The name of the setting."""
        return self.setting.name

    @property
    def described(self) -> str:
        """The setting in words."""
        return self.setting.described

    @property
    def precision(self) -> str:
        """Of the setting."""
        return self.setting.precision

    @property
    def training(self) -> bool:
        """Whether a step of training is meant."""
        return self.setting.training

    @property
    def batches(self) -> tuple[int, int]:
        """The smallest and the largest batch size that was measured."""
        return self.setting.batches

    @property
    def batch_size(self) -> int:
        """Of the step whose time it predicts."""
        return int(self.at_[1])

    def speed(self, X: Any, level: float = 0.9) -> Speed:
        """Return milliseconds with an interval that contains the measurement with probability
        ``level``.

        Raises:
            InputError: ``level`` is not between 0 and 1, or as ``predict``.
        """
        if not 0 < level < 1:
            raise InputError(f"level: got {level!r}, expected a number between 0 and 1")
        samples = self._read(X)
        logs, parts = self._logs(samples)
        ends = [(1 - level) / 2, (1 + level) / 2]
        off = [np.interp(ends, _LEVELS, self.errors_[self._at(s)[0]]) for s in samples]
        low, high = np.reshape(off, (-1, 2)).T
        least, most = self.ranges_[[self._at(sample)[0] for sample in samples]].T
        times = np.exp(logs)
        highest = np.where(
            times < least, np.maximum(times * np.exp(high), least), times * np.exp(high)
        )
        beyond = (times < least) | (times > most)
        return Speed(times * np.exp(low), times, highest, parts, beyond)

    def chance_within(self, X: Any, milliseconds: float) -> Array:
        """Return the probabilities (n,) that the networks take at most so long.

        They are at most a half if both times are shorter than anything that was measured.
        """
        samples = self._read(X)
        logs, _ = self._logs(samples)
        chances = np.zeros(len(samples))
        for at, (sample, log) in enumerate(zip(samples, logs.tolist(), strict=True)):
            setting = self._at(sample)[0]
            chances[at] = np.interp(np.log(milliseconds) - log, self.errors_[setting], _LEVELS)
            if max(np.exp(log), milliseconds) < self.ranges_[setting, 0]:
                chances[at] = min(chances[at], 0.5)
        return chances

    def _fit(self, samples: list[Sample], labels: Array) -> None:
        times = labels * self.label_std_ + self.label_mean_
        self.states_ = self._learnt(samples, times)
        self.left_out_, self.parts_ = self._left_out(samples, times)
        settings = np.array([self._at(sample)[0] for sample in samples])
        of = [settings == one if one in settings else settings >= 0 for one in range(len(SETTINGS))]
        self.errors_ = np.stack(
            [error_quantiles(self.left_out_[here], self.parts_[here]) for here in of]
        )
        self.seen_ = np.unique(settings).tolist()
        self.ranges_ = np.array([[times[here].min(), times[here].max()] for here in of])

    def _left_out(self, samples: list[Sample], times: Array) -> tuple[Array, Array]:
        """Return log(measured / predicted) of every network, its group left out, and the part
        that it was left out with; else of those seen."""
        parts, part = min(self.folds, len(np.unique(self._groups))), np.zeros(len(samples))
        if parts < 2:
            return np.asarray(np.log(times) - self._logs(samples)[0]), part
        off = np.zeros(len(samples))
        split = GroupKFold(parts).split(off, groups=self._groups)
        for number, (kept, out) in enumerate(split):
            states = self._learnt([samples[i] for i in kept], times[kept])
            off[out] = np.log(times[out]) - self._logs([samples[i] for i in out], states)[0]
            part[out] = number
        return off, part

    def _learnt(self, samples: Sequence[Sample], times: Array) -> list[dict[str, Array]]:
        """Return the weights of each member."""
        given = self._rows(samples)
        models = [
            fitted(
                given,
                times,
                len(SETTINGS),
                epochs=self.epochs,
                decay=self.decay,
                seed=self.seed + member,
            )
            for member in range(self.members)
        ]
        return [
            {name: weights.detach().numpy() for name, weights in model.named_parameters()}
            for model in models
        ]

    def _predict(self, samples: list[Sample]) -> tuple[Array, Array]:
        logs, _ = self._logs(samples)
        times = np.exp(logs)
        spread = np.array([self._spread(self._at(sample)[0]) for sample in samples])
        return (times - self.label_mean_) / self.label_std_, times * spread / self.label_std_

    def _spread(self, setting: int) -> float:
        """Return half of what lies between the quantiles of errors that a normal one has at +-1."""
        low, high = np.interp([0.159, 0.841], _LEVELS, self.errors_[setting])
        return float(high - low) / 2

    def _logs(
        self, samples: Sequence[Sample], states: Sequence[dict[str, Array]] | None = None
    ) -> tuple[Array, Array]:
        """Return the logarithms of milliseconds (n,), and what work, bytes and starts have in
        them (n, 3)."""
        models = [_model(state) for state in (self.states_ if states is None else states)]
        logs, parts = np.zeros(len(samples)), np.zeros((len(samples), 3))
        for start in range(0, len(samples), _AT_ONCE):
            given = self._rows(samples[start : start + _AT_ONCE])
            here = slice(start, start + _AT_ONCE)
            for model in models:
                with torch.no_grad():
                    sums = model.sums(given).double().numpy()
                logs[here] += np.log(sums.sum(axis=1)) / len(models)
                parts[here] += sums / sums.sum(axis=1, keepdims=True) / len(models)
        return logs, parts

    def shares(self, X: Any) -> tuple[Array, Array, Array]:
        """Return logarithms of milliseconds (n,), and which share of them goes into each class of
        operators (n, classes) and into work, bytes and starts (n, 3).
        """
        samples = self._read(X)
        logs, parts = self._logs(samples)
        models = [_model(state) for state in self.states_]
        shares = np.zeros((len(samples), len(CLASSES)))
        for start in range(0, len(samples), _AT_ONCE):
            given = self._rows(samples[start : start + _AT_ONCE])
            into = (given.owner * len(CLASSES) + given.classes).numpy()
            for model in models:
                with torch.no_grad():
                    each = (model.parts(given).sum(dim=1) * given.times).double().numpy()
                made = np.bincount(into, each, given.networks * len(CLASSES))
                made = made.reshape(given.networks, -1)
                shares[start : start + _AT_ONCE] += made / made.sum(axis=1, keepdims=True)
        return logs, shares / len(models), parts

    def _rows(self, samples: Sequence[Sample]) -> Rows:
        settings, batches = zip(*map(self._at, samples), strict=True)
        return rows([loads(sample.graph) for sample in samples], settings, batches)

    def _at(self, sample: Sample) -> tuple[int, float]:
        """Return setting and batch size of a sample."""
        place, batch = sample.context or self.at_
        if not 0 <= place < len(SETTINGS) or not batch >= 1:
            raise InputError(
                f"context: got {sample.context}, expected a position in SETTINGS (0 to "
                f"{len(SETTINGS) - 1}) and a batch size of at least 1"
            )
        return int(place), float(batch)


def error_quantiles(errors: Array, parts: Array) -> Array:
    """Return the quantiles of errors at 201 levels from 0 to 1, so far apart that they hold
    elsewhere.

    Errors of relatives are alike, so that an interval that holds 90 % of those that it was taken
    from holds fewer of others. Each error u says how wide the central interval of the other parts
    must be to hold it, |2 F(u) - 1| with F their distribution; the interval of a level L is as wide
    as holds a share L of all errors in this sense.

    Args:
        errors: (n,) logarithms of measured by predicted.
        parts: (n,) which part each was in; with one alone quantiles are those of the errors.

    Notes:
        Conformal prediction across folds, after Vovk, Annals of Mathematics and AI 2015, with
        families in folds. That widths are of ranks, so that both ends keep their own distance, is
        our choice.

    Example:
        >>> errors, parts = np.array([-0.1, 0.0, 0.1, 0.3, 0.4, 0.5]), np.array([0, 0, 0, 1, 1, 1])
        >>> wide, plain = (error_quantiles(errors, one)[[20, 180]] for one in (parts, 0 * parts))
        >>> wide.round(2).tolist(), plain.round(2).tolist()
        ([-0.1, 0.5], [-0.05, 0.45])
    """
    if len(np.unique(parts)) < 2:
        return np.asarray(np.quantile(errors, _LEVELS))
    needed = np.zeros(len(errors))
    for part in np.unique(parts):
        out = parts == part
        others = np.quantile(errors[~out], _LEVELS)
        needed[out] = np.abs(2 * np.interp(errors[out], others, _LEVELS) - 1)
    reach = np.quantile(needed, np.abs(2 * _LEVELS - 1))
    return np.asarray(np.quantile(errors, 0.5 + 0.5 * np.sign(_LEVELS - 0.5) * reach))


def _model(state: dict[str, Array]) -> Roofline:
    model = Roofline(len(state["setting_part"]), len(state["second.bias"]))
    model.load_state_dict({name: torch.from_numpy(w) for name, w in state.items()})
    return model
