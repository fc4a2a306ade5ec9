"""What candidates are ranked by: each criterion turns all rows into one column."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Literal, Protocol, get_args

import numpy as np

from ..basics import SIZES, Array
from ..errors import InputError, checked_choice
from ..graphs import Graph
from ..metrics import residual_rank
from ..predictors import Predictor, Sample
from ..predictors.loading import is_predictor, load_predictor
from ..predictors.predicting import predicted
from ..proxies import get
from ..proxies.registry import names_in
from ..scoring.candidates import FromSpace
from ..scoring.rows import Row
from .aggregation import POPULATION, Population, mean_over_seeds

AUTO = "auto"
"""The name of the predictor that comes with archrank."""
Level = Literal["auto", "graphs", "quick", "full"]
LEVELS = get_args(Level)


@dataclass(frozen=True)
class Column:
    """Values of one criterion for all rows.

    Attributes:
        label: the name of the column.
        values: (rows, seeds), larger is better, NaN where there is none.
        sign: the factor by which ``values`` are shown.
        error: (rows,) standard deviations of the values, if the criterion knows them.
        details: more columns by name, which explain the values.
    """

    label: str
    values: Array
    sign: float = 1.0
    error: Array | None = None
    details: Mapping[str, Array] = field(default_factory=dict)


class Criterion(Protocol):
    """A thing to rank by."""

    @property
    def label(self) -> str: ...

    @property
    def proxies(self) -> tuple[str, ...]:
        """The proxies that rows must hold scores of."""

    def column(self, rows: Sequence[Row], seeds: int) -> Column:
        """Judge all rows; what cannot be judged may become a failure of its row."""


@dataclass(frozen=True)
class ByProxy:
    """The values of one proxy."""

    label: str

    @property
    def proxies(self) -> tuple[str, ...]:
        return (self.label,)

    def column(self, rows: Sequence[Row], seeds: int) -> Column:
        sign = get(self.label).sign
        return Column(self.label, sign * _grid(rows, self.label, seeds), sign)


@dataclass(frozen=True)
class ByPopulation:
    """A published score of a whole population."""

    population: Population

    @property
    def label(self) -> str:
        return self.population.name

    @property
    def proxies(self) -> tuple[str, ...]:
        return self.population.proxies

    def column(self, rows: Sequence[Row], seeds: int) -> Column:
        columns = [ByProxy(name).column(rows, seeds).values for name in self.proxies]
        parts = np.stack(columns, axis=1)  # (rows, proxies, seeds)
        each = [self.population.score(parts[:, :, seed]) for seed in range(seeds)]
        return Column(self.label, np.stack(each, axis=1))


@dataclass(frozen=True)
class Controlled:
    """One criterion, controlled for another: the residual of its ranks."""

    criterion: Criterion
    control: Criterion

    @property
    def label(self) -> str:
        return f"{self.criterion.label}|{self.control.label}"

    @property
    def proxies(self) -> tuple[str, ...]:
        return (*self.criterion.proxies, *self.control.proxies)

    def column(self, rows: Sequence[Row], seeds: int) -> Column:
        values, control = (
            criterion.column(rows, seeds).values for criterion in (self.criterion, self.control)
        )
        residual = np.full_like(values, np.nan)
        for seed in range(seeds):
            present = np.isfinite(values[:, seed]) & np.isfinite(control[:, seed])
            if present.sum() > 1:
                # Rounded: what a control explains whole leaves bits, not a number.
                residual[present, seed] = residual_rank(
                    values[present, seed], control[present, seed]
                ).round(9)
        return Column(self.label, residual)


@dataclass(frozen=True)
class ByPredictor:
    """Predictions from the graphs and scores of rows."""

    label: str
    predictor: Predictor
    context: tuple[float, ...] = ()

    @property
    def proxies(self) -> tuple[str, ...]:
        return self.predictor.usable_proxies

    def column(self, rows: Sequence[Row], seeds: int) -> Column:
        sign = 1.0 if self.predictor.higher_is_better else -1.0
        # A predictor that reads no scores says the same under every seed.
        count = seeds if self.proxies else 1
        values, error = np.full((len(rows), seeds), np.nan), np.full(len(rows), np.nan)
        for seed in range(count):
            values[:, seed], alone = self._predict(rows, seed)
            error = alone if count == 1 else error
        if count > 1:
            _, error = self._predict(rows, None)
        return Column(self.label, sign * values, sign, error, self._details(rows, seeds))

    def _predict(self, rows: Sequence[Row], seed: int | None) -> tuple[Array, Array]:
        """Predict all rows together, or, where one cannot be read, each by itself."""
        mean, std = np.full(len(rows), np.nan), np.full(len(rows), np.nan)
        known = [i for i, row in enumerate(rows) if row.graph is not None]
        known = [i for i in known if not self._is_broken(rows[i])]
        samples = [self._sample(rows[i], seed) for i in known]
        try:
            if known:
                mean[known], std[known] = predicted(self.predictor, samples)
        except InputError:
            for i, sample in zip(known, samples, strict=True):
                try:
                    (mean[i],), (std[i],) = predicted(self.predictor, [sample])
                except InputError as error:
                    rows[i].fail(self.label, "unsupported", str(error))
        return mean, std

    def _is_broken(self, row: Row) -> bool:
        """Tell whether most of what was tried for it is not a number: a network's size would
        flatter it.

        What cannot be computed of it for another reason is left out of the judgement.
        """
        found = {name: status for name, status, _ in row.failures if name in self.proxies}
        tried = {*found, *row.scores} & {*self.proxies} - {*SIZES}
        broken = 2 * [*found.values()].count("non-finite") > len(tried)
        if broken:
            row.fail(self.label, "non-finite", "hardly a proxy that it reads is a number")
        return broken

    def _sample(self, row: Row, seed: int | None) -> Sample:
        return replace(sample_of(row, seed, self.predictor), context=self.context)

    def _details(self, rows: Sequence[Row], seeds: int) -> dict[str, Array]:
        """Return what the predictor read, and what it made of it."""
        if not self.proxies:
            return {}
        known = [i for i, row in enumerate(rows) if row.graph is not None]
        found = self.predictor.explain([self._sample(rows[i], None) for i in known])
        details = {name: np.full(len(rows), np.nan) for name in found}
        for name, values in found.items():
            details[name][known] = values
        for name in self.proxies:
            if name not in SIZES:
                details[name] = mean_over_seeds(_grid(rows, name, seeds))
        return details


def sample_of(row: Row, seed: int | None, predictor: Predictor) -> Sample:
    """Return a row as predictors read it: under one seed, or with means over all of them."""
    assert row.graph is not None
    scores = {
        name: float(np.mean(values)) if seed is None else values[seed]
        for name, values in row.scores.items()
        if seed is None or seed < len(values)
    }
    build = row.candidate.build
    if isinstance(build, FromSpace) and build.space == predictor.space:
        home, arch = build.home, build.arch
        # As it was learnt from: the network without what has no effect in it.
        graph = row.graph if row.node_scores else home.graph(home.canonical(arch), build.task)
        return Sample(graph, arch, home.encode(arch), scores, row.node_scores, name=row.name)
    return Sample(row.graph, scores=scores, node_scores=row.node_scores, name=row.name)


def criteria(by: str | Iterable[str], context: tuple[float, ...] = ()) -> list[Criterion]:
    """Return the criteria that names stand for; see ``archrank.rank``.

    Args:
        by: the names.
        context: what predictors are told beside each candidate, such as a training recipe.

    Raises:
        InputError: a name is not that of a proxy, population score or saved predictor.
    """
    names = names_in(by) if isinstance(by, str) else [*by] if isinstance(by, Iterable) else []
    if not names or not all(isinstance(name, str) and name for name in names):
        raise InputError(
            f"by: got {by!r}, expected 'auto' or names of proxies; a proxy of your own has a name "
            "once archrank.proxies.register has it"
        )
    found: list[Criterion] = []
    for name in dict.fromkeys(names):
        first, bar, second = name.partition("|")
        alone = partial(_criterion, context=context)
        found.append(Controlled(alone(first), alone(second)) if bar else alone(name))
    return found


def proxies_needed(
    wanted: Sequence[Criterion], level: Level
) -> tuple[Callable[[Graph], bool] | None, tuple[str, ...]]:
    """Return what tells which graphs need no proxies, and the proxies that all others need.

    The first is None if every graph needs them.

    Raises:
        InputError: the level is none, or proxies are asked for that graphs alone do not give.
    """
    checked_choice("level", level, LEVELS)
    proxies = tuple(dict.fromkeys(name for criterion in wanted for name in criterion.proxies))
    predictors = [one.predictor for one in wanted if isinstance(one, ByPredictor)]
    others = {name for one in wanted if not isinstance(one, ByPredictor) for name in one.proxies}
    needs = sorted(others - set(SIZES))
    if level == "graphs":
        if needs:
            raise InputError(
                f"level: got 'graphs', but {', '.join(needs)} run the networks; leave them out of "
                "by, or use level='full'"
            )
        sizes = tuple(name for name in proxies if name in SIZES)
        return (None, sizes) if sizes else (_always, ())
    if level == "quick":
        proxies = tuple(n for n in proxies if n in others or n in SIZES or get(n).is_quick)
    if level == "full" or needs or len(predictors) != 1:
        return None, proxies
    return predictors[0].enough, proxies


def _always(graph: Graph) -> bool:
    return True


def _criterion(name: str, context: tuple[float, ...] = ()) -> Criterion:
    if name == AUTO:
        return ByPredictor(name, load_predictor(), context)
    if name in POPULATION:
        return ByPopulation(POPULATION[name])
    if is_predictor(name):
        return ByPredictor(name, load_predictor(name), context)
    if "/" in name:
        raise InputError(f"by: there is no saved predictor at {name!r}; check the path")
    get(name)  # says what there is if there is no such proxy
    return ByProxy(name)


def _grid(rows: Sequence[Row], proxy: str, seeds: int) -> Array:
    """Return the values of a proxy (rows, seeds), NaN where there is none."""
    grid = np.full((len(rows), seeds), np.nan)
    for i, row in enumerate(rows):
        values = row.scores.get(proxy, [])
        grid[i, : len(values)] = values
    return grid
