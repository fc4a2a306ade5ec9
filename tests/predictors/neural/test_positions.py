"""Laplacian positions are eigenvectors, with one sign."""

from __future__ import annotations

import numpy as np
import pytest

from archrank.data import space
from archrank.predictors.neural.positions import laplacian_positions


def normalised_laplacian(n: int, edges: np.ndarray) -> np.ndarray:
    adjacency = np.zeros((n, n))
    adjacency[edges[:, 0], edges[:, 1]] = adjacency[edges[:, 1], edges[:, 0]] = 1
    scale = 1 / np.sqrt(adjacency.sum(1))
    return np.eye(n) - scale[:, None] * adjacency * scale


@pytest.fixture(scope="module")
def edges() -> np.ndarray:
    graph = space("hiaml").graph(space("hiaml").sample(1, 0)[0])
    return graph.to_pyg().edge_index.numpy().T


def test_columns_are_eigenvectors(edges: np.ndarray) -> None:
    n = edges.max() + 1
    laplacian = normalised_laplacian(n, edges)
    found = laplacian_positions(n, edges, 6).astype(np.float64)
    values = np.linalg.eigvalsh(laplacian)[1:7]
    np.testing.assert_allclose(laplacian @ found, found * values, atol=1e-5)
    np.testing.assert_allclose((found**2).sum(0), n, rtol=1e-5)


def test_the_largest_entry_is_positive(edges: np.ndarray) -> None:
    found = laplacian_positions(edges.max() + 1, edges, 6)
    assert (found.max(0) >= -found.min(0) * (1 - 1e-5)).all()


def test_sparse_solver_agrees(edges: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    n = edges.max() + 1
    dense = laplacian_positions(n, edges, 3)
    monkeypatch.setattr("archrank.predictors.neural.positions._DENSE_UP_TO", 1)
    np.testing.assert_allclose(laplacian_positions(n, edges, 3), dense, atol=1e-4)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_few_nodes_get_zeros(n: int) -> None:
    chain = np.column_stack([np.arange(n - 1), np.arange(1, n)])
    found = laplacian_positions(n, chain, 4)
    assert found.shape == (n, 4)
    assert (found[:, n - 1 :] == 0).all()
    assert np.isfinite(found).all()
