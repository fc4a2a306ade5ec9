"""Learning from trained candidates: labels correct the previous ranking."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ..basics import Array
from ..errors import InputError, did_you_mean
from ..predictors.features.columns import GROUPS
from ..predictors.label_files import read_labels
from ..predictors.pretrained.families import Slopes
from ..predictors.pretrained.shipped import shipped
from ..predictors.pretrained.zero_shot import ZeroShot
from ..predictors.reading import Sample
from ..predictors.tabular.additive import AdditiveProcess
from ..scoring.rows import Row
from .aggregation import combined, mean_over_seeds
from .criteria import AUTO, Column

Measured = Mapping[str, float] | pd.Series | str | Path
"""Labels by name of candidate, or the CSV file that holds them."""
FEWEST = 3
"""Fewer labels than this say nothing of how far a ranking can be trusted."""
LEARNT = "expected"
"""The label of a column of expected labels."""
PARTS = (*GROUPS, "paths", "edges", "neighbourhoods", "scores")
"""What the process learns from beside the score."""


@dataclass(frozen=True)
class Learnt:
    """Expected labels of all candidates, given the labels of some.

        y = a + b z + f(x),   f ~ GP

    z is the score before any label, standardised over the candidates. b has a prior from families
    that the shipped predictor knows (``known_slopes``). f is an
    ``AdditiveProcess`` on the graph and the scores, scaled by all candidates. A labelled candidate
    keeps its label, without error.

    Attributes:
        measured: labels by name of candidate, larger is better.

    Notes:
        The model is our choice.
    """

    measured: Mapping[str, float]

    def column(self, rows: Sequence[Row], columns: Sequence[Column], combine: str) -> Column:
        """Turn what criteria say of all rows into one column of expected labels.

        Raises:
            InputError: too few of the rows have labels, or all have the same.
        """
        before = combined(mean_over_seeds(np.stack([c.values for c in columns], axis=1)), combine)
        labels = np.array([self.measured.get(row.name, np.nan) for row in rows])
        check_enough(labels)
        graphs = np.array([row.graph is not None for row in rows])
        asked = np.flatnonzero(np.isfinite(before) & graphs)
        known = np.isfinite(labels[asked])
        mean, error = np.full(len(rows), np.nan), np.full(len(rows), np.nan)
        if known.sum() >= FEWEST:
            samples = [plain_sample(rows[i]) for i in asked.tolist()]
            slopes = known_slopes([column.label for column in columns], samples)
            mean[asked], error[asked] = expected(before[asked], samples, labels[asked], slopes)
        told = np.isfinite(labels)
        mean[told], error[told] = labels[told], 0.0
        details = {"measured": labels}
        for column in columns:
            details[column.label] = column.sign * mean_over_seeds(column.values)
            details |= column.details
        return Column(LEARNT, mean[:, None], 1.0, error, details)


def check_enough(labels: Array) -> None:
    """Raise an InputError if too few candidates have labels (NaN if none), or all have the same."""
    known = labels[np.isfinite(labels)]
    if len(known) < FEWEST or np.ptp(known) == 0:
        same = " of one value" if len(known) >= FEWEST else ""
        raise InputError(
            f"measured: got labels of {len(known)} candidates{same}, expected at least "
            f"{FEWEST} that differ; train some more, or rank without labels"
        )


def known_slopes(by: Sequence[str], samples: Sequence[Sample]) -> Slopes:
    """Return the slopes that families have over such scores.

    The default ranking of real networks is trusted as far as it was right on held-out families of
    them, every other score as far as what sizes and proxies say together.

    Args:
        by: the labels of the criteria.
        samples: the candidates.
    """
    known: ZeroShot = shipped().knowledge
    return known.slopes(known.basis(samples) if [*by] == [AUTO] else "proxies")


def expected(
    before: Array, samples: Sequence[Sample], labels: Array, slopes: Slopes
) -> tuple[Array, Array]:
    """Return expected labels (n,) and their standard deviations (n,); see ``Learnt``.

    Args:
        before: scores before any label (n,), larger is better.
        samples: what is known of each candidate.
        labels: (n,), NaN where there is none.
        slopes: what slopes families have over such scores (``known_slopes``).
    """
    known = np.flatnonzero(np.isfinite(labels))
    centre, spread = labels[known].mean(), labels[known].std()
    if spread == 0:
        return np.full(len(labels), centre), np.full(len(labels), np.nan)
    deviation = before.std()
    z = (before - before[known].mean()) / (deviation if deviation > 0 else 1.0)
    y = (labels[known] - centre) / spread
    slope, doubt = slopes.given(z[known], y)
    process = AdditiveProcess(PARTS).fit_among(samples, known, y - slope * z[known])
    left, error = process.predict(samples, return_std=True)
    return centre + spread * (slope * z + left), spread * np.sqrt(error**2 + doubt * z**2)


def plain_sample(row: Row) -> Sample:
    """Return a row as a process reads it: its graph, and means of scores over seeds."""
    assert row.graph is not None
    return Sample(
        row.graph, scores={name: float(np.mean(found)) for name, found in row.scores.items()}
    )


def read_measured(measured: Measured, names: Sequence[str]) -> dict[str, float]:
    """Return labels by name of candidate, averaged if a candidate has several.

    Args:
        measured: a mapping, or a CSV file of names in the first column and labels in the second.
        names: of the candidates. Names in a file may include it, as in ``models.py:net``.

    Raises:
        InputError: a label is not a number, or does not belong to a candidate, or there are too
            few.
    """
    if isinstance(measured, (str, Path)):
        given, values = read_labels(measured)
    else:
        series = pd.Series(measured)
        given, values = [*map(str, series.index)], series.tolist()
    table = pd.DataFrame({"name": given, "label": pd.to_numeric(values, errors="coerce")})
    table["name"] = [_called(name, names) for name in table["name"]]
    if not np.isfinite(table["label"]).all():
        bad = table.loc[~np.isfinite(table["label"]), "name"].iloc[0]
        raise InputError(f"measured: the label of {bad!r} is not a number; leave it out")
    means = table.groupby("name")["label"].mean()
    check_enough(means.to_numpy())
    return {str(name): float(mean) for name, mean in means.items()}


def _called(name: str, names: Sequence[str]) -> str:
    """Return what a candidate is called among the candidates."""
    for spelt in (name, name.rpartition(".py:")[2]):
        if spelt in names:
            return spelt
    raise InputError(
        f"measured: {name!r} is not one of the candidates; {did_you_mean(name, names)}"
        f"they are {', '.join(names[:8])}{', ...' if len(names) > 8 else ''}; "
        "rank it with the others, or leave its label out"
    )
