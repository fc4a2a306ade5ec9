"""Tables of measured figures by architecture: labels, seeds, costs, hardware, proxies."""

from __future__ import annotations

import difflib
import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd

from ..basics import Array
from ..errors import InputError
from ..metrics import kendall
from .sets import SETS, data_set, sources

if TYPE_CHECKING:
    from .published import Columns, Part, Published

Label = Literal["trained", "weight-shared", "surrogate", "measured"]

_FEWEST = 10  # Kendall's tau of fewer architectures says nothing about noise


@dataclass(frozen=True)
class Task:
    """One label of a table: what it is, which way is better, and where it came from.

    `label` says how the figure was made: by training each network alone ("trained"), with weights
    shared in a supernet ("weight-shared"), by a model's prediction ("surrogate"), or on a device
    ("measured"). Say so wherever weight-shared or surrogate figures are reported.

    `part`, `column` and `runs` are where the figures are: the column of the label, and those of
    its single seeds. Without a column the label is the mean of the seeds.
    """

    name: str
    metric: str
    direction: int = 1
    label: Label = "trained"
    epochs: int | None = None
    column: str | None = None
    runs: tuple[str, ...] = ()
    part: str = "main"


@dataclass(frozen=True)
class NoiseCeiling:
    """How far the seeds of one task agree: no ranking can be expected to do better.

    `between` is the mean Kendall tau-b of two single seeds, `to_mean` that of one seed and the
    mean of all, over the `architectures` that have all `seeds`.
    """

    between: float
    to_mean: float
    seeds: int
    architectures: int


class _Source(Protocol):
    """Where a table's figures are read from, and only those that are asked for."""

    @property
    def index(self) -> pd.Index[str]: ...
    def values(self, columns: Columns) -> pd.DataFrame: ...
    def runs(self, part: str, column: str) -> Array: ...


