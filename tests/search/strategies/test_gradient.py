"""Ascent by gradients, and the search that snaps its points to architectures."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from archrank.data import space
from archrank.errors import InputError
from archrank.graphs import Graph
from archrank.predictors import GraphEmbedding, HeteroscedasticNetwork
from archrank.search import GradientSearch, RandomSearch, Searcher
from archrank.search.strategies.gradient import ascend

SIZES = space("nats_sss")
ON_CODES = HeteroscedasticNetwork(None, ("code",), members=2, steps=40)


def total(arch: str) -> float:
    """Something to maximise whose best is known: 320."""
    return float(sum(map(int, arch.split(":"))))


def run(search: GradientSearch, evaluations: int) -> list[str]:
    asked = []
    for _ in range(evaluations):
        asked.append(search.ask())
        search.tell(asked[-1], total(asked[-1]))
    return asked


class TestAscent:
    def test_reaches_the_top_of_badly_scaled_hills(self) -> None:
        """Curvatures of 1 to 10,000: a rate that suits one direction fails in the others."""
        scales = torch.tensor([1.0, 100.0, 10_000.0], dtype=torch.float64)
        starts = np.random.default_rng(0).normal(size=(4, 3))
        top = ascend(lambda x: -(scales * (x - 0.5) ** 2).sum(1), starts, steps=100)
        assert np.allclose(top, 0.5, atol=0.02)

    def test_stays_within_the_box_and_never_ends_lower(self) -> None:
        def bumpy(x: Tensor) -> Tensor:
            return torch.sin(5 * x).sum(1) + 0.3 * x.sum(1)

        starts = np.random.default_rng(1).uniform(-1, 1, (20, 4))
        ends = ascend(bumpy, starts, np.full(4, -1.0), 1.0)
        assert ends.min() >= -1
        assert ends.max() <= 1
        before, after = (bumpy(torch.from_numpy(x)).numpy() for x in (starts, ends))
        assert (after >= before).all()
        assert after.mean() > before.mean() + 1

    def test_a_straight_slope_leads_into_the_corner(self) -> None:
        assert ascend(lambda x: x.sum(1), np.zeros((1, 2)), -1.0, 1.0).tolist() == [[1.0, 1.0]]

    def test_points_climb_by_themselves(self) -> None:
        def hill(x: Tensor) -> Tensor:
            return -((x**2).sum(1) ** 2)

        starts = np.random.default_rng(2).normal(size=(3, 2))
        together = ascend(hill, starts, seed=1)
        assert together[0] == pytest.approx(ascend(hill, starts[:1], seed=1)[0], abs=0.05)


class TestSearch:
    def test_finds_more_than_chance(self) -> None:
        best = []
        for seed in range(3):
            search = GradientSearch(SIZES, ON_CODES, candidates=400, seed=seed)
            random = RandomSearch(SIZES, seed)
            found = max(map(total, run(search, 40)))
            best.append(found - max(total(random.ask()) for _ in range(40)))
        assert np.mean(best) > 15

    def test_same_seed_same_search_and_nothing_twice(self) -> None:
        first, again, other = (
            run(GradientSearch(SIZES, ON_CODES, candidates=100, seed=seed), 20)
            for seed in (1, 1, 2)
        )
        assert first == again
        assert first != other
        assert len({SIZES.canonical(arch) for arch in first}) == 20

    def test_a_pool_is_kept_to_until_it_is_empty(self) -> None:
        pool = SIZES.sample(14, seed=3)
        search = GradientSearch(SIZES, ON_CODES, pool, start=5)
        assert sorted(run(search, 14)) == sorted(pool)
        with pytest.raises(InputError, match="all 14 candidates"):
            search.ask()

    def test_neighbours_of_the_best_join_where_there_is_no_pool(self) -> None:
        search = GradientSearch(SIZES, ON_CODES, candidates=20, start=5, diverse=0.0)
        assert len(set(run(search, 30))) == 30

    def test_snaps_to_the_nearest_that_was_not_asked_for(self) -> None:
        pool = SIZES.sample(60, seed=4)
        search = GradientSearch(SIZES, ON_CODES, pool, uncertain=0.0, diverse=0.0)
        run(search, 10)
        asked = search.ask()
        rows = {key: search._rows[SIZES.canonical(key)] for key in pool}
        free = [key for key in pool if key not in search.told]
        nearest = {
            min(free, key=lambda key: np.linalg.norm(rows[key] - point)) for point in search._points
        }
        assert asked in nearest

    def test_uncertainty_alone(self) -> None:
        pool = SIZES.sample(60, seed=4)
        search = GradientSearch(SIZES, ON_CODES, pool, uncertain=1.0, diverse=0.0)
        run(search, 10)
        asked = search.ask()
        free = [key for key in pool if key not in search.told]
        doubts = search._moments(np.array([search._rows[key] for key in free]))[1]
        assert asked == free[int(np.argmax(doubts))]

    def test_failures_are_kept_away_from_and_ahead_is_asked(self) -> None:
        search = GradientSearch(SIZES, ON_CODES, candidates=100, start=5, seed=0)
        ahead = [search.ask() for _ in range(8)]
        assert len(set(ahead)) == 8
        for arch in ahead:
            search.tell(arch, math.nan)
        assert search.ask() in SIZES  # nothing to learn from yet
        for arch in SIZES.sample(10, seed=9):
            search.tell(arch, math.nan if arch.startswith("8:") else total(arch))
        asked = [search.ask() for _ in range(5)]
        assert len(set(asked)) == 5

    def test_what_cannot_be_built_is_no_candidate(self) -> None:
        class Broken(type(SIZES)):  # type: ignore[misc]
            def graph(self, arch: str, task: str | None = None) -> Graph:
                if arch.startswith("64:"):
                    raise RuntimeError("no such width")
                return SIZES.graph(arch, task)

        pool = [*SIZES.sample(14, seed=5), "64:8:8:8:8", "64:16:16:16:16"]
        network = HeteroscedasticNetwork(None, ("spectrum",), members=2, steps=5)
        search = GradientSearch(Broken(), network, pool, start=2, diverse=0.0)
        search.tell(pool[-1], 1.0)  # measured in some other way
        for arch in pool[:3]:
            search.tell(arch, total(arch))
        assert not [arch for arch in run(search, 9) if arch.startswith("64:")]

    def test_assisted_by_edit_distances(self) -> None:
        networks = space("nasbench_macro")
        pool = networks.sample(16, seed=0, distinct_networks=True)
        network = HeteroscedasticNetwork(GraphEmbedding(landmarks=8), members=2, steps=30)
        search = GradientSearch(networks, network, pool, start=5)
        sizes = {arch: float(networks.graph(arch).flops) for arch in pool}
        asked = []
        for _ in range(11):
            asked.append(search.ask())
            search.tell(asked[-1], sizes[asked[-1]])
        assert max(sizes, key=sizes.__getitem__) in asked

    def test_the_network_serves_other_searches(self) -> None:
        networks = space("nasbench_macro")
        pool = networks.sample(12, seed=0, distinct_networks=True)
        network = HeteroscedasticNetwork(GraphEmbedding(landmarks=4), ("code",), members=2, steps=5)
        searcher = Searcher(networks, network, pool=pool, start=4, acquisition="ucb")
        searcher.run(lambda arch: float(networks.graph(arch).flops), 8, batch=4)
        assert len({networks.graph(trial.arch) for trial in searcher.trials}) == 8
        predicted = searcher.predict(pool)
        assert len(np.unique(predicted.round(9))) == len(pool)

    @pytest.mark.parametrize(
        ("options", "said"),
        [
            ({"start": 1}, "start"),
            ({"refit": 0}, "refit"),
            ({"uncertain": 0.7, "diverse": 0.5}, "uncertain"),
            ({"diverse": -0.1}, "diverse"),
            ({"pool": []}, "pool"),
        ],
    )
    def test_wrong_arguments_are_told(self, options: dict, said: str) -> None:
        with pytest.raises(InputError, match=said):
            GradientSearch(SIZES, **options)

    def test_predictors_stay_as_they_are(self) -> None:
        run(GradientSearch(SIZES, ON_CODES, candidates=50), 15)
        assert not hasattr(ON_CODES, "layers_")


def test_a_function_of_rows_is_all_that_is_needed() -> None:
    distance: Callable[[Tensor], Tensor] = lambda x: -torch.linalg.vector_norm(x, dim=1)  # noqa: E731
    assert np.abs(ascend(distance, np.full((2, 2), 0.3))).max() < 0.3
