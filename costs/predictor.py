"""Predictors of latency, energy and memory: for one device, for several, and for a new one from
few measurements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import clone

from ..basics import Array
from ..errors import InputError
from ..predictors.contract import Predictor
from ..predictors.features.columns import Features, read_columns
from ..predictors.fitting import readable, without_codes
from ..predictors.label_files import read_labels
from ..predictors.reading import Reader, Sample
from .grouped_regression import Regression, regression
from .operators.inventory import Inventory, counted, inventory

_COMPILED = ("scaled", "read", "apart")
LEVELS = ("sizes", "classes", "unused", *_COMPILED, "operators", "code", "scores")
"""What costs are additive in, from coarse to fine; see ``CostPredictor``."""
_RENAMED = {"kinds": "classes"}
"""Levels as older files call them, and as they are called now."""
_BELIEFS = {"operators": -1.0, **dict.fromkeys((*_COMPILED, "code", "scores"), -2.0)}
_ENOUGH = 300  # measurements of a device: others hardly add to them
_LOWEST = 0.05  # of the smallest cost measured: no sum is predicted to be below


class CostPredictor(Predictor):
    """A predictor of costs from the operators of a network and from its costs on other devices.

    A cost, or its logarithm (whichever makes the measurements likelier), is linear in groups of
    columns of a graph: ``"sizes"`` of the whole; ``"classes"`` (operators, FLOPs and output
    elements of each class of operators); the same of what no output needs (``"unused"``), of what
    is left by two kinds of compilers (``"scaled"``, ``"read"``), and of what the second may add
    (``"apart"``), see ``inventory``; ``"operators"`` of exactly one size; and the space's
    ``"code"`` and proxies' ``"scores"`` where samples have them. Groups that are equal for all
    samples count once. The measurements decide how much each group counts (``regression``).

    Where samples have a context, each context is a device (or a batch size, or another cost) of its
    own. Devices are first learnt alone; then each of fewer than 300 measurements is learnt again
    with the predicted costs of all devices that have at least as many as one more group: what a
    network takes there is an embedding of the network, and the weights of the group are one of the
    device. ``adapt`` learns a new device in that way from few measurements; ``on`` picks
    one of several.

    Source: additive tables after Cai et al., ProxylessNAS, ICLR 2019; costs of other devices as
    columns after Akhauri and Abdelfattah, MultiPredict, AutoML 2023.

    Notes:
        Levels and how they are weighed are our choice.

    Args:
        levels: of ``LEVELS``; those that samples lack or that never vary are left out.
        space, task, inputs, proxies: see ``Predictor``. Architecture
            strings stand for their own graphs, unused operators included.

    Attributes:
        devices_: the contexts, in the order of ``sources_`` and ``models_``.
        sources_: each device alone; of an adapted predictor those that it borrows from.
        models_: the model of each device.

    Example:
        >>> from archrank.data import space
        >>> archs = space("fbnet").sample(60, seed=0)
        >>> costs = [space("fbnet").graph(arch).flops for arch in archs]
        >>> predictor = CostPredictor(space="fbnet").fit(archs[:30], costs[:30])
        >>> predictor.score(archs[30:], costs[30:]) > 0.9
        True
    """

    higher_is_better: ClassVar[bool] = False

    def __init__(
        self,
        levels: Sequence[str] = LEVELS,
        *,
        space: Any = None,
        task: str | None = None,
        inputs: Any = None,
        proxies: Sequence[str] = (),
    ):
        self.levels = levels
        self.space = space
        self.task = task
        self.inputs = inputs
        self.proxies = proxies

    @classmethod
    def arguments_of_file(cls, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Return today's arguments for those of a file, also of an older version."""
        levels = tuple(_RENAMED.get(level, level) for level in arguments["levels"])
        return {**arguments, "levels": levels}

    @property
    def reader(self) -> Reader:
        return replace(super().reader, exact=True)

    def fit(self, X: Any, y: Any) -> Self:
        """Learn from architectures and their costs, all larger than 0.

        Raises:
            InputError: as ``Predictor.fit``, or a cost is not larger than 0.
        """
        samples = self._read(X)
        self.devices_ = [list(key) for key in dict.fromkeys(s.context for s in samples)]
        self.models_: list[dict[str, Any]] = []
        return super().fit(samples, checked_costs(y))

    def adapt(self, X: Any, y: Any) -> CostPredictor:
        """Return a predictor of a new device, learnt from few measurements and from this
        predictor.

        Args:
            X, y: architectures and costs on the new device; contexts play no part.

        Example:
            >>> from archrank.data import space
            >>> archs = space("fbnet").sample(80, seed=0)
            >>> known = [space("fbnet").graph(arch).flops for arch in archs]
            >>> predictor = CostPredictor(space="fbnet").fit(archs, known)
            >>> new = predictor.adapt(archs[:5], [cost**0.9 for cost in known[:5]])
            >>> new.score(archs[5:], known[5:]) > 0.8
            True
        """
        self._check_fitted()
        if not self.models_:
            raise InputError(
                "adapt: all costs that it was fitted to are equal; fit it to some that differ"
            )
        made: CostPredictor = clone(self)
        made.columns_, made.sources_ = self.columns_, self.sources_
        made.borrows_ = True
        return made.fit([replace(sample, context=()) for sample in self._read(X)], y)

    def on(self, *context: float) -> CostPredictor:
        """Return the predictor of one device alone, for samples without a context.

        Raises:
            InputError: there is no such device.
        """
        self._check_fitted()
        at = self._device(context)
        made: CostPredictor = clone(self)
        for name in vars(self):
            if name.endswith("_"):
                setattr(made, name, getattr(self, name))
        made.devices_ = [[]]
        made.models_ = self.models_[at : at + 1]
        return made

    def _fit(self, samples: list[Sample], labels: Array) -> None:
        costs = np.log(labels * self.label_std_ + self.label_mean_)
        borrows = getattr(self, "borrows_", False)
        if not borrows:
            self.columns_ = _fitted_columns(samples, self.levels)
        groups = _columns(self.columns_, samples)
        place = {tuple(device): i for i, device in enumerate(self.devices_)}
        of = np.array([place[sample.context] for sample in samples])
        rows = [np.flatnonzero(of == i) for i in range(len(self.devices_))]
        alone = [_learnt(self.columns_["levels"], groups, costs, some) for some in rows]
        if borrows or len(rows) > 1:
            if not borrows:
                self.sources_ = [_as_source(model, groups) for model in alone]
            counts = [len(some) for some in rows]
            self.models_ = [
                self._with_sources(
                    [j for j in range(len(self.sources_)) if borrows or _gives(counts, j, i)],
                    groups,
                    costs,
                    some,
                    alone[i],
                )
                for i, some in enumerate(rows)
            ]
        else:
            self.sources_ = [_as_source(alone[0], groups)]
            self.models_ = alone

    def _with_sources(
        self,
        sources: list[int],
        groups: list[Array],
        costs: Array,
        rows: npt.NDArray[np.intp],
        alone: dict[str, Any],
    ) -> dict[str, Any]:
        """Return a device learnt with what other devices are predicted to take."""
        if not sources:
            return alone
        taken = [self.sources_[j] for j in sources]
        own = [group[rows] for group in groups]
        columns = {log: _taken(taken, own, log) for log in (True, False)}
        levels = [*self.columns_["levels"], "devices"]
        found = _learnt(levels, own, costs[rows], np.arange(len(rows)), columns)
        return {**found, "sources": sources}

    def _predict(self, samples: list[Sample]) -> tuple[Array, Array]:
        mean, std = np.zeros(len(samples)), np.zeros(len(samples))
        groups = _columns(self.columns_, samples)
        of = np.array([self._device(sample.context) for sample in samples], dtype=np.intp)
        for i in np.unique(of).tolist():
            rows, model = np.flatnonzero(of == i), self.models_[i]
            own = [group[rows] for group in groups]
            taken = [self.sources_[j] for j in model["sources"]]
            extra = [_taken(taken, own, model["log"])] if taken else []
            mean[rows], std[rows] = _costs(model, [*own, *extra])
        return (mean - self.label_mean_) / self.label_std_, std / self.label_std_

    def _device(self, context: Sequence[float]) -> int:
        if list(context) not in self.devices_:
            known = ", ".join(str(tuple(device)) for device in self.devices_[:8])
            raise InputError(
                f"context: got {tuple(context)}, expected one that it was fitted to ({known}); add "
                "contexts by with_context(), pick one with on(), or learn a new one by adapt()"
            )
        return self.devices_.index(list(context))

    def _check_fitted(self) -> None:
        from sklearn.utils.validation import check_is_fitted

        check_is_fitted(self)