@dataclass(frozen=True, eq=False, repr=False)
class Table:
    """Measured figures by architecture; nothing is read before it is asked for.

    Architectures are unique strings that the table's space builds. Missing, failed and sentinel
    values are NaN. Rows that repeat an architecture are seeds where they are other trainings, and
    averaged where they are other evaluations of the same weights; `notes` says which.

    Example:
        >>> frame = pd.DataFrame({"acc": [90.0, 92.0, 91.0]}, index=["a", "b", "c"])
        >>> small = Table.from_frame("mine", frame, [Task("acc", "accuracy, %")])
        >>> small.labels("acc").idxmax(), len(small), small.lookup("c", "acc")
        ('b', 3, 91.0)
    """

    name: str
    title: str
    space: str | None
    tasks: Mapping[str, Task]
    definitions: Mapping[str, str]
    units: Mapping[str, str]
    provenance: tuple[str, ...]
    licence: str
    notes: str
    _source: _Source
    _costs: Columns
    _hardware: Columns
    _proxies: Columns

    @classmethod
    def from_frame(
        cls,
        name: str,
        frame: pd.DataFrame,
        tasks: Sequence[Task],
        *,
        costs: Sequence[str] = (),
        hardware: Sequence[str] = (),
        proxies: Sequence[str] = (),
        space: str | None = None,
        title: str = "",
        licence: str = "",
        notes: str = "",
    ) -> Table:
        """A table of your own: a frame with architecture strings as index.

        A task without `column` and `runs` reads the column of its own name.

        Raises:
            InputError: an architecture repeats, or a column is not in the frame.

        Example:
            >>> frame = pd.DataFrame({"s0": [90.0, 92.0], "s1": [91.0, 93.0]}, index=["a", "b"])
            >>> mine = Table.from_frame("mine", frame, [Task("acc", "%", runs=("s0", "s1"))])
            >>> mine.labels("acc").tolist(), mine.seeds("acc").shape
            ([90.5, 92.5], (2, 2))
        """
        if not frame.index.is_unique:
            twice = frame.index[frame.index.duplicated()][0]
            raise InputError(f"frame: architecture {twice!r} repeats; merge its rows first")
        ready = [
            task if task.column or task.runs else _with_column(task, task.name) for task in tasks
        ]
        wanted = [
            *(column for task in ready for column in (task.column, *task.runs) if column),
            *costs,
            *hardware,
            *proxies,
        ]
        lacking = [column for column in wanted if column not in frame]
        if lacking:
            raise InputError(f"frame: has no column {lacking[0]!r}; it has {list(frame.columns)}")
        return cls(
            name=name,
            title=title or name,
            space=space,
            tasks={task.name: task for task in ready},
            definitions={},
            units={},
            provenance=(),
            licence=licence,
            notes=notes,
            _source=_Frame(frame),
            _costs={column: ("main", column, 1.0) for column in costs},
            _hardware={column: ("main", column, 1.0) for column in hardware},
            _proxies={column: ("main", column, 1.0) for column in proxies},
        )

    @property
    def architectures(self) -> pd.Index[str]:
        """The architecture strings, each once, in the order of the published table."""
        return self._source.index

    def labels(self, task: str | None = None) -> pd.Series[float]:
        """The label of every architecture, missing ones as NaN; the first task if none is named.

        It is the published mean where there is one, else the mean over the seeds that there are.

        Raises:
            InputError: no such task.
        """
        chosen = self._task(task)
        if chosen.column is None:
            runs = self.seeds(chosen.name)
            known = np.isfinite(runs)
            count = known.sum(axis=1)
            total = np.where(known, runs, 0.0).sum(axis=1)
            mean = np.where(count > 0, total / np.maximum(count, 1), np.nan)
            return pd.Series(mean, index=self.architectures, name=chosen.name)
        columns = {chosen.name: (chosen.part, chosen.column, 1.0)}
        return self._source.values(columns)[chosen.name]

    def seeds(self, task: str | None = None) -> Array:
        """The label by architecture and seed, missing ones as NaN; one column without seeds.

        Raises:
            InputError: no such task.
        """
        chosen = self._task(task)
        if chosen.runs:
            columns = {name: (chosen.part, name, 1.0) for name in chosen.runs}
            return self._source.values(columns).to_numpy(dtype=np.float64)
        return self._source.runs(chosen.part, str(chosen.column))

    def noise_ceiling(self, task: str | None = None) -> NoiseCeiling | None:
        """How far the seeds agree; None without two seeds of at least ten architectures.

        Raises:
            InputError: no such task.

        Example:
            >>> runs = pd.DataFrame({"s0": range(10), "s1": [1, 0, *range(2, 10)]}, dtype=float)
            >>> runs.index = pd.Index(list("abcdefghij"))
            >>> mine = Table.from_frame("mine", runs, [Task("acc", "%", runs=("s0", "s1"))])
            >>> round(mine.noise_ceiling().between, 3)
            0.956
        """
        runs = self.seeds(task)
        runs = runs[np.isfinite(runs).all(axis=1)]
        count, seeds = runs.shape
        if seeds < 2 or count < _FEWEST:
            return None
        pairs = [kendall(runs[:, i], runs[:, j]) for i, j in combinations(range(seeds), 2)]
        mean = runs.mean(axis=1)
        to_mean = [kendall(runs[:, i], mean) for i in range(seeds)]
        return NoiseCeiling(float(np.mean(pairs)), float(np.mean(to_mean)), seeds, count)

    @cached_property
    def costs(self) -> pd.DataFrame:
        """Parameters, multiply-adds and the like; `definitions` says what each column counts."""
        return self._source.values(self._costs)

    @cached_property
    def hardware(self) -> pd.DataFrame:
        """Latency, energy and the like on devices; `units` says in what."""
        return self._source.values(self._hardware)

    @cached_property
    def proxies(self) -> pd.DataFrame:
        """Published zero-cost scores, as ``task/proxy``; NaN where one failed.

        Those that failed everywhere are left out.
        """
        return self._source.values(self._proxies).dropna(axis="columns", how="all")

    def lookup(self, architecture: str, task: str | None = None) -> float:
        """The label of one architecture, NaN if it is missing.

        Raises:
            InputError: no such architecture or task; the message names near ones.
        """
        position = self._position(architecture)
        return float(self._labels(self._task(task).name).iloc[position])

    def __getitem__(self, architecture: str) -> dict[str, Any]:
        """All of one architecture: labels of every task, costs, hardware figures and proxies."""
        position = self._position(architecture)
        row: dict[str, Any] = {"architecture": architecture}
        row |= {name: float(self._labels(name).iloc[position]) for name in self.tasks}
        for frame in (self.costs, self.hardware, self.proxies):
            row |= {str(name): float(value) for name, value in frame.iloc[position].items()}
        return row

    def __repr__(self) -> str:
        return f"Table({self.name!r}, space={self.space!r}, tasks={list(self.tasks)})"

    def __len__(self) -> int:
        return len(self.architectures)

    def __contains__(self, architecture: object) -> bool:
        return architecture in self.architectures

    @cached_property
    def _memory(self) -> dict[str, pd.Series[float]]:
        return {}

    def _labels(self, task: str) -> pd.Series[float]:
        if task not in self._memory:
            self._memory[task] = self.labels(task)
        return self._memory[task]

    def _task(self, name: str | None) -> Task:
        if name is None and self.tasks:
            return next(iter(self.tasks.values()))
        if name not in self.tasks:
            if not self.tasks:
                raise InputError(
                    f"task: got {name!r}, but {self.name} holds no labels, only hardware figures"
                )
            near = difflib.get_close_matches(str(name), self.tasks, n=3, cutoff=0.5)
            hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
            raise InputError(
                f"task: got {name!r}, expected a task of {self.name}: "
                f"{', '.join(list(self.tasks)[:15])}{', ...' if len(self.tasks) > 15 else ''}{hint}"
            )
        return self.tasks[str(name)]

    def _position(self, architecture: str) -> int:
        try:
            found = self.architectures.get_loc(architecture)
        except (KeyError, TypeError) as error:
            text = str(architecture)
            # comparing with all is slow, so those that begin most alike are compared
            likely = heapq.nlargest(300, self.architectures, key=lambda name: _alike(name, text))
            near = difflib.get_close_matches(text, likely, n=3, cutoff=0.5) or likely[:3]
            raise InputError(
                f"architecture: got {architecture!r}, which {self.name} does not hold; "
                f"near ones are {', '.join(map(repr, near))}"
            ) from error
        assert isinstance(found, int)  # the index is unique
        return found


