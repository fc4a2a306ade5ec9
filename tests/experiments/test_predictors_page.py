"""The page of predictors: who is ahead, against means by hand."""

from __future__ import annotations

import importlib

import pytest


def line(predictor: str, seed: int, tau: float) -> dict:
    return {
        "problem": "enas",
        "count": 50,
        "predictor": predictor,
        "seed": seed,
        "tau": tau,
    }


def test_who_is_ahead_is_judged_on_the_same_seeds() -> None:
    page = importlib.import_module("predictors")
    results = [
        *(line("ArchRank", seed, tau) for seed, tau in enumerate((0.50, 0.60))),
        *(line("ArchRank, earlier", seed, 0.9) for seed in range(3)),  # an older one counts not
        *(line("ridge, codes", seed, tau) for seed, tau in enumerate((0.54, 0.60, 0.0))),
        *(line("MLP, codes", seed, 0.1) for seed in range(2)),
        *(line("XGBoost, scores", seed, 1.0) for seed in range(2)),  # which know more
    ]
    told = page.ahead(results)
    assert told[0].startswith("Of 1 pairs of a problem and a number of labels these 1,")
    (row,) = told[4:]
    name, count, best, its, ours, gained, seeds = (cell.strip() for cell in row.split("|")[1:-1])
    assert (name, count, best, seeds) == ("enas, cifar10", "50", "ridge, codes", "2")
    assert float(its) == pytest.approx(0.57)
    assert float(ours) == pytest.approx(0.55)
    assert gained.startswith("0.020 ± ")