def checked_costs(y: Any) -> Any:
    """Return the costs as they came, or an InputError if one is not larger than 0."""
    try:
        costs = np.asarray(y, dtype=np.float64)
    except (TypeError, ValueError):
        return y  # the contract says what is wrong with it
    low = np.flatnonzero(np.isfinite(costs.ravel()) & (costs.ravel() <= 0))
    if len(low):
        raise InputError(
            f"y: {len(low)} of {costs.size} costs are not larger than 0 (the first at {low[0]}, "
            f"{costs.ravel()[low[0]]:g}); leave failed measurements out"
        )
    return y


def _gives(counts: Sequence[int], source: int, device: int) -> bool:
    return source != device and counts[device] < min(_ENOUGH, counts[source] + 1)


# --- columns --------------------------------------------------------------------------------------


def _fitted_columns(samples: Sequence[Sample], levels: Sequence[str]) -> dict[str, Any]:
    """Return how columns are made: vocabulary, means, deviations; only of levels that samples
    have."""
    for level in levels:
        if level not in LEVELS:
            raise InputError(f"levels: got {level!r}, expected some of {', '.join(LEVELS)}")
    lengths = {None if s.code is None else len(s.code) for s in samples}
    absent = set()
    if None in lengths or len(lengths) > 1:
        absent.add("code")
    if not any(sample.scores for sample in samples):
        absent.add("scores")
    found: dict[str, Any] = {"levels": [], "scales": [], "features": [], "vocabulary": []}
    inventories = [inventory(sample.graph) for sample in samples]
    found["vocabulary"] = sorted({name for one in inventories for name in one.operators})
    before: list[Array] = []
    for level in levels:
        if level in absent:
            continue
        if level in ("code", "scores"):
            made = Features((level,)).fit(read_columns(samples, (level,)))
            if len(made.kept_):
                found["levels"].append(level)
                found["scales"].append([])
                found["features"].append(made)
            continue
        values = _raw(level, inventories, found["vocabulary"])
        mean, std = values.mean(axis=0), values.std(axis=0)
        kept = np.flatnonzero(std > 1e-9 * np.maximum(np.abs(mean), 1.0))
        scaled = (values[:, kept] - mean[kept]) / std[kept]
        # Where there is nothing to leave out, all compilers leave the same.
        known = any(np.array_equal(scaled.round(9), other) for other in before)
        if len(kept) and not known:
            before.append(scaled.round(9))
            found["levels"].append(level)
            found["scales"].append([mean[kept], std[kept], kept])
            found["features"].append(None)
    return found