def tables() -> list[str]:
    """The names of all tables that `table` knows, whether or not their data are here.

    Example:
        >>> "nasbench201" in tables()
        True
    """
    from .published import TABLES

    return list(TABLES)


def table(name: str, folder: Path | None = None) -> Table:
    """A published table by name, from the data folder (``$ARCHRANK_DATA``, or the user's cache).

    Only the names of columns are read; figures are read when they are asked for. Columns that the
    public files do not hold are left out.

    Raises:
        InputError: no such table, or its data are not there; the message says how to get them.
    """
    from .fetching import data_folder
    from .published import TABLES

    if name not in TABLES:
        near = difflib.get_close_matches(str(name), TABLES, n=3)
        hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
        raise InputError(f"name: got {name!r}, expected a table: {', '.join(TABLES)}{hint}")
    published = TABLES[name]
    source = _Parquet(published, Path(folder) if folder is not None else data_folder())
    for part in published.index:
        if not source.columns(part):
            file = published.parts[part].file
            raise InputError(
                f"name: the data of {name!r} are not here ({file}.parquet in {source.folder}). "
                f"Get them with: archrank data fetch {name}. Or set ARCHRANK_DATA to the folder "
                "that holds them"
            )
    tasks: dict[str, Task] = {}
    for task in published.tasks:
        here = source.columns(task.part)
        runs = tuple(column for column in task.runs if column in here)
        if task.column in here or (task.column is None and runs):
            tasks[task.name] = replace(task, runs=runs)
    units: dict[str, str] = {}
    hardware = _select(published.hardware, source, units)
    costs = _select(published.costs, source, {})
    owners = sets_of(name)
    return Table(
        name=name,
        title=published.title,
        space=published.space,
        tasks=tasks,
        definitions={key: text for key, text in published.definitions.items() if key in costs},
        units=units,
        provenance=tuple(
            f"https://github.com/{public.repository}/blob/{public.commit}/{public.path}"
            for public in sources()
            if public.set in owners and public.fetchable and public.read
        ),
        licence="; ".join(dict.fromkeys(data_set(owner).licence for owner in owners)),
        notes=" ".join(text for owner in owners if (text := data_set(owner).notes)),
        _source=source,
        _costs=costs,
        _hardware=hardware,
        _proxies=_select(published.proxies, source, {}),
    )


