"""Linear algebra on one thread."""

from __future__ import annotations

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from archrank.predictors import ArchRank
from archrank.predictors.checks import small_graphs
from archrank.predictors.tabular import additive
from archrank.predictors.tabular.threads import on_one_thread


def threads() -> set[int]:
    return {one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas"}


@on_one_thread
def seen(fails: bool = False) -> set[int]:
    if fails:
        raise ValueError("half-way")
    return threads()


def test_the_limit_holds_inside_alone() -> None:
    with threadpool_limits(2, user_api="blas"):
        before = threads()
        assert seen() == {1}
        assert threads() == before
        with pytest.raises(ValueError, match="half-way"):
            seen(True)
        assert threads() == before


def test_fits_run_on_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[set[int]] = []
    searched = additive.most_probable

    def watched(*given: object) -> np.ndarray:
        found.append(threads())
        return searched(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(additive, "most_probable", watched)
    graphs = small_graphs()
    with threadpool_limits(2, user_api="blas"):
        ArchRank().fit(graphs, [graph.flops for graph in graphs])
    assert {frozenset(one) for one in found} == {frozenset({1})}
