"""Descriptions of published figures: a set's files and licence, and the meaning of its columns."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import pandas as pd

    from .raw import Raw

Label = Literal["trained", "weight-shared", "surrogate", "measured"]

Columns = Mapping[str, tuple[str, str, float]]
"""Name -> the part that holds a column, the column's name there, and a factor."""

PARAMS = "all learnable parameters, classifier included"
MACS = "multiply-adds of convolutions and linear layers, without biases, batch of one"


@dataclass(frozen=True)
class Task:
    """One label of a table: its meaning, its direction, and its source.

    `label` says how the figure was made: by training each network separately ("trained"), with
    weights shared in a supernet ("weight-shared"), by a model's prediction ("surrogate"), or on a
    device ("measured"). Name it wherever weight-shared or surrogate figures are reported.

    `part`, `column` and `runs` locate the figures: the column of the label, and the columns of its
    single seeds. Without a column, the label is the mean of the seeds. `again` names tasks that
    measure the same networks once more in another way, for `Table.agreement`.
    """

    name: str
    metric: str
    direction: int = 1
    label: Label = "trained"
    epochs: int | None = None
    column: str | None = None
    runs: tuple[str, ...] = ()
    part: str = "main"
    again: tuple[str, ...] = ()


@dataclass(frozen=True)
class Part:
    """Rows of one compact table, with the spelling of their architectures.

    `spell` makes a string from the columns `key`; without `spell`, the only column is that string.
    `named_by` is another file whose rows with the same key hold the string as ``arch_str``.
    """

    file: str
    key: tuple[str, ...]
    spell: Callable[..., str] | None = None
    where: tuple[tuple[str, str, Any], ...] = ()
    named_by: str | None = None
    repeats_are_seeds: bool = False


@dataclass(frozen=True)
class Group:
    """The columns of a part whose names match a pattern, with their new names."""

    part: str
    pattern: re.Pattern[str]
    name: str = r"\g<0>"
    unit: str = ""
    scale: float = 1.0


def group(
    part: str, pattern: str, name: str = r"\g<0>", unit: str = "", scale: float = 1.0
) -> Group:
    """Group the columns whose whole name fits a pattern; `name` may refer to parts of it.

    Example:
        >>> group("main", "zc_(.+)", r"cifar10/\\1").pattern.fullmatch("zc_snip").expand(r"\\1")
        'snip'
    """
    return Group(part, re.compile(pattern), name, unit, scale)


@dataclass(frozen=True)
class Published:
    """One table, with the places of all its figures."""

    title: str
    space: str | None
    parts: dict[str, Part]
    index: tuple[str, ...] = ("main",)
    tasks: tuple[Task, ...] = ()
    costs: tuple[Group, ...] = ()
    hardware: tuple[Group, ...] = ()
    proxies: tuple[Group, ...] = ()
    context: tuple[Group, ...] = ()
    definitions: dict[str, str] = field(default_factory=dict)

    @property
    def files(self) -> set[str]:
        """The compact tables that its parts are in, as ``set/file``."""
        named = (part.named_by for part in self.parts.values() if part.named_by is not None)
        return {*(part.file for part in self.parts.values()), *named}


@dataclass(frozen=True)
class File:
    """One compact table: its name without ``.parquet``, its rows, and the columns that it always
    has."""

    name: str
    rows: int
    columns: tuple[str, ...]


@dataclass(frozen=True)
class DataSet:
    """One set: a folder of compact tables, which are made from public files or come with the
    package.

    Attributes:
        name: the name of the folder and of the module that describes the set.
        title, licence, notes: a description.
        files: the compact tables.
        tables: the tables that are read from the files, by name.
        read: the function that makes the compact tables from the public files, by name without
            suffix. It is None if the published files are pickles, so that only compact tables can
            be imported.
        embedded: whether the set comes with the package.
    """

    name: str
    title: str
    licence: str
    files: tuple[File, ...]
    tables: Mapping[str, Published]
    read: Callable[[Raw], dict[str, pd.DataFrame]] | None = None
    notes: str = ""
    embedded: bool = False

    def home(self, folder: Path) -> Path:
        """Return the folder of its compact tables, below the data folder or in this package."""
        return (Path(__file__).parents[1] if self.embedded else folder) / self.name
