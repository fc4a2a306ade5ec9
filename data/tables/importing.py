"""The conversion of published files to compact tables."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ...errors import InputError
from .catalogue import SETS
from .raw import DamagedFileError, Raw


def importers() -> list[str]:
    """List the sets whose published files can be converted.

    Example:
        >>> "nats_sss" in importers()
        True
    """
    return [found.name for found in SETS.values() if found.read is not None]


def convert(name: str, raw: Raw) -> dict[str, pd.DataFrame]:
    """Make the compact tables of one set, by file name without suffix, from its published files.

    Columns of absent files are left out; values that stand for a failure become missing.

    Raises:
        InputError: the set has no importer, or a file that a table needs is missing.
        DamagedFileError: a file cannot be read, or is another file than its name says.
    """
    read = SETS[name].read if name in SETS else None
    if read is None:
        raise InputError(
            f"name: got {name!r}, expected a set whose published files can be converted: "
            f"{', '.join(importers())}; of others, import the compact table (.parquet)"
        )
    try:
        found = read(raw)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, InputError):
            raise
        raise DamagedFileError(
            f"{name}: its published files do not hold what was expected "
            f"({type(error).__name__}: {error}); get them again"
        ) from error
    return {file: without_sentinels(frame) for file, frame in found.items()}


def without_sentinels(frame: pd.DataFrame) -> pd.DataFrame:
    """Make values that stand for a failed measurement (-1e8, infinities) missing.

    Example:
        >>> import pandas as pd
        >>> without_sentinels(pd.DataFrame({"zen": [1.5, -1e8, float("-inf")]}))["zen"].tolist()
        [1.5, nan, nan]
    """
    floats = frame.select_dtypes(["float32", "float64"])
    bad = (floats == -1e8) | np.isinf(floats)
    if not bad.to_numpy().any():
        return frame
    return frame.assign(**{str(name): floats[name].mask(bad[name]) for name in floats})
