"""The catalogue of sets and tables, which are found in the folders next to this file."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

from ...errors import InputError
from .contract import Table
from .published import Columns, DataSet, Group, Published, Task
from .reading import ParquetReader, data_folder
from .sources import sources


def _found() -> Iterator[DataSet]:
    """Yield the set of every module in the rooms beside this file."""
    for room in iter_modules([str(Path(__file__).parent)]):
        if room.ispkg:
            package = import_module(f".{room.name}", __package__)
            for module in iter_modules(package.__path__):
                yield import_module(f".{module.name}", package.__name__).SET


SETS: dict[str, DataSet] = {found.name: found for found in _found()}
"""All sets by name; the name is the name of the folder."""

TABLES: dict[str, Published] = {
    name: published for found in SETS.values() for name, published in found.tables.items()
}
"""All tables by name."""


def tables() -> list[str]:
    """List the names of all tables, including those that are not installed.

    Example:
        >>> "nasbench201" in tables()
        True
    """
    return list(TABLES)


def table(name: str, folder: Path | None = None) -> Table:
    """Open a published table by name, from the data folder (``$ARCHRANK_DATA``, or the cache).

    Only the names of columns are read at once; figures are read when needed. Columns that the
    public files do not hold are left out.

    Raises:
        InputError: there is no such table, or it is not installed; the message says how to get it.
    """
    if name not in TABLES:
        near = difflib.get_close_matches(str(name), TABLES, n=3)
        hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
        raise InputError(f"name: got {name!r}, expected a table: {', '.join(TABLES)}{hint}")
    published = TABLES[name]
    folder = Path(folder) if folder is not None else data_folder()
    reader = ParquetReader(published, {file: path_of(file, folder) for file in published.files})
    needed = [published.parts[part] for part in published.index]
    for file in (file for part in needed for file in (part.file, part.named_by) if file):
        if not path_of(file, folder).is_file():
            raise InputError(
                f"name: the data of {name!r} are not installed ({file}.parquet in {folder}). "
                f"Get them with: archrank data fetch {name}. Or set ARCHRANK_DATA to the folder "
                "that holds them"
            )
    tasks: dict[str, Task] = {}
    for task in published.tasks:
        here = reader.columns(task.part)
        runs = tuple(column for column in task.runs if column in here)
        if task.column in here or (task.column is None and runs):
            tasks[task.name] = replace(task, runs=runs)
    units: dict[str, str] = {}
    hardware = _select(published.hardware, reader, units)
    costs = _select(published.costs, reader, {})
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
        _reader=reader,
        _costs=costs,
        _hardware=hardware,
        _proxies=_select(published.proxies, reader, {}),
        _context=_select(published.context, reader, {}),
    )


def sets_of(name: str) -> list[str]:
    """Return the names of the sets that hold a table's figures; the name of a set gives itself.

    Raises:
        InputError: the name is neither that of a table nor that of a set.

    Example:
        >>> sets_of("transnas101_micro"), sets_of("nbsuite_zero")
        (['transnas101', 'nbsuite_zero'], ['nbsuite_zero'])
    """
    if name in TABLES:
        parts = TABLES[name].parts.values()
        return list(dict.fromkeys(part.file.split("/")[0] for part in parts))
    if name in SETS:
        return [name]
    known = [*TABLES, *(found for found in SETS if found not in TABLES)]
    near = difflib.get_close_matches(str(name), known, n=3)
    hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
    raise InputError(f"name: got {name!r}, expected one of {', '.join(known)}{hint}")


def _select(groups: Sequence[Group], reader: ParquetReader, units: dict[str, str]) -> Columns:
    """Pick the columns that match patterns; the first column of a name wins."""
    found: dict[str, tuple[str, str, float]] = {}
    for one in groups:
        for column in reader.columns(one.part):
            match = one.pattern.fullmatch(column)
            if match is None:
                continue
            name = match.expand(one.name)
            if name not in found:
                found[name] = (one.part, column, one.scale)
                units[name] = one.unit
    return found


def data_set(name: str) -> DataSet:
    """Find one set by its name.

    Raises:
        InputError: there is no set of that name.

    Example:
        >>> data_set("nats_sss").files[0].rows
        32768
    """
    if name not in SETS:
        raise InputError(f"name: got {name!r}, expected a set: {', '.join(SETS)}")
    return SETS[name]


def path_of(file: str, folder: Path) -> Path:
    """Return the path of a compact table, named ``set/file``, whether it exists or not.

    Example:
        >>> path_of("nats_sss/nats_sss_cifar10", Path("here")).as_posix()
        'here/nats_sss/nats_sss_cifar10.parquet'
    """
    owner, _, name = file.partition("/")
    return data_set(owner).home(folder) / f"{name}.parquet"
