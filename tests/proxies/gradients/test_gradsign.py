"""GradSign's forms against each other and against coin tosses."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import archrank
from archrank.proxies.gradients.gradsign import chance
from archrank.proxies.recording.signals import SignSums


@pytest.mark.parametrize("n", range(1, 11))
def test_chance_by_enumeration(n: int) -> None:
    sums = [abs(sum(signs)) for signs in itertools.product((-1, 1), repeat=n)]
    mean, deviation = chance(n)
    assert mean == pytest.approx(np.mean(sums))
    assert deviation == pytest.approx(np.std(sums), abs=1e-7)


@given(st.integers(2, 40), st.integers(1, 200), st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_forms_of_gradsign_agree(n: int, m: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    signs = generator.choice([-1, 0, 1], size=(n, m))
    sums = SignSums(n, {"w": torch.from_numpy(signs.sum(axis=0)).float().view(1, m)})
    forms = {p: archrank.proxies.get(p).function(sums).total for p in ("gradsign", "gradsign_mean")}
    assert forms["gradsign"] == np.abs(signs.sum(axis=0)).sum()
    assert forms["gradsign"] == pytest.approx(m * forms["gradsign_mean"])
    if n > 2:
        mean, deviation = chance(n)
        excess = archrank.proxies.get("gradsign_excess").function(sums).total
        z = archrank.proxies.get("gradsign_z").function(sums).total
        assert excess == pytest.approx(forms["gradsign_mean"] - mean)
        assert z == pytest.approx(excess * math.sqrt(m) / deviation)


def test_coin_tosses_score_zero_whatever_the_size() -> None:
    generator = np.random.default_rng(0)
    for m in (1_000, 100_000):
        signs = generator.choice([-1, 1], size=(64, m)).sum(axis=0)
        sums = SignSums(64, {"w": torch.from_numpy(signs).float().view(1, m)})
        assert abs(archrank.proxies.get("gradsign_z").function(sums).total) < 4
