"""Predictions for many architectures, as ``archrank predict`` does."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..basics import Array, Progress
from ..errors import ArchrankError
from ..scoring.processes import in_processes
from .contract import Predictor
from .fitting import candidates_of, readable
from .loading import load_predictor

_SHARE = 1024  # architectures that a process predicts together
_WORTH_PROCESSES = 4 * _SHARE  # fewer architectures take less time than starting processes


def predict(
    predictor: Predictor,
    names: Sequence[str],
    jobs: int = 1,
    progress: Progress | None = None,
) -> pd.DataFrame:
    """Return predictions, best first, in the columns ``name``, ``predicted`` and ``std``.

    ``jobs`` processes compute the proxies that the predictor needs, and share the predictions of
    many architectures. ``progress`` is called as by ``fit``; during predictions, its text is
    "predicted".

    Raises:
        InputError: a name is neither an architecture of the predictor's space nor a candidate.
    """
    import pandas as pd

    found = candidates_of(predictor, names)
    given = names if found is None else [candidate.name for candidate in found]
    read = readable(predictor, names, jobs, progress=progress)
    strings = isinstance(predictor.space, str) and all(isinstance(item, str) for item in read)
    if jobs > 1 and strings and len(read) >= _WORTH_PROCESSES:
        mean, std = _predicted_in_processes(predictor, read, jobs, progress)
    else:
        mean, std = predicted(predictor, read)
    table = pd.DataFrame({"name": list(given), "predicted": mean, "std": std})
    upwards = [not predictor.higher_is_better, True]
    table = table.sort_values(["predicted", "name"], ascending=upwards, kind="stable")
    return table.reset_index(drop=True)


def predicted(predictor: Predictor, read: Sequence[Any]) -> tuple[Array, Array]:
    """Return means and standard deviations, which are NaN if the predictor gives none."""
    if predictor.gives_std:
        mean, std = predictor.predict(read, return_std=True)
        return mean, std
    mean = predictor.predict(read)
    return mean, np.full(len(mean), np.nan)


@dataclass(frozen=True)
class _Share:
    """Architectures that one process predicts together, with the folder of the predictor."""

    model: Path
    places: list[int]
    archs: list[str]


def _predicted_in_processes(
    predictor: Predictor, archs: Sequence[str], jobs: int, progress: Progress | None
) -> tuple[Array, Array]:
    """Return the result of ``predicted`` from several processes.

    Equal architectures go to the same process.
    """
    mean, std = np.zeros(len(archs)), np.zeros(len(archs))
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "model"
        predictor.save(model)
        parts = predictor.reader.parts(archs, _SHARE)
        shares = [_Share(model, part, [archs[i] for i in part]) for part in parts]
        done = 0
        with closing(in_processes(_predict_share, shares, jobs, _share_died)) as results:
            for share, (means, deviations) in results:
                mean[share.places], std[share.places] = means, deviations
                done += len(share.places)
                if progress is not None:
                    progress(done, len(archs), "predicted")
    return mean, std


def _predict_share(share: _Share) -> tuple[Array, Array]:
    return predicted(_loaded(share.model), share.archs)


@lru_cache(maxsize=1)
def _loaded(model: Path) -> Predictor:
    return load_predictor(model)


def _share_died(share: _Share, how: str) -> tuple[Array, Array]:
    raise ArchrankError(
        f"predict: the process of {len(share.archs)} architectures from {share.archs[0]!r} on "
        f"{how}; with fewer jobs each has more memory"
    )
