"""Measurements that evidence is made of."""

from __future__ import annotations

import numpy as np
import torch

import archrank
from archrank.predictors.features.columns import read_columns
from archrank.predictors.features.evidence import (
    EVIDENCE,
    KINDS,
    MEASURED,
    PROXIES,
    measurements,
    table_of,
)
from archrank.predictors.reading import Sample
from archrank.proxies import get


def _graph() -> archrank.Graph:
    return archrank.trace(torch.nn.Linear(4, 2), (4,))


def test_every_measurement_is_of_one_kind() -> None:
    assert sorted(MEASURED) == sorted({name for names in KINDS.values() for name in names})
    assert set(MEASURED) - set(PROXIES) == {"params", "flops", "activations"}


def test_proxies_that_fall_with_accuracy_change_sign() -> None:
    graph = _graph()
    row = dict(zip(MEASURED, measurements(graph, {"near": 2.0}), strict=True))
    assert row["near"] == (2.0 if get("near").higher_is_better else -2.0)
    assert row["params"] == graph.params
    assert np.isnan(row["zico"])
    assert table_of([]).shape == (0, len(MEASURED))


def test_the_score_that_says_all_is_a_column() -> None:
    graph = _graph()
    columns = read_columns([Sample(graph, scores={EVIDENCE: 1.5}), Sample(graph)], ("evidence",))
    assert columns.tables["evidence"].tolist() == [[1.5], [0.0]]
