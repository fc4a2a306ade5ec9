"""Published files to the compact tables, one module per family of files."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING

from ...errors import InputError

if TYPE_CHECKING:
    import pandas as pd

    from .raw import Raw

_HOME = {
    "nasbench201": "nasbench201:frames",
    "transnas101": "transnas101:frames",
    "nbsuite_zero": "suite_zero:frames",
    "nasbench101_small": "nasbench101:small",
    "ec_nas": "nasbench101:ec_nas",
    "nats_sss": "single:nats_sss",
    "nas_bench_macro": "single:nas_bench_macro",
    "accel_nasbench": "single:accel_nasbench",
    "ofa_mbv3": "single:ofa_mbv3",
    "enas_dvae": "single:enas",
    "flexibert": "single:flexibert",
    "hat_latency": "single:hat_latency",
}
"""Where each set's importer is. hw_gpt_bench, nas_bench_graph and help_latency have none: what is
published of them could only be unpickled. Their compact tables can be imported.
"""


def importers() -> list[str]:
    """The sets whose published files can be converted.

    Example:
        >>> "nats_sss" in importers()
        True
    """
    return list(_HOME)


def convert(name: str, raw: Raw) -> dict[str, pd.DataFrame]:
    """The compact tables of one set, by file name without suffix, from its published files.

    Columns whose file is not there are left out; values that stand for a failure are missing.

    Raises:
        InputError: the set has no importer, or a file without which there is no table is missing.
        DamagedFileError: a file cannot be read, or is not what its name says.
    """
    from .raw import DamagedFileError

    if name not in _HOME:
        raise InputError(
            f"name: got {name!r}, expected a set whose published files can be converted: "
            f"{', '.join(_HOME)}; of others, import the compact table (.parquet)"
        )
    module, function = _HOME[name].split(":")
    read: Callable[[Raw], dict[str, pd.DataFrame]] = getattr(
        import_module(f".{module}", __name__), function
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
    """Values that stand for a failed measurement (-1e8, infinities) become missing values.

    Example:
        >>> import pandas as pd
        >>> without_sentinels(pd.DataFrame({"zen": [1.5, -1e8, float("-inf")]}))["zen"].tolist()
        [1.5, nan, nan]
    """
    import numpy as np

    floats = frame.select_dtypes(["float32", "float64"])
    bad = (floats == -1e8) | np.isinf(floats)
    if not bad.to_numpy().any():
        return frame
    return frame.assign(**{str(name): floats[name].mask(bad[name]) for name in floats})