def _columns(how: dict[str, Any], samples: Sequence[Sample]) -> list[Array]:
    """Return the columns (n, p_g) of each level, of about unit length per row; none at first."""
    inventories = [inventory(sample.graph) for sample in samples]
    made = [np.zeros((len(samples), 0))]  # for samples that do not differ in anything
    for level, scales, features in zip(how["levels"], how["scales"], how["features"], strict=True):
        if features is not None:
            values = features.transform(read_columns(samples, (level,), features.score_names_))
        else:
            mean, std, kept = scales
            values = (_raw(level, inventories, how["vocabulary"])[:, kept] - mean) / std
        made.append(values / np.sqrt(values.shape[1]))
    return made


def _raw(level: str, inventories: Sequence[Inventory], vocabulary: Sequence[str]) -> Array:
    if level == "operators":
        return counted([one.operators for one in inventories], vocabulary)
    name = _RENAMED.get(level, level)
    return np.array([getattr(one, name) for one in inventories]).reshape(len(inventories), -1)


# --- one device -----------------------------------------------------------------------------------


def _learnt(
    levels: Sequence[str],
    groups: Sequence[Array],
    logs: Array,
    rows: npt.NDArray[np.intp],
    extra: dict[bool, Array] | None = None,
) -> dict[str, Any]:
    """Return a regression of costs, or of their logarithms, whichever makes them likelier.

    ``extra`` is one more group for costs and for their logarithms.
    """
    logs = logs[rows]
    unit = float(np.median(logs))
    beliefs = [0.0, *(_BELIEFS.get(level, 0.0) for level in levels)]
    best: tuple[float, bool, Regression] | None = None
    for log in (True, False):
        labels = logs - unit if log else np.exp(logs - unit)
        own = [group[rows] for group in groups]
        found = regression(own if extra is None else [*own, extra[log]], labels, beliefs)
        # In units of costs: d log y / dy = 1 / y.
        evidence = found.evidence - (float((logs - unit).sum()) if log else 0.0)
        if best is None or evidence > best[0]:
            best = evidence, log, found
    assert best is not None
    _, log, found = best
    lowest = float(logs.min() + np.log(_LOWEST))
    return {**asdict(found), "log": log, "unit": unit, "lowest": lowest, "sources": []}


