"""A fixed scale for evidence without labels, the same for every network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Self

import numpy as np
from scipy import optimize, stats

from ...basics import SIZES, Array
from ...errors import InputError
from ..features.evidence import KINDS, MEASURED
from .families import Family, Slopes

_OF_SIZES = (0.25, 0.25, 0.5)  # shares of params, FLOPs and activations in the size
_RANGE = (-8.0, 3.0)  # of a residual, in spreads: a broken network may not count without bound
_PROXIES = range(len(SIZES), len(MEASURED))


@dataclass(frozen=True)
class Reference:
    """A scale fixed by families of networks, on which no candidate changes another's score.

    With x = sign(m) log(1 + |m|) of each measurement m, the size of a network is

        s = sum_i w_i x_i / d_i       over params, FLOPs and activations, w = (1/4, 1/4, 1/2),

    and each proxy becomes what it says beyond sizes, u = (x - a - b . x_sizes) / t; v_k is the mean
    of u over the measured proxies of a kind k, cut at -8 and 3. The score is

        z = (s / d_s + (mean_k v_k / d_v + mean_k log Phi(v_k) / d_l) / 2) / d_z.

    Lines a, b are fitted to all families, each counted alike; every d and t is the median over
    families of the standard deviation within one, so that z has deviation 1 within a typical
    family. What was not measured is left out of its mean. Because of the logarithm, being last in a
    kind counts more than being first, as in AZ-NAS.

    Deviations are such that, of two networks whose scores differ by D, the better is told with

        P = Phi(c D),

    c fitted to pairs within families that were held out.

    Notes:
        The scale is our choice; ``experiments/results/fixed_scale.md`` compares it.

    Attributes:
        size_spreads: (3,) d_i.
        lines: (proxies, 4) of a and b; NaN for proxies that no family has.
        spreads: (proxies,) t.
        centres: means of s, v and log Phi over families, each counted alike.
        scales: d_s, d_v, d_l, d_z.
        families: the names of labelled families.
        qualities: (families,) how much each counts.
        taught: (families,) correlation of z with ranks of labels in each while it was held out.
        taught_by_sizes: (families,) the same of sizes alone.
        certainty: c.
    """

    size_spreads: Array
    lines: Array
    spreads: Array
    centres: Array
    scales: Array
    families: Sequence[str] = ()
    qualities: Array = field(default_factory=lambda: np.zeros(0))
    taught: Array = field(default_factory=lambda: np.zeros(0))
    taught_by_sizes: Array = field(default_factory=lambda: np.zeros(0))
    certainty: float = 0.0

    @classmethod
    def of(cls, tables: Sequence[Array]) -> Self:
        """Learn the scale from one table of measurements (networks, ``MEASURED``) for each family.

        Raises:
            InputError: there is no family.
        """
        if not tables:
            raise InputError("tables: got none, expected measurements of one family or more")
        drawn = [_drawn_together(table) for table in tables]
        size_spreads = _spread([x[:, : len(SIZES)] for x in drawn])
        lines = np.array([_line(drawn, place) for place in _PROXIES])
        residuals = [_residuals(x, lines) for x in drawn]
        spreads = _spread(residuals)
        plain = cls(size_spreads, lines, spreads, np.zeros(3), np.ones(4))
        parts = [plain._parts(x) for x in drawn]
        centres = np.array([_mean([part[i] for part in parts]) for i in range(3)])
        three = [float(_spread([part[i][:, None] for part in parts])[0]) for i in range(3)]
        plain = cls(size_spreads, lines, spreads, centres, np.array([*three, 1.0]))
        whole = float(_spread([plain.score(table)[:, None] for table in tables])[0])
        return cls(size_spreads, lines, spreads, centres, np.array([*three, whole]))

    @classmethod
    def learnt(
        cls, tables: Mapping[str, Array], families: Sequence[Family], relatives: Mapping[str, Any]
    ) -> Self:
        """Learn the scale from families, and how far to trust it by leaving out each in turn.

        Args:
            tables: family -> its measurements.
            families: the labelled families, in any order.
            relatives: family -> the names of families that are left out with it.
        """
        told, taught, pairs = [], [], []
        for family in families:
            out = {family.name, *relatives.get(family.name, ())}
            others = [table for name, table in tables.items() if name not in out]
            tasks = [labels for labels in _tasks(family) if np.isfinite(labels).sum() > 2]
            if not others or not tasks:
                continue
            scale = cls.of(others)
            score = scale.score(tables[family.name])
            by_size = scale.score(sizes_alone(tables[family.name]))
            told.append(family)
            taught.append(
                [np.mean([_slope(z, labels) for labels in tasks]) for z in (score, by_size)]
            )
            pairs += [_pairs(score, labels) for labels in tasks]
        made = cls.of([*tables.values()])
        if not told:
            return made
        return replace(
            made,
            families=[family.name for family in told],
            qualities=np.array([family.quality for family in told]),
            taught=np.array(taught)[:, 0],
            taught_by_sizes=np.array(taught)[:, 1],
            certainty=certainty_of(pairs),
        )

    @classmethod
    def read(cls, state: Mapping[str, Any]) -> Self:
        """Return the scale that ``state`` describes.

        Raises:
            InputError: ``state`` describes something else.
        """
        names = [field.name for field in fields(cls)]
        if set(state) != set(names):
            raise InputError(f"reference: got {', '.join(state)}, expected {', '.join(names)}")
        return cls(**state)

    def state(self) -> dict[str, Any]:
        """Return the arrays and numbers that describe the scale."""
        return asdict(self)

    @property
    def slope(self) -> float:
        """The mean correlation of scores with labels, of families held out."""
        return float(np.clip(np.mean(self.taught), 0.0, 1.0)) if len(self.taught) else 0.0

    def slopes(self, of_sizes: bool = False) -> Slopes:
        """Return how labels followed scores, or those of sizes alone, in families held out."""
        return Slopes(self.taught_by_sizes if of_sizes else self.taught, self.qualities)

    @property
    def std(self) -> float:
        """The standard deviation of a score that makes P = Phi(c D) true of two alike."""
        return float(1.0 / (np.sqrt(2.0) * max(self.certainty, 1e-3)))

    def score(self, table: Array) -> Array:
        """Return z (networks,) of measurements (networks, ``MEASURED``)."""
        size, plain, log = self._parts(_drawn_together(table))
        by_size, by_plain, by_log, whole = self.scales
        centre = self.centres
        beyond = 0.5 * ((plain - centre[1]) / by_plain + (log - centre[2]) / by_log)
        z: Array = ((size - centre[0]) / by_size + np.where(np.isfinite(beyond), beyond, 0)) / whole
        return z

    def kinds(self, table: Array) -> dict[str, Array]:
        """Return each kind of evidence (networks,), NaN for networks without it."""
        x = _drawn_together(table)
        size = (self._size(x) - self.centres[0]) / self.scales[0]
        return {"size": size, **self._kinds(x)}

    def _size(self, x: Array) -> Array:
        size: Array = (x[:, : len(SIZES)] / self.size_spreads) @ np.array(_OF_SIZES)
        return size

    def _kinds(self, x: Array) -> dict[str, Array]:
        u = np.clip(_residuals(x, self.lines) / self.spreads, *_RANGE)
        found = {}
        for kind, names in KINDS.items():
            places = [MEASURED.index(n) - len(SIZES) for n in names if n not in SIZES]
            if places:
                found[kind] = _row_means(u[:, places])
        return found

    def _parts(self, x: Array) -> tuple[Array, Array, Array]:
        """Return s, the mean of v and the mean of log Phi(v); NaN without any proxy."""
        v = np.array(list(self._kinds(x).values())).T
        return self._size(x), _row_means(v), _row_means(stats.norm.logcdf(v))


def certainty_of(pairs: Sequence[tuple[Array, Array]]) -> float:
    """Return the c of P = Phi(c D) that makes pairs most probable, each family counted alike.

    Args:
        pairs: of each family, differences of scores (pairs,) and the same of labels; ties of
            labels do not count.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> scores = rng.normal(size=4000)
        >>> right = rng.normal(size=4000) < 0.7 * np.abs(scores)
        >>> round(certainty_of([(scores, np.where(right, scores, -scores))]), 1)
        0.7
    """

    def surprise(log_c: float) -> float:
        losses = []
        for by, labels in pairs:
            told = np.where(labels > 0, by, -by)[labels != 0]
            losses.append(-stats.norm.logcdf(np.exp(log_c) * told).mean())
        return float(np.mean(losses))

    return float(np.exp(optimize.minimize_scalar(surprise, bounds=(-4.0, 3.0)).x))


def sizes_alone(table: Array) -> Array:
    """Return the measurements of sizes, without those of proxies."""
    alone = table.copy()
    alone[:, len(SIZES) :] = np.nan
    return alone


def _tasks(family: Family) -> list[Array]:
    """Return the labels of each task (networks,).

    Raises:
        InputError: there are not as many as networks.
    """
    labels = np.atleast_2d(np.asarray(family.labels, dtype=np.float64))
    if labels.ndim != 2 or labels.shape[1] != len(family.samples):
        raise InputError(
            f"families: {family.name!r} has labels of shape {labels.shape} for "
            f"{len(family.samples)} architectures, expected (tasks, architectures)"
        )
    return [*labels]


def _pairs(score: Array, labels: Array) -> tuple[Array, Array]:
    known = np.flatnonzero(np.isfinite(labels))
    first, second = (known[side] for side in np.triu_indices(len(known), 1))
    return score[first] - score[second], labels[first] - labels[second]


def _slope(score: Array, labels: Array) -> float:
    """Return the rank correlation of a score with labels, of networks that have one."""
    known = np.isfinite(labels)
    found = stats.spearmanr(score[known], labels[known]).statistic
    return float(found) if np.isfinite(found) else 0.0


def _drawn_together(table: Array) -> Array:
    """Return orders of magnitude as steps: sign(x) log(1 + |x|)."""
    made: Array = np.sign(table) * np.log1p(np.abs(table))
    return np.where(np.isfinite(made), made, np.nan)


def _line(drawn: Sequence[Array], place: int) -> Array:
    """Fit one proxy (a column) by sizes, each family counted alike; NaN if none has it."""
    rows, values, weights = [], [], []
    for x in drawn:
        known = np.isfinite(x[:, place])
        rows.append(_with_one(x[known]))
        values.append(x[known, place])
        weights.append(np.full(known.sum(), 1.0 / np.sqrt(max(len(x), 1))))
    design, target, weight = map(np.concatenate, (rows, values, weights))
    if not len(target):
        return np.full(1 + len(SIZES), np.nan)
    solved: Array = np.linalg.lstsq(design * weight[:, None], target * weight, rcond=None)[0]
    return solved


def _with_one(x: Array) -> Array:
    return np.concatenate([np.ones((len(x), 1)), x[:, : len(SIZES)]], axis=1)


def _residuals(x: Array, lines: Array) -> Array:
    rest: Array = x[:, len(SIZES) :] - _with_one(x) @ lines.T
    return rest


def _spread(columns: Sequence[Array]) -> Array:
    """Return the median over families of the deviation within one, 1 where there is none."""
    within = np.array([_deviations(values) for values in columns])
    known = [column[np.isfinite(column)] for column in within.T]
    found = np.array([np.median(column) if len(column) else 1.0 for column in known])
    return np.where(found > 1e-9, found, 1.0)


def _deviations(values: Array) -> Array:
    """Return the deviation of each column over what is known; NaN of fewer than two values."""
    known = [column[np.isfinite(column)] for column in values.T]
    return np.array([column.std() if len(column) > 1 else np.nan for column in known])


def _mean(columns: Sequence[Array]) -> float:
    """Return the mean of families' means, 0 if nothing is known."""
    means = [c[np.isfinite(c)].mean() for c in columns if np.isfinite(c).any()]
    return float(np.mean(means)) if means else 0.0


def _row_means(values: Array) -> Array:
    """Return means of rows over what is known, NaN where nothing is."""
    known = np.isfinite(values)
    count = known.sum(axis=1)
    total = np.where(known, values, 0.0).sum(axis=1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
