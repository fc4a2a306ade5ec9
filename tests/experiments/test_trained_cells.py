"""The small network on cells: what it reads of them, and that it learns."""

from __future__ import annotations

import importlib
from types import ModuleType

import numpy as np
import pytest
import torch

from archrank.data import space
from archrank.metrics import kendall
from archrank.predictors.features.cells import Cell, cell_counts, cells


@pytest.fixture
def module() -> ModuleType:
    return importlib.import_module("trained_cells")


@pytest.fixture
def graphs() -> list:
    genotypes = space("nasbench301")
    return [genotypes.graph(arch) for arch in genotypes.sample(24, seed=2)]


def test_networks_are_means_of_their_cells(module: ModuleType, graphs: list) -> None:
    networks = [cells(graph) for graph in graphs[:3]]
    batch = module.batch_of([*networks, []], module.steps_of(networks))
    assert batch.shares.sum(dim=1).tolist() == pytest.approx([1.0] * 6 + [0.0, 0.0])
    counted = torch.expm1(batch.numbers).sum(dim=1).tolist()
    assert counted == pytest.approx([*map(len, networks), 0], abs=1e-3)
    assert len(batch.ends) == len({cell for network in networks for cell in network})


def test_predictions_do_not_depend_on_the_other_networks(module: ModuleType, graphs: list) -> None:
    networks: list[list[Cell]] = [cells(graph) for graph in graphs[:4]]
    steps = module.steps_of(networks)
    network = module.CellNetwork(2 * len(steps), 1).eval()

    def said(some: list[list[Cell]]) -> np.ndarray:
        with torch.no_grad():
            return network(module.batch_of(some, steps), torch.zeros(len(some), 1)).numpy()

    assert np.allclose(said(networks)[::-1], said(networks[::-1]), atol=1e-5)
    assert np.allclose(said(networks)[:1], said(networks[:1]), atol=1e-5)


def test_it_learns_an_order(module: ModuleType, graphs: list, monkeypatch) -> None:
    monkeypatch.setattr(module, "MEMBERS", 1)
    networks = [cells(graph) for graph in graphs]
    length = np.array([cell_counts(graph)["length"] for graph in graphs])
    labels = (length - length.mean()) / length.std()
    sizes = np.random.default_rng(0).normal(size=(len(graphs), 3))
    assert kendall(module.trained(networks, networks, (sizes, sizes), labels), labels) > 0.8
