"""Costs on one device, on several, and on a new one, made by a rule that is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import cross_val_score

from archrank.costs import CostPredictor
from archrank.costs.operators.inventory import inventory
from archrank.data import space
from archrank.errors import InputError
from archrank.metrics import spearman
from archrank.predictors import Predictor, Ridge, Sample, check_predictor, samples, with_context
from archrank.predictors.features.operator_classes import CLASSES

FBNET = space("fbnet")
ARCHS = FBNET.sample(360, seed=0)
READ = samples(ARCHS, space="fbnet")


def costs_on(device: int, read: list[Sample]) -> np.ndarray:
    """Return a device as prices per operator, FLOP and element of each kind, with noise."""
    rng = np.random.default_rng(device)
    kinds = np.array([inventory(sample.graph).classes for sample in read])
    prices = rng.lognormal(0, 0.7, kinds.shape[1]) / np.maximum(kinds.mean(axis=0), 1)
    return (kinds @ prices) * rng.lognormal(0, 0.01, len(read))


@pytest.fixture(scope="module")
def several() -> CostPredictor:
    """Three devices, known from 120 networks each."""
    read = [s for d in range(3) for s in with_context(READ[:120], np.full((120, 1), d))]
    return CostPredictor(space="fbnet").fit(
        read, np.concatenate([costs_on(d, READ[:120]) for d in range(3)])
    )


def test_contract() -> None:
    check_predictor(CostPredictor())


def test_one_device() -> None:
    truth = costs_on(0, READ)
    predictor = CostPredictor(space="fbnet").fit(ARCHS[:60], truth[:60])
    mean, std = predictor.predict(ARCHS[60:], return_std=True)
    assert spearman(mean, truth[60:]) > 0.97
    assert (mean > 0).all()
    assert 0.7 < (np.abs(mean - truth[60:]) < 1.645 * std).mean() <= 1.0


def test_several_devices_at_once(several: CostPredictor) -> None:
    for device in range(3):
        truth = costs_on(device, READ)
        asked = with_context(READ[120:], np.full((240, 1), device))
        assert spearman(several.predict(asked), truth[120:]) > 0.97
        np.testing.assert_allclose(several.on(device).predict(READ[120:]), several.predict(asked))
    assert several.devices_ == [[0.0], [1.0], [2.0]]


def test_a_new_device_from_few_measurements(several: CostPredictor) -> None:
    """Ten of them on a device much like a known one say more than ten alone."""
    truth = costs_on(1, READ) ** 0.9 * np.random.default_rng(7).lognormal(0, 0.01, len(READ))
    new = several.adapt(ARCHS[200:210], truth[200:210])
    alone = CostPredictor(space="fbnet").fit(ARCHS[200:210], truth[200:210])
    found = spearman(new.predict(ARCHS[210:]), truth[210:])
    assert found > 0.95
    assert found > spearman(alone.predict(ARCHS[210:]), truth[210:])
    assert new.fit(ARCHS[200:215], truth[200:215]).predict(ARCHS[:3]).shape == (3,)
    # The one that was adapted from is as it was.
    assert several.devices_ == [[0.0], [1.0], [2.0]]


def test_devices_of_few_measurements_borrow_from_those_of_more() -> None:
    many, few = costs_on(4, READ), costs_on(4, READ) ** 1.1
    read = with_context([*READ[:100], *READ[100:108]], [[0.0]] * 100 + [[1.0]] * 8)
    predictor = CostPredictor().fit(read, [*many[:100], *few[100:108]])
    assert [model["sources"] for model in predictor.models_] == [[], [0]]
    asked = with_context(READ[108:], np.ones((252, 1)))
    assert spearman(predictor.predict(asked), few[108:]) > 0.97


def test_files(several: CostPredictor, tmp_path: Path) -> None:
    new = several.adapt(ARCHS[:10], costs_on(9, READ[:10]))
    for name, predictor in (("several", several.on(2)), ("new", new)):
        predictor.save(tmp_path / name)
        again = Predictor.load(tmp_path / name)
        np.testing.assert_allclose(again.predict(ARCHS[:9]), predictor.predict(ARCHS[:9]))
        assert not again.higher_is_better
    loaded = CostPredictor.load(tmp_path / "new")
    assert loaded.adapt(ARCHS[:5], costs_on(3, READ[:5])).predict(ARCHS[:2]).shape == (2,)


def test_architectures_stand_for_what_they_compute() -> None:
    """Two cells of one function: the second computes fifteen convolutions that nothing reads."""
    used = "|nor_conv_3x3~0|+|none~0|none~1|+|none~0|nor_conv_1x1~1|none~2|"
    unused = "|nor_conv_3x3~0|+|none~0|nor_conv_3x3~1|+|none~0|nor_conv_1x1~1|none~2|"
    cells = space("nasbench201")
    assert cells.canonical(used) == cells.canonical(unused)
    archs = cells.sample(80, seed=0)
    costs = [cells.graph(arch).flops for arch in archs]
    predictor = CostPredictor(space="nasbench201").fit(archs, costs)
    low, high = predictor.predict([used, unused])
    assert high > 1.5 * low
    read = predictor._read([unused])[0]
    assert inventory(read.graph).unused[CLASSES.index("conv3")] == 15
    (other,) = samples([unused], space="nasbench201")  # as other predictors read it
    assert other.graph == cells.graph(cells.canonical(unused)) != read.graph


def test_costs_and_logarithms_are_told_apart() -> None:
    kinds = np.array([inventory(sample.graph).classes for sample in READ])
    shares = kinds[:, :4] / kinds[:, :4].mean(axis=0).clip(1)
    total = shares @ np.array([3.0, 1.0, 2.0, 1.0])
    for costs, log in ((1.0 + total, False), (np.exp(2 * total), True)):
        predictor = CostPredictor(("classes",)).fit(READ[:200], costs[:200])
        assert predictor.models_[0]["log"] is log


def test_scikit_learn(several: CostPredictor) -> None:
    truth = costs_on(0, READ[:60])
    assert cross_val_score(CostPredictor(("sizes", "classes")), READ[:60], truth, cv=3).min() > 0.8
    assert not hasattr(clone(several), "models_")


def test_samples_of_no_network() -> None:
    """Codes alone, as of benchmarks whose networks cannot be built: one graph for all."""
    rng = np.random.default_rng(0)
    codes = rng.normal(size=(80, 5)).astype(np.float32)
    read = [Sample(READ[0].graph, code=code) for code in codes]
    costs = np.exp(codes @ np.array([1.0, 0.5, 0.0, -1.0, 0.2]))
    assert CostPredictor().fit(read[:40], costs[:40]).score(read[40:], costs[40:]) > 0.9
    mean = CostPredictor(("sizes",)).fit(read[:40], costs[:40]).predict(read)
    np.testing.assert_allclose(mean, mean[0])  # nothing that it reads tells them apart


@pytest.mark.parametrize("wrong", [0.0, -1.0])
def test_costs_are_larger_than_nothing(wrong: float) -> None:
    with pytest.raises(InputError, match="y: 1 of 3 costs are not larger than 0"):
        CostPredictor().fit(READ[:3], [1.0, wrong, 2.0])


def test_unknown_devices_and_levels(several: CostPredictor) -> None:
    with pytest.raises(InputError, match=r"context: got \(7.0,\), expected .*\(0.0,\), \(1.0,\)"):
        several.predict(with_context(READ[:1], [[7.0]]))
    with pytest.raises(InputError, match=r"context: got \(\)"):
        several.predict(READ[:1])
    with pytest.raises(InputError, match=r"context: got \(3,\)"):
        several.on(3)
    with pytest.raises(InputError, match="levels: got 'layers', expected some of sizes"):
        CostPredictor(("layers",)).fit(READ[:5], range(1, 6))
    constant = CostPredictor().fit(READ[:5], np.ones(5))
    with pytest.raises(InputError, match="adapt: all costs"):
        constant.adapt(READ[:5], range(1, 6))


def test_only_costs_are_better_when_smaller() -> None:
    assert Ridge.higher_is_better
    assert not CostPredictor.higher_is_better


def test_what_compilers_leave_is_a_level_where_it_differs() -> None:
    fbnet = CostPredictor(space="fbnet").fit(ARCHS[:30], np.arange(1.0, 31.0))
    assert fbnet.columns_["levels"] == ["sizes", "classes", "unused", "operators", "code"]
    cells = space("nasbench201").sample(30, seed=0)
    found = CostPredictor(space="nasbench201").fit(cells, np.arange(1.0, 31.0)).columns_["levels"]
    assert {"classes", "unused", "scaled", "read", "apart"} <= set(found)


def test_files_from_before_classes_had_their_name_still_predict(tmp_path: Path) -> None:
    fitted = CostPredictor(("sizes", "classes")).fit(READ[:40], np.arange(1.0, 41.0))
    fitted.save(tmp_path / "model")
    file = tmp_path / "model" / "predictor.json"
    file.write_text(file.read_text().replace('"classes"', '"kinds"'))
    read = CostPredictor.load(tmp_path / "model")
    assert read.levels == ("sizes", "classes")
    assert np.array_equal(read.predict(READ[40:50]), fitted.predict(READ[40:50]))
