"""Words of cells, against walks enumerated one by one."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from archrank import trace
from archrank.data import space
from archrank.predictors.features.cells import cell_counts, cells, counts_of, reduction_counts

SEPARABLE = "depthwise{0} conv1 depthwise{0} conv1"
ARCS = {
    "max_pool_3x3": "max_pool",
    "avg_pool_3x3": "avg_pool",
    "skip_connect": "skip",
    "sep_conv_3x3": SEPARABLE.format(3),
    "sep_conv_5x5": SEPARABLE.format(5),
    "dil_conv_3x3": "depthwise3~ conv1",
    "dil_conv_5x5": "depthwise5~ conv1",
}
DARTS, NB201 = space("nasbench301"), space("nasbench201")


def walks(cell, node, share, passed=()):
    """Each walk from a node back to an entry: its arcs, the last first, the entry, its share."""
    if node < 2:
        yield passed, 2 - node, share
        return
    for operator, source in cell[node - 2]:
        yield from walks(cell, source, share / 2, (*passed, ARCS[operator]))


def enumerated(cell) -> dict[str, float]:
    counts: Counter[str] = Counter()
    for node in range(2, 6):
        for passed, entry, share in walks(cell, node, 0.25):
            counts["length"] += share * len(passed)
            counts[f"last {passed[0]}"] += share
            counts[f"first {passed[-1]} of {entry}"] += share
            for arc in passed:
                counts[f"visits {arc}"] += share
            counts["depth"] = max(counts["depth"], len(passed))
    return counts


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000))
def test_normal_cells_of_darts_are_walked_as_enumerated(seed: int) -> None:
    (arch,) = DARTS.sample(1, seed=seed)
    normal, _ = DARTS.wirings(DARTS.parse(arch))
    read = {source for node in normal for _, source in node if source < 2}
    found = counts_of(cells(DARTS.graph(arch))[1])
    expected = enumerated(normal)
    if read == {0, 1}:  # else the one that is read counts as the latest
        assert {word: share for word, share in found.items() if share} == pytest.approx(expected)
    else:
        assert found["length"] == pytest.approx(expected["length"])


def test_networks_of_darts_have_as_many_cells_as_were_built() -> None:
    for arch in DARTS.sample(5, seed=1):
        found = cells(DARTS.graph(arch))
        assert len(found) == 8
        assert [i for i, cell in enumerate(found) if cell.reduces] == [2, 5]


def test_a_graph_adds_its_cells_up() -> None:
    graph = NB201.graph(NB201.sample(1, seed=4)[0])
    totals: tuple[Counter[str], Counter[str]] = (Counter(), Counter())
    for cell in cells(graph):
        totals[cell.reduces].update(counts_of(cell))
    assert cell_counts(graph) == pytest.approx(totals[0])
    assert reduction_counts(graph) == pytest.approx(totals[1])


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000))
def test_every_walk_ends_at_an_entry(seed: int) -> None:
    for name in ("nasbench201", "nasbench101", "enas"):
        chosen = space(name)
        for cell in cells(chosen.graph(chosen.sample(1, seed=seed)[0])):
            counts = counts_of(cell)
            for how in ("first", "last"):
                share = sum(v for w, v in counts.items() if w.split()[0] == how)
                assert share <= 1 + 1e-9
            visits = sum(v for w, v in counts.items() if w.split()[0] == "visits")
            assert visits == pytest.approx(counts.get("length", 0))


class Forked(nn.Module):
    """A sum of a convolution and the same input twice."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.two(x)
        return self.one(x) + x


def test_counted_by_hand() -> None:
    counts = cell_counts(trace(Forked(), (4, 8, 8)))
    assert counts == pytest.approx(
        {
            "depth": 1,
            "length": 1,
            **{f"{how} {arc}": 0.5 for how in ("visits", "last") for arc in ("conv3", "skip")},
            **{f"first {arc} of 1": 0.5 for arc in ("conv3", "skip")},
        }
    )


def test_a_chain_has_no_cells() -> None:
    graph = trace(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3)), (3, 8, 8))
    assert cells(graph) == []
    assert cell_counts(graph) == {}
