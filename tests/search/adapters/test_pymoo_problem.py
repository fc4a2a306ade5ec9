"""Predictions as a problem of pymoo, solved by its own algorithms."""

from __future__ import annotations

import numpy as np
import pytest

from archrank.data import space
from archrank.errors import InputError
from archrank.predictors import Ridge
from archrank.search import Choices

pytest.importorskip("pymoo")
from pymoo.algorithms.moo.nsga2 import NSGA2
from pymoo.algorithms.soo.nonconvex.ga import GA
from pymoo.operators.crossover.sbx import SBX
from pymoo.operators.mutation.pm import PM
from pymoo.operators.repair.rounding import RoundingRepair
from pymoo.operators.sampling.rnd import IntegerRandomSampling
from pymoo.optimize import minimize

from archrank.search import PredictedProblem, nsga2
from archrank.search.asking.fronts import best_of_fronts

SIZES = space("nats_sss")


def total(archs) -> list[float]:
    return [float(sum(map(int, arch.split(":")))) for arch in archs]


def first(archs) -> list[float]:
    return [float(arch.split(":")[0]) for arch in archs]


def test_values_are_those_of_the_predictors():
    problem = PredictedProblem(
        "nats_sss",
        {"total": total, "first": first},
        ["total", "-first"],
        ["total<=200", "first>=16"],
    )
    rows = np.random.default_rng(0).integers(0, 8, (20, 5))
    archs = problem.archs(rows)
    assert archs == [Choices(SIZES).arch(row) for row in rows]
    out = problem.evaluate(rows, return_as_dictionary=True)
    assert out["F"] == pytest.approx(np.stack([-np.array(total(archs)), first(archs)], axis=1))
    expected = np.stack([np.array(total(archs)) - 200, 16 - np.array(first(archs))], axis=1)
    assert out["G"] == pytest.approx(expected)


def test_a_fitted_predictor_and_sizes_of_graphs():
    known = SIZES.sample(40, seed=0)
    ridge = Ridge(("code",), space=SIZES).fit(known, total(known))
    problem = PredictedProblem("nats_sss", {"accuracy": ridge}, ["accuracy", "-params"])
    result = minimize(problem, nsga2(problem, population=8), ("n_gen", 2), seed=1)
    archs = problem.archs(result.X)
    assert result.F[:, 0] == pytest.approx(-ridge.predict(archs))
    assert result.F[:, 1] == pytest.approx([float(SIZES.graph(arch).params) for arch in archs])


@pytest.mark.parametrize(
    "algorithm",
    [
        NSGA2(
            pop_size=20,
            sampling=IntegerRandomSampling(),
            crossover=SBX(vtype=float, repair=RoundingRepair()),
            mutation=PM(vtype=float, repair=RoundingRepair()),
        ),
        NSGA2(pop_size=20),  # of real numbers
    ],
    ids=["integers", "real numbers"],
)
def test_algorithms_of_either_kind_find_the_front(algorithm):
    problem = PredictedProblem("nats_sss", {"total": total, "first": first}, ["total", "-first"])
    result = minimize(problem, algorithm, ("n_gen", 60), seed=0)
    best = {f: 8 * w for w in range(1, 9) for f in [w * 8]}
    assert set(best) & {row[1] for row in result.F}
    for value, width in result.F:
        assert -value >= 4 * 64 + width - 40  # the front is 4 * 64 + width


def test_one_objective_under_a_constraint():
    problem = PredictedProblem("nats_sss", {"total": total}, "total", "total<=150")
    algorithm = GA(
        pop_size=20,
        sampling=IntegerRandomSampling(),
        crossover=SBX(vtype=float, repair=RoundingRepair()),
        mutation=PM(vtype=float, repair=RoundingRepair()),
    )
    result = minimize(problem, algorithm, ("n_gen", 20), seed=0)
    assert 140 <= total(problem.archs(result.X))[0] <= 150


def test_our_operators_stay_within_bounds_and_repeat():
    problem = PredictedProblem(
        "nasbench_macro", {"sum": lambda a: [sum(map(int, x)) for x in a]}, "sum"
    )
    runs = [minimize(problem, nsga2(problem, [[0] * 8]), ("n_gen", 15), seed=s) for s in (0, 0, 1)]
    assert runs[0].X.tolist() == runs[1].X.tolist()
    assert runs[0].F.min() == -16
    asked = nsga2(problem, [[0] * 8, [1] * 8])
    asked.setup(problem, seed=0)
    rows = asked.ask().get("X")
    assert rows[:2].tolist() == [[0] * 8, [1] * 8]
    assert ((rows >= 0) & (rows <= 2)).all()


def test_chooses_by_fronts_then_by_how_alone():
    costs = np.array([[0, 4], [1, 3], [1.1, 2.9], [4, 0], [2, 5], [9, 9]], dtype=float)
    assert set(best_of_fronts(costs, 4)) == {0, 1, 2, 3}
    assert set(best_of_fronts(costs, 2)) == {0, 3}
    assert set(best_of_fronts(costs, 99)) == set(range(6))


def test_refuses_goals_without_a_predictor():
    with pytest.raises(InputError, match="the goals name latency"):
        PredictedProblem("nats_sss", {"total": total}, ["total", "-latency"])
    with pytest.raises(InputError, match="not made of choices"):
        PredictedProblem("nasbench101", {"total": total}, "total")
