"""Tables of measured figures by architecture: labels, seeds, costs, hardware, proxies."""

from __future__ import annotations

import difflib
import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations
from typing import Any, Protocol

import numpy as np
import pandas as pd

from ...basics import Array
from ...errors import InputError
from .published import Columns, Task
from .reading import FrameReader

_FEWEST = 10  # Kendall's tau of fewer architectures is too noisy


@dataclass(frozen=True)
class NoiseCeiling:
    """The agreement of the seeds of one task, which no ranking is expected to exceed.

    `between` is the mean Kendall tau-b of two single seeds. `to_mean` is that of one seed and the
    mean of all. Both are over the `architectures` that have all `seeds`.
    """

    between: float
    to_mean: float
    seeds: int
    architectures: int


class _Reader(Protocol):
    """A reader of a table's figures, which reads only those that are needed."""

    @property
    def index(self) -> pd.Index[str]: ...
    def values(self, columns: Columns) -> pd.DataFrame: ...
    def runs(self, part: str, column: str) -> Array: ...
    def words(self, columns: Columns) -> pd.DataFrame: ...


@dataclass(frozen=True, eq=False, repr=False)
class Table:
    """Measured figures by architecture, which are read when they are needed.

    Architectures are unique strings that the table's space builds. Missing, failed and sentinel
    values are NaN. Rows that repeat an architecture are seeds if they are other trainings. They are
    averaged if they are other evaluations of the same weights; `notes` says which.

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
    _reader: _Reader
    _costs: Columns
    _hardware: Columns
    _proxies: Columns
    _context: Columns

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
        context: Sequence[str] = (),
        space: str | None = None,
        title: str = "",
        licence: str = "",
        notes: str = "",
    ) -> Table:
        """Make your own table from a frame with architecture strings as its index.

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
            *context,
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
            _reader=FrameReader(frame),
            _costs={column: ("main", column, 1.0) for column in costs},
            _hardware={column: ("main", column, 1.0) for column in hardware},
            _proxies={column: ("main", column, 1.0) for column in proxies},
            _context={column: ("main", column, 1.0) for column in context},
        )

    @property
    def architectures(self) -> pd.Index[str]:
        """The architecture strings, each once, in the order of the published table."""
        return self._reader.index

    def labels(self, task: str | None = None) -> pd.Series[float]:
        """Return all labels of a task, NaN if missing; the first task is the default.

        A label is the published mean if there is one, and otherwise the mean over the seeds.

        Raises:
            InputError: there is no such task.
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
        return self._reader.values(columns)[chosen.name]

    def seeds(self, task: str | None = None) -> Array:
        """Return labels by architecture and seed, NaN if missing; one column if there are no seeds.

        Raises:
            InputError: there is no such task.
        """
        chosen = self._task(task)
        if chosen.runs:
            columns = {name: (chosen.part, name, 1.0) for name in chosen.runs}
            return self._reader.values(columns).to_numpy(dtype=np.float64)
        return self._reader.runs(chosen.part, str(chosen.column))

    def noise_ceiling(self, task: str | None = None) -> NoiseCeiling | None:
        """Compare the seeds; return None without two seeds of at least ten architectures.

        Raises:
            InputError: there is no such task.

        Example:
            >>> runs = pd.DataFrame({"s0": range(10), "s1": [1, 0, *range(2, 10)]}, dtype=float)
            >>> runs.index = pd.Index(list("abcdefghij"))
            >>> mine = Table.from_frame("mine", runs, [Task("acc", "%", runs=("s0", "s1"))])
            >>> round(mine.noise_ceiling().between, 3)
            0.956
        """
        from ...metrics import kendall  # scipy, which takes long to load, and no network needs

        runs = self.seeds(task)
        runs = runs[np.isfinite(runs).all(axis=1)]
        count, seeds = runs.shape
        if seeds < 2 or count < _FEWEST:
            return None
        pairs = [kendall(runs[:, i], runs[:, j]) for i, j in combinations(range(seeds), 2)]
        mean = runs.mean(axis=1)
        to_mean = [kendall(runs[:, i], mean) for i in range(seeds)]
        return NoiseCeiling(float(np.mean(pairs)), float(np.mean(to_mean)), seeds, count)

    def agreement(self, task: str | None = None) -> dict[str, float]:
        """Compare a label with other measurements of the same networks, by Kendall's tau-b.

        If there are no seeds, this bounds the tau that a ranking can reach. Other measurements use
        the same weights on other images or with other labels, or another length of training.

        Returns:
            Name of the other task -> tau, for the tasks that the published table names; often none.

        Raises:
            InputError: there is no such task.

        Example:
            >>> frame = pd.DataFrame({"short": [1.0, 2.0, 3.0], "long": [1.0, 3.0, 2.0]})
            >>> frame.index = pd.Index(["a", "b", "c"])
            >>> tasks = [Task("long", "%", again=("short",)), Task("short", "%")]
            >>> round(Table.from_frame("mine", frame, tasks).agreement("long")["short"], 3)
            0.333
        """
        from ...metrics import kendall

        chosen = self._task(task)
        found = {}
        for other in chosen.again:
            if other in self.tasks:
                both = np.stack([self._labels(chosen.name), self._labels(other)])
                both = both[:, np.isfinite(both).all(axis=0)]
                found[other] = kendall(both[0], both[1])
        return found

    @cached_property
    def context(self) -> pd.DataFrame:
        """The training and evaluation of each network; the frame often has no columns."""
        return self._reader.words(self._context)

    @cached_property
    def costs(self) -> pd.DataFrame:
        """Parameters, multiply-adds and the like; `definitions` says what each column counts."""
        return self._reader.values(self._costs)

    @cached_property
    def hardware(self) -> pd.DataFrame:
        """Latency, energy and other figures on devices; `units` has their units."""
        return self._reader.values(self._hardware)

    @cached_property
    def proxies(self) -> pd.DataFrame:
        """Published zero-cost scores, as ``task/proxy``; NaN if one failed.

        Proxies that failed for all architectures are left out.
        """
        return self._reader.values(self._proxies).dropna(axis="columns", how="all")

    def lookup(self, architecture: str, task: str | None = None) -> float:
        """Look up the label of one architecture, NaN if it is missing.

        Raises:
            InputError: there is no such architecture or task; the message names near ones.
        """
        position = self._position(architecture)
        return float(self._labels(self._task(task).name).iloc[position])

    def __getitem__(self, architecture: str) -> dict[str, Any]:
        """Return all figures of one architecture: labels, costs, hardware, proxies and context."""
        position = self._position(architecture)
        row: dict[str, Any] = {"architecture": architecture}
        row |= {name: float(self._labels(name).iloc[position]) for name in self.tasks}
        for frame in (self.costs, self.hardware, self.proxies):
            row |= {str(name): float(value) for name, value in frame.iloc[position].items()}
        row |= {str(name): value for name, value in self.context.iloc[position].items()}
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
            # comparing with all is slow; only the longest common beginnings are compared
            likely = heapq.nlargest(300, self.architectures, key=lambda name: _alike(name, text))
            near = difflib.get_close_matches(text, likely, n=3, cutoff=0.5) or likely[:3]
            raise InputError(
                f"architecture: got {architecture!r}, which {self.name} does not hold; "
                f"near ones are {', '.join(map(repr, near))}"
            ) from error
        assert isinstance(found, int)  # the index is unique
        return found


def _with_column(task: Task, column: str) -> Task:
    return replace(task, column=column)


def _alike(first: str, second: str) -> int:
    """Return the length of the common beginning of two strings."""
    count = 0
    for a, b in zip(first, second, strict=False):
        if a != b:
            break
        count += 1
    return count