def _costs(model: dict[str, Any], groups: Sequence[Array]) -> tuple[Array, Array]:
    """Return the costs (n,) and their deviations."""
    mean, std = _regression(model).predict(np.concatenate(groups, axis=1))
    costs = _in_units(model, mean)
    return costs, std * (costs if model["log"] else np.exp(model["unit"]))


def _mean_costs(model: dict[str, Any], groups: Sequence[Array]) -> Array:
    return _in_units(model, _regression(model).mean(np.concatenate(groups, axis=1)))


def _in_units(model: dict[str, Any], mean: Array) -> Array:
    """Return what was predicted of costs or logarithms as costs."""
    unit, lowest = float(model["unit"]), float(model["lowest"])
    if model["log"]:
        costs: Array = np.exp(np.maximum(mean + unit, lowest))
    else:
        costs = np.maximum(mean * np.exp(unit), np.exp(lowest))
    return costs


def _regression(model: dict[str, Any]) -> Regression:
    names = Regression.__dataclass_fields__
    return Regression(**{name: model[name] for name in names})


# --- other devices --------------------------------------------------------------------------------


def _as_source(model: dict[str, Any], groups: Sequence[Array]) -> dict[str, Any]:
    """Return a device alone, with mean and deviation of what it is predicted to take: cost and
    logarithm."""
    costs = _mean_costs(model, groups)
    scales = [[float(v.mean()), max(float(v.std()), 1e-12)] for v in (costs, np.log(costs))]
    return {**model, "scales": scales}


def _taken(sources: Sequence[dict[str, Any]], groups: Sequence[Array], log: bool) -> Array:
    """Return what networks are predicted to take on devices (n, devices), standardised."""
    made = []
    for source in sources:
        costs = _mean_costs(source, groups)
        mean, std = source["scales"][int(log)]
        made.append(((np.log(costs) if log else costs) - mean) / std)
    taken: Array = np.stack(made, axis=1) / np.sqrt(len(made))
    return taken


# --- from files -----------------------------------------------------------------------------------


def fit_costs(
    costs: str | Path,
    space: str | None = None,
    task: str | None = None,
    inputs: Any = None,
    column: str | None = None,
    like: str | Path | None = None,
    portable: bool = True,
) -> CostPredictor:
    """Fit a predictor of costs to a CSV file of architectures and measured costs.

    Args:
        costs: as the labels of ``archrank.predictors.fitting.fit``, but smaller is better.
        space, task, inputs, column, portable: as there.
        like: folder of a saved one of other devices, to learn a new device from few costs.

    Raises:
        InputError: the file is no such table, or names what is not there.
    """
    names, values = read_labels(costs, column)
    if like is None:
        predictor = CostPredictor(space=space, task=task, inputs=inputs)
        read = readable(predictor, _in_space(names, space))
        return predictor.fit(without_codes(predictor, read) if portable else read, values)
    known = CostPredictor.load(like)
    return known.adapt(readable(known, _in_space(names, known.space)), values)


def _in_space(names: Sequence[str], space: str | None) -> list[str]:
    """Return architectures without the space's name before them, which files of measurements
    have."""
    prefix = f"{space}:"
    return [name.removeprefix(prefix) if space is not None else name for name in names]
