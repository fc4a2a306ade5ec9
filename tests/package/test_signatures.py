"""Public functions call the same thing by the same name, and take it in the same order."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest

import archrank
from archrank import benchmark, predictors, search

FUNCTIONS: dict[str, Callable[..., Any]] = {
    "trace": archrank.trace,
    "score": archrank.score,
    "rank": archrank.rank,
    "measure": archrank.measure,
    "benchmark.run": benchmark.run,
    "benchmark.judge": benchmark.judge,
    "benchmark.write_report": benchmark.write_report,
    "search.assist": search.assist,
    "search.Screener": search.Screener,
    "search.Searcher": search.Searcher,
    "predictors.samples": predictors.samples,
    "predictors.with_context": predictors.with_context,
    "load_predictor": archrank.load_predictor,
}
ORDER = (
    *("inputs", "targets", "by", "proxies", "loss", "combine", "sample", "seeds", "seed"),
    *("device", "batch_size", "batch_sizes", "batches", "limits", "costs", "latency"),
    *("jobs", "engine", "address", "progress", "callback"),
)
SYNONYMS = frozenset(
    "batch bs batchsize n_jobs workers num_workers processes input shape input_shape target label "
    "criterion proxy metric metrics models nets networks callback_fn random_state rng verbose "
    "num_seeds repeats cuda".split()
)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_names_and_order(name: str) -> None:
    parameters = [*inspect.signature(FUNCTIONS[name]).parameters]
    assert not SYNONYMS.intersection(parameters)
    known = [p for p in parameters if p in ORDER]
    assert known == sorted(known, key=ORDER.index), f"{name}: {known}"


def test_score_and_rank_begin_alike() -> None:
    score = [*inspect.signature(archrank.score).parameters][1:4]
    rank = [*inspect.signature(archrank.rank).parameters][1:4]
    assert score == ["inputs", "targets", "proxies"]
    assert rank == ["inputs", "targets", "by"]


def test_defaults_agree() -> None:
    for name in ("seed", "batch_size"):
        found = {
            inspect.signature(one).parameters[name].default
            for one in FUNCTIONS.values()
            if name in inspect.signature(one).parameters
        }
        assert len(found) == 1, (name, found)