def sets_of(name: str) -> list[str]:
    """The sets that hold a table's figures; a set's own name stands for itself.

    Raises:
        InputError: neither a table nor a set.

    Example:
        >>> sets_of("transnas101_micro"), sets_of("nbsuite_zero")
        (['transnas101', 'nbsuite_zero'], ['nbsuite_zero'])
    """
    from .published import TABLES

    if name in TABLES:
        parts = TABLES[name].parts.values()
        return list(dict.fromkeys(part.file.split("/")[0] for part in parts))
    if name in SETS:
        return [name]
    known = [*TABLES, *(found for found in SETS if found not in TABLES)]
    near = difflib.get_close_matches(str(name), known, n=3)
    hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
    raise InputError(f"name: got {name!r}, expected one of {', '.join(known)}{hint}")


def _with_column(task: Task, column: str) -> Task:
    return replace(task, column=column)


def _alike(first: str, second: str) -> int:
    """How many letters two strings begin with alike."""
    count = 0
    for a, b in zip(first, second, strict=False):
        if a != b:
            break
        count += 1
    return count


def _select(groups: Sequence[Any], source: _Parquet, units: dict[str, str]) -> Columns:
    """The columns that patterns pick; the first to give a name wins."""
    found: dict[str, tuple[str, str, float]] = {}
    for group in groups:
        for column in source.columns(group.part):
            match = group.pattern.fullmatch(column)
            if match is None:
                continue
            name = match.expand(group.name)
            if name not in found:
                found[name] = (group.part, column, group.scale)
                units[name] = group.unit
    return found


class _Frame:
    """A frame as a table's source."""

    def __init__(self, frame: pd.DataFrame):
        self._frame = frame

    @property
    def index(self) -> pd.Index[str]:
        return self._frame.index

    def values(self, columns: Columns) -> pd.DataFrame:
        found = {name: _clean(self._frame[column]) for name, (_, column, _) in columns.items()}
        return pd.DataFrame(found, index=self.index)

    def runs(self, part: str, column: str) -> Array:
        return _clean(self._frame[column])[:, None]


_Rows = tuple[npt.NDArray[np.bool_], npt.NDArray[np.intp], bool]
"""Which rows of a part are in the index, where they belong there, and whether any repeat."""


