"""Scores of whole populations, by hand and through ``rank``."""

from __future__ import annotations

import numpy as np
import pytest
import tiny_networks as nets
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import archrank
from archrank.proxies import get
from archrank.ranking.aggregation import POPULATION, combined

NETWORKS = {
    f"{channels} x {depth}": torch.nn.Sequential(
        *(
            layer
            for i in range(depth)
            for layer in (
                torch.nn.Conv2d(3 if i == 0 else channels, channels, 3, padding=1),
                torch.nn.BatchNorm2d(channels),
                torch.nn.ReLU(),
            )
        ),
        torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Flatten(),
        torch.nn.Linear(channels, 10),
    )
    for channels in (4, 8)
    for depth in (2, 3)
}


@pytest.mark.parametrize("population", POPULATION.values(), ids=lambda p: p.name)
def test_populations_name_proxies(population) -> None:
    assert population.summary.endswith(".")
    for proxy in population.proxies:
        assert get(proxy).name == proxy


def test_az_nas_is_the_sum_of_log_ranks() -> None:
    ranking = archrank.rank(NETWORKS, (3, 8, 8), by="az_nas", batch_size=8)
    scored = {
        name: archrank.score(net, (3, 8, 8), proxies=POPULATION["az_nas"].proxies, batch_size=8)
        for name, net in NETWORKS.items()
    }
    table = np.array([[r.value for r in scores.values()] for scores in scored.values()])
    expected = np.log(stats.rankdata(table, axis=0) / len(table)).mean(axis=1)
    assert ranking.table["az_nas"].tolist() == sorted(expected, reverse=True)
    assert ranking.table["score"].tolist() == pytest.approx(ranking.table["az_nas"].tolist())


def test_a_missing_value_ranks_last_where_the_paper_says_so() -> None:
    table = np.array([[1.0, 1.0], [2.0, np.nan], [3.0, 3.0], [np.nan, np.nan]])
    te_nas = POPULATION["te_nas"].score(table)
    assert te_nas[:3] == pytest.approx([0.25, 0.25, 1.0])
    assert np.isnan(te_nas[3])
    vote = POPULATION["vote"].score(np.column_stack([table, table[:, 0]]))
    assert vote[2] == 1.0


def test_populations_mix_with_proxies_and_controls() -> None:
    ranking = archrank.rank(
        [nets.narrow, nets.wide, nets.narrow_again],
        (3, 16, 16),
        by="vote,params,vote|params",
        batch_size=8,
        seeds=2,
    )
    assert {"vote", "vote std", "params", "vote|params"} <= set(ranking.table.columns)
    assert ranking.table["vote"].between(0, 1).all()


def test_options_with_commas_in_a_list() -> None:
    by = "swap_regular[mu=0.5,sigma=1000],params"
    ranking = archrank.rank(NETWORKS, (3, 8, 8), by=by, batch_size=8)
    assert "swap_regular[mu=0.5,sigma=1000]" in ranking.table.columns
    assert ranking.failures.empty


values = st.lists(
    st.tuples(st.integers(-9, 9), st.integers(-9, 9), st.integers(-9, 9)), min_size=2, max_size=12
)


@given(values, st.sampled_from(["mean_rank", "log_rank", "vote"]))
@settings(max_examples=80, deadline=None)
def test_combining_keeps_dominance_and_ignores_scale(rows, combine) -> None:
    table = np.array(rows, dtype=float)
    score = combined(table, combine)
    for i in range(len(table)):
        for j in range(len(table)):
            if (table[i] > table[j]).all():
                assert score[i] > score[j]
    assert combined(np.arctan(table) * 7 + 1, combine) == pytest.approx(score)
    order = np.random.default_rng(0).permutation(len(table))
    assert combined(table[order], combine) == pytest.approx(score[order])


def test_vote_by_hand() -> None:
    # a beats b by 2:1, b beats c by 2:1, c beats a by 2:1: everyone wins half
    table = np.array([[3.0, 2.0, 1.0], [2.0, 1.0, 3.0], [1.0, 3.0, 2.0]])
    assert combined(table, "vote").tolist() == [0.5, 0.5, 0.5]


def test_log_rank_is_az_nas() -> None:
    table = np.array([[1.0, 30.0], [2.0, 10.0], [3.0, 20.0], [4.0, 40.0]])
    ranks = np.array([[1, 3], [2, 1], [3, 2], [4, 4]])
    assert combined(table, "log_rank") == pytest.approx(np.log(ranks / 4).sum(axis=1) / 2)
