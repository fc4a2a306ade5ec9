"""Files of names and labels, written by hand or exported from spreadsheets."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ArchrankWarning, InputError, did_you_mean

if TYPE_CHECKING:
    import pandas as pd

_LOGGER = logging.getLogger("archrank")


def read_labels(path: str | Path, column: str | None = None) -> tuple[list[str], list[float]]:
    """Return the names and labels in a CSV file.

    The columns may be separated by commas, tabs or semicolons; with semicolons, decimal commas are
    allowed. A file may begin with its first label instead of headings. Rows without a label are
    left out, with a warning. All labels may end in %.

    Args:
        path: the file, with names in its first column.
        column: the column of the labels; by default the second.

    Raises:
        InputError: the file cannot be read, lacks the column, or has labels that are not numbers.
    """
    table = _table(Path(path))
    wanted = str(table.columns[1]) if column is None else column
    if wanted not in table.columns:
        known = [str(name) for name in table.columns]
        raise InputError(
            f"column: {str(path)!r} has no column {wanted!r}, {did_you_mean(wanted, known)}only "
            f"{', '.join(known)}"
        )
    if column is None and len(table.columns) > 2:
        _LOGGER.info("labels: those of the column %r; --column names another one", wanted)
    texts = table[wanted].fillna("").str.strip()
    empty = texts.str.casefold().isin(("", "nan", "na", "n/a", "none", "-"))
    values = _numbers(texts[~empty], decimal_comma=table.attrs["decimal_comma"])
    if values.isna().any():
        row = int(values.index[values.isna()][0])
        raise InputError(
            f"labels: row {row + table.attrs['first_row']} of {str(path)!r} has "
            f"{texts[row]!r} in {wanted!r}, expected a number; leave such rows out"
        )
    if empty.all():
        raise InputError(f"labels: {str(path)!r} has no label in {wanted!r}; expected numbers")
    if empty.any():
        warnings.warn(
            f"labels: {int(empty.sum())} of the {len(table)} rows of {str(path)!r} have no label "
            "and are left out",
            ArchrankWarning,
            stacklevel=3,
        )
    return table.iloc[:, 0][~empty].str.strip().tolist(), values.astype(float).tolist()


def _table(path: Path) -> pd.DataFrame:
    """Return the cells of a file as text."""
    import pandas as pd

    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
        first = next((line for line in lines if line.strip()), "")
        separator = max(";\t,", key=first.count)  # in a tie, the comma is a decimal comma
        cells = first.split(separator)
        named = len(cells) < 2 or pd.isna(_number(cells[1], separator == ";"))
        table = pd.read_csv(
            path,
            sep=separator,
            dtype=str,
            header=0 if named else None,
            keep_default_na=False,
            encoding="utf-8-sig",
            skipinitialspace=True,
        )
    except FileNotFoundError:
        raise InputError(f"labels: there is no file {str(path)!r}; check the path") from None
    except (OSError, ValueError) as error:
        said = " ".join(str(error).split())
        raise InputError(f"labels: cannot read {str(path)!r} as a CSV table ({said})") from None
    if len(table.columns) < 2 or table.empty:
        raise InputError(
            f"labels: {str(path)!r} has {len(table.columns)} columns and {len(table)} rows; "
            "expected architectures in the first column and labels in another, separated by commas"
        )
    if named:
        table.columns = table.columns.str.strip()
    else:
        table.columns = pd.Index(["name", "label", *map(str, range(2, len(table.columns)))])
    table.attrs = {"decimal_comma": separator == ";", "first_row": 2 if named else 1}
    return table


def _numbers(texts: pd.Series, decimal_comma: bool) -> pd.Series:
    """Return labels as numbers; NaN if a text is not a number."""
    if texts.str.endswith("%").all():
        texts = texts.str.removesuffix("%")
    return texts.map(lambda text: _number(text, decimal_comma)).astype(float)


def _number(text: str, decimal_comma: bool) -> float:
    """Return the number that a text stands for; NaN if it is not a number."""
    try:
        return float(text.strip().strip('"').replace(",", "." if decimal_comma else ","))
    except ValueError:
        return float("nan")


def read_names(path: str | Path) -> list[str]:
    """Return the names in a file: one per line, or the first column of a ``.csv``.

    Raises:
        InputError: the file cannot be read.
    """
    import pandas as pd

    try:
        if Path(path).suffix == ".csv":
            return pd.read_csv(path, dtype=str).iloc[:, 0].dropna().tolist()
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, ValueError, IndexError) as error:
        raise InputError(f"file: cannot read {str(path)!r} ({error})") from None
    return [line.strip() for line in lines if line.strip()]
