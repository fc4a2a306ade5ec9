"""Spectra on the smaller side against dense decompositions."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from archrank.errors import ScoreError
from archrank.proxies import spectra
from archrank.proxies.spectra import eigenvalues, entropy, finite, gram, spectral_norm

SIDES = st.integers(1, 12)
SEEDS = st.integers(0, 2**31)


def drawn(seed: int, *shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.float64, generator=generator)


def orthonormal(seed: int, size: int, count: int) -> Tensor:
    return torch.linalg.qr(drawn(seed, size, count)).Q


def with_singular_values(values: list[float], rows: int, columns: int, seed: int = 0) -> Tensor:
    left, right = orthonormal(seed, rows, len(values)), orthonormal(seed + 1, columns, len(values))
    return left @ torch.diag(torch.tensor(values, dtype=torch.float64)) @ right.T


def dense(left: Tensor, right: Tensor) -> float:
    return float(scipy.linalg.svdvals((left.T @ right).numpy())[0])


@pytest.fixture(params=[True, False], ids=["dense", "by steps"])
def either_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small matrices go through both ways of finding a largest singular value."""
    monkeypatch.setattr(spectra, "_DENSE", spectra._DENSE if request.param else 0)


class TestSpectralNorm:
    @settings(deadline=None, max_examples=60)
    @given(rows=SIDES, left=SIDES, right=SIDES, seed=SEEDS, steps=st.booleans())
    def test_is_the_largest_singular_value(
        self, rows: int, left: int, right: int, seed: int, steps: bool
    ) -> None:
        one, other = drawn(seed, rows, left), drawn(seed + 1, rows, right)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(spectra, "_DENSE", 0 if steps else 256)
            assert spectral_norm(one, other, "x") == pytest.approx(dense(one, other), rel=1e-9)

    @pytest.mark.usefixtures("either_way")
    @pytest.mark.parametrize(
        "values",
        [
            *([0.0], [3.0], [2.0, 2.0, 2.0], [5.0, 5.0, 1.0, 0.0], [1.0, 1 - 1e-5, 1 - 2e-5]),
            *([1e-30, 1e-31], [1e30, 1.0], list(np.linspace(1, 2, 30)), [7.0] * 40),
        ],
    )
    def test_of_degenerate_spectra(self, values: list[float]) -> None:
        matrix = with_singular_values(values, 60, 50)
        found = spectral_norm(torch.eye(60, dtype=torch.float64), matrix, "x")
        assert found == pytest.approx(max(values), rel=1e-6, abs=1e-300)

    def test_of_one_large_value_among_equal_ones(self) -> None:
        """A start that is nearly orthogonal to it must not end the steps too soon."""
        matrix = torch.ones(600, dtype=torch.float64)
        matrix[17] = 1 + 1e-4
        found = spectral_norm(torch.diag(matrix), torch.eye(600, dtype=torch.float64), "x")
        assert found == pytest.approx(1 + 1e-4, rel=1e-6)

    @pytest.mark.parametrize("shape", [(40, 500, 700), (600, 300, 300), (300, 300, 900)])
    def test_of_large_matrices_in_single_precision(self, shape: tuple[int, int, int]) -> None:
        rows, left, right = shape
        one, other = drawn(0, rows, left), drawn(1, rows, right)
        found = spectral_norm(one.float(), other.float(), "x")
        assert found == pytest.approx(dense(one, other), rel=1e-6)
        assert found == spectral_norm(one.float(), other.float(), "x")

    def test_of_one_column(self) -> None:
        one, other = drawn(0, 5, 1), drawn(1, 5, 1)
        assert spectral_norm(one, other, "x") == pytest.approx(abs(float(one.T @ other)))

    @pytest.mark.parametrize("bad", [math.nan, math.inf])
    @pytest.mark.parametrize("shape", [(5, 3), (3, 5), (300, 280)])
    def test_refuses_what_is_no_number(self, bad: float, shape: tuple[int, int]) -> None:
        matrix = drawn(0, *shape)
        matrix[1, 2] = bad
        with pytest.raises(ScoreError, match="ours are not finite"):
            spectral_norm(matrix, drawn(1, *shape), "ours")


class TestGram:
    @settings(deadline=None)
    @given(rows=SIDES, columns=SIDES, seed=SEEDS)
    def test_keeps_all_eigenvalues_but_zeros(self, rows: int, columns: int, seed: int) -> None:
        matrix = drawn(seed, rows, columns)
        found = eigenvalues(gram(matrix), "x").numpy()
        expected = scipy.linalg.svdvals(matrix.numpy())[::-1] ** 2
        assert len(found) == min(rows, columns)
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)

    @settings(deadline=None)
    @given(rows=SIDES, columns=SIDES, rank=st.integers(0, 3), seed=SEEDS)
    def test_keeps_the_entropy(self, rows: int, columns: int, rank: int, seed: int) -> None:
        matrix = drawn(seed, rows, rank) @ drawn(seed + 1, rank, columns)
        whole = scipy.linalg.eigvalsh((matrix.T @ matrix).numpy()).clip(0)
        shares = whole[whole > 0] / whole.sum() if whole.sum() > 0 else whole[:0]
        found = float(entropy(eigenvalues(gram(matrix), "x").clamp_min(0)))
        assert found == pytest.approx(-float(np.sum(shares * np.log(shares))), abs=1e-9)


class TestFinite:
    @settings(deadline=None)
    @given(st.lists(st.floats(width=32), min_size=1, max_size=6))
    def test_tells_what_numpy_tells(self, values: list[float]) -> None:
        tensor = torch.tensor(values, dtype=torch.float32)
        if np.isfinite(values).all():
            assert finite(tensor, "x") is tensor
        else:
            with pytest.raises(ScoreError, match="x are not finite"):
                finite(tensor, "x")

    def test_large_values_overflow_in_no_sum(self) -> None:
        tensor = torch.full((4,), 3e38)
        assert finite(tensor, "x") is tensor