class _Parquet:
    """Compact tables as a table's source: only the columns asked for are read."""

    def __init__(self, published: Published, folder: Path):
        self.published, self.folder = published, folder
        self._schemas: dict[str, list[str]] = {}
        self._known: dict[str, _Rows] = {}

    def columns(self, part: str) -> list[str]:
        """The names of a part's columns; none if its file is not there."""
        file = self.published.parts[part].file
        if file not in self._schemas:
            import pyarrow as pa
            import pyarrow.parquet as pq

            path = self._path(file)
            try:
                self._schemas[file] = pq.read_schema(path).names if path.is_file() else []
            except (OSError, pa.ArrowException) as error:
                raise InputError(
                    f"name: {path} cannot be read ({error}); delete it and run: archrank data "
                    f"fetch {file.split('/')[0]}"
                ) from error
        return self._schemas[file]

    @cached_property
    def index(self) -> pd.Index[str]:
        names = [name for part in self.published.index for name in self._names(part)]
        return pd.Index(dict.fromkeys(names), dtype="object", name="architecture")

    def values(self, columns: Columns) -> pd.DataFrame:
        """The columns by architecture; where rows repeat one, their mean."""
        by_part: dict[str, list[tuple[str, str, float]]] = {}
        for name, (part, column, scale) in columns.items():
            by_part.setdefault(part, []).append((name, column, scale))
        found: dict[str, Array] = {}
        for part, wanted in by_part.items():
            rows = self._read(part, [column for _, column, _ in wanted])
            here, at, repeats = self._rows(part)
            for name, column, scale in wanted:
                figures = _clean(rows[column])[here]
                if scale != 1.0:  # counts, published in millions
                    figures = np.rint(figures * scale)
                found[name] = (_mean if repeats else _place)(figures, at, len(self.index))
        return pd.DataFrame({name: found[name] for name in columns}, index=self.index)

    def runs(self, part: str, column: str) -> Array:
        """One column by architecture and repetition."""
        if not self.published.parts[part].repeats_are_seeds:
            found = self.values({column: (part, column, 1.0)})
            return found.to_numpy(dtype=np.float64)
        here, at, _ = self._rows(part)
        figures = _clean(self._read(part, [column])[column])[here]
        turn = pd.Series(at).groupby(at).cumcount().to_numpy()
        runs = np.full((len(self.index), int(turn.max(initial=0)) + 1), np.nan)
        runs[at, turn] = figures
        return runs

    def _rows(self, part: str) -> _Rows:
        if part not in self._known:
            at = self.index.get_indexer(pd.Index(self._names(part), dtype=object))
            here = at >= 0
            at = at[here]
            self._known[part] = here, at, len(np.unique(at)) < len(at)
        return self._known[part]

    def _names(self, part: str) -> list[str]:
        chosen = self.published.parts[part]
        rows = self._read(part, list(chosen.key))
        if chosen.named_by is not None:
            other = self._table(chosen.named_by, [*chosen.key, "arch_str"], chosen).set_index(
                chosen.key[0]
            )
            return other["arch_str"].reindex(rows[chosen.key[0]]).tolist()
        if chosen.spell is None:
            return [str(name) for name in rows[chosen.key[0]]]
        spell = chosen.spell
        return [spell(*row) for row in rows[list(chosen.key)].itertuples(index=False, name=None)]

    def _read(self, part: str, columns: list[str]) -> pd.DataFrame:
        chosen = self.published.parts[part]
        return self._table(chosen.file, columns, chosen)

    def _table(self, file: str, columns: list[str], part: Part) -> pd.DataFrame:
        import pyarrow as pa
        import pyarrow.parquet as pq

        names, path = list(dict.fromkeys(columns)), self._path(file)
        try:
            if file == part.file and part.where:
                found = pq.read_table(path, columns=names, filters=list(part.where))
            else:  # many times quicker for a few columns
                found = pq.ParquetFile(path).read(columns=names)
        except (OSError, pa.ArrowException) as error:
            raise InputError(
                f"name: {path} cannot be read ({error}); delete it and run: archrank data fetch "
                f"{file.split('/')[0]}"
            ) from error
        frame: pd.DataFrame = found.to_pandas()
        return frame

    def _path(self, file: str) -> Path:
        owner, _, name = file.partition("/")
        return data_set(owner).home(self.folder) / f"{name}.parquet"


def _clean(values: pd.Series[Any]) -> Array:
    """As floats, with what stands for a failure missing."""
    found = np.array(values, dtype=np.float64)
    found[np.isinf(found) | (found == -1e8)] = np.nan
    return found


def _place(figures: Array, at: npt.NDArray[np.intp], size: int) -> Array:
    found = np.full(size, np.nan)
    found[at] = figures
    return found


def _mean(figures: Array, at: npt.NDArray[np.intp], size: int) -> Array:
    known = np.isfinite(figures)
    total = np.bincount(at[known], weights=figures[known], minlength=size)
    count = np.bincount(at[known], minlength=size)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
