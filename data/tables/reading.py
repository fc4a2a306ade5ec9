"""Readers of a table's figures, which read only those that are needed."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ...basics import Array
from ...errors import InputError
from .published import Columns, Part, Published


def data_folder() -> Path:
    """Return the data folder: ``$ARCHRANK_DATA``, or else the user's cache folder.

    Example:
        >>> isinstance(data_folder(), Path)
        True
    """
    chosen = os.environ.get("ARCHRANK_DATA")
    if chosen:
        return Path(chosen).expanduser()
    try:
        import pooch
    except ImportError:
        return Path.home() / ".cache" / "archrank"
    return Path(pooch.os_cache("archrank"))


class FrameReader:
    """A reader of a frame as a table."""

    def __init__(self, frame: pd.DataFrame):
        self._frame = frame

    @property
    def index(self) -> pd.Index[str]:
        return self._frame.index

    def values(self, columns: Columns) -> pd.DataFrame:
        found = {name: _clean(self._frame[column]) for name, (_, column, _) in columns.items()}
        return pd.DataFrame(found, index=self.index)

    def words(self, columns: Columns) -> pd.DataFrame:
        """Return the columns as they are."""
        found = {name: self._frame[column] for name, (_, column, _) in columns.items()}
        return pd.DataFrame(found, index=self.index)

    def runs(self, part: str, column: str) -> Array:
        return _clean(self._frame[column])[:, None]


_Rows = tuple[npt.NDArray[np.bool_], npt.NDArray[np.intp], bool]
"""The rows of a part that are in the index, their places there, and whether any repeat."""


class ParquetReader:
    """A reader of compact tables on disk as one table, which reads only needed columns.

    `paths` has the path of each file of `published`.
    """

    def __init__(self, published: Published, paths: Mapping[str, Path]):
        self.published, self.paths = published, paths
        self._schemas: dict[str, list[str]] = {}
        self._known: dict[str, _Rows] = {}

    def columns(self, part: str) -> list[str]:
        """Return the names of a part's columns; there are none if its file does not exist."""
        file = self.published.parts[part].file
        if file not in self._schemas:
            import pyarrow as pa
            import pyarrow.parquet as pq

            path = self.paths[file]
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
        """Return the columns by architecture, as means if rows repeat an architecture."""
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

    def words(self, columns: Columns) -> pd.DataFrame:
        """Return the unchanged columns by architecture, from the first row if rows repeat one."""
        found = {}
        for name, (part, column, _) in columns.items():
            here, at, _ = self._rows(part)
            values = self._read(part, [column])[column][here].set_axis(self.index[at])
            found[name] = values[~values.index.duplicated()].reindex(self.index)
        return pd.DataFrame(found, index=self.index)

    def runs(self, part: str, column: str) -> Array:
        """Return one column by architecture and repetition."""
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

        names, path = list(dict.fromkeys(columns)), self.paths[file]
        try:
            if file == part.file and part.where:
                found = pq.read_table(path, columns=names, filters=list(part.where))
            else:  # many times faster for a few columns
                found = pq.ParquetFile(path).read(columns=names)
        except (OSError, pa.ArrowException) as error:
            raise InputError(
                f"name: {path} cannot be read ({error}); delete it and run: archrank data fetch "
                f"{file.split('/')[0]}"
            ) from error
        frame: pd.DataFrame = found.to_pandas()
        return frame


def _clean(values: pd.Series[Any]) -> Array:
    """Return values as floats; values that stand for a failure become missing."""
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
