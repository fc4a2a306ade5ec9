"""The additive table: against tables that are known, and what it says it does not know."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import lsq_linear

from archrank.costs import OperatorTable
from archrank.costs.operators.inventory import counted, inventory
from archrank.data import space
from archrank.errors import InputError
from archrank.predictors import check_predictor, samples

ARCHS = space("fbnet").sample(400, seed=0)
COUNTS = [inventory(space("fbnet").graph(arch)).operators for arch in ARCHS]
NAMES = sorted({name for counts in COUNTS for name in counts})
ENTRIES = dict(zip(NAMES, np.random.default_rng(0).uniform(0.1, 1.0, len(NAMES)), strict=True))
COSTS = 5.0 + counted(COUNTS, NAMES) @ np.array(list(ENTRIES.values()))


def test_contract() -> None:
    check_predictor(OperatorTable())


def test_it_finds_what_whole_networks_cost() -> None:
    table = OperatorTable(space="fbnet").fit(ARCHS[:300], COSTS[:300])
    predicted = table.predict(ARCHS[300:])
    np.testing.assert_allclose(predicted, COSTS[300:], rtol=0.01)
    assert min(table.table_.values()) >= 0
    assert table.fixed_ >= 0


def test_entries_are_the_best_that_are_not_negative() -> None:
    """Against scipy's other solver, on costs that no such table has."""
    costs = np.random.default_rng(1).uniform(1.0, 2.0, 40)
    table = OperatorTable(space="fbnet").fit(ARCHS[:40], costs)
    errors = table.predict(ARCHS[:40]) / costs - 1
    shares = (
        np.concatenate([counted(COUNTS[:40], NAMES), np.ones((40, 1))], axis=1) / costs[:, None]
    )
    best = lsq_linear(shares, np.ones(40), bounds=(0, np.inf))
    assert (errors**2).sum() <= 2 * best.cost * 1.05 + 1e-6


def test_entries_that_were_measured_one_by_one() -> None:
    table = OperatorTable.of(ENTRIES, fixed=5.0, space="fbnet")
    np.testing.assert_allclose(table.predict(ARCHS[:20]), COSTS[:20])
    assert not any(table.unknown(ARCHS[:20]))


def test_what_it_does_not_know_is_named() -> None:
    some = {name: cost for name, cost in ENTRIES.items() if not name.startswith("depthwise")}
    table = OperatorTable.of(some, space="fbnet")
    read = samples(ARCHS[:5], space="fbnet")
    for sample, missing in zip(read, table.unknown(read), strict=True):
        counts = inventory(sample.graph).operators
        assert missing == {n: c for n, c in counts.items() if n.startswith("depthwise")}
        known = sum(some[name] * count for name, count in counts.items() if name in some)
        assert table.predict([sample])[0] == pytest.approx(known)


def test_files(tmp_path: object) -> None:
    table = OperatorTable.of(ENTRIES, space="fbnet")
    table.save(f"{tmp_path}/table")
    again = OperatorTable.load(f"{tmp_path}/table")
    assert again.table_ == table.table_
    np.testing.assert_array_equal(again.predict(ARCHS[:5]), table.predict(ARCHS[:5]))


@pytest.mark.parametrize("entries", [{}, {"relu": -1.0}, {"relu": float("nan")}, {"relu": 0.0}])
def test_tables_that_are_none(entries: dict[str, float]) -> None:
    with pytest.raises(InputError, match="entries"):
        OperatorTable.of(entries)


def test_costs_are_larger_than_nothing() -> None:
    with pytest.raises(InputError, match=r"y: 1 of 3 costs are not larger than 0 .* at 1, -2"):
        OperatorTable(space="fbnet").fit(ARCHS[:3], [1.0, -2.0, 3.0])
