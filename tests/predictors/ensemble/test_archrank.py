"""The default predictor: what it is made of, and which proxies it computes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from archrank.data import space
from archrank.metrics import kendall
from archrank.predictors import (
    AdditiveProcess,
    ArchRank,
    Ridge,
    Sample,
    TransferRank,
    samples,
    with_context,
)
from archrank.predictors.checks import small_graphs
from archrank.predictors.ensemble.library import members, members_on_encoded_cells
from archrank.predictors.features.cells import cell_counts, cells
from archrank.predictors.features.evidence import AUTO

MEMBERS = {"sizes": Ridge(("statistics",)), "scores": Ridge(("scores",))}


def scored(values: np.ndarray) -> list[Sample]:
    """Return samples of one graph each, whose auto scores are all the same value."""
    given = samples(small_graphs()[:8] * (len(values) // 8))
    return [
        replace(sample, scores=dict.fromkeys(AUTO, float(value)))
        for sample, value in zip(given, values, strict=True)
    ]


def test_auto_keeps_proxies_that_help() -> None:
    truth = np.random.default_rng(0).normal(size=40)
    fitted = ArchRank("auto", MEMBERS).fit(scored(truth), truth)
    assert fitted.proxies_ == list(AUTO) == list(fitted.needed_proxies)
    assert "scores" in fitted.weights_
    assert fitted.score(scored(truth), truth) > 0.9


def test_auto_does_without_proxies_that_do_not() -> None:
    rng = np.random.default_rng(0)
    graphs = small_graphs() * 3
    sizes = np.log([graph.params + 1.0 for graph in graphs])
    given = [
        replace(sample, scores=dict.fromkeys(AUTO, float(rng.normal())))
        for sample in samples(graphs)
    ]
    fitted = ArchRank("auto", MEMBERS).fit(given, sizes)
    assert fitted.proxies_ == []
    assert fitted.needed_proxies == ()
    assert set(fitted.weights_) == {"sizes"}
    np.testing.assert_allclose(fitted.predict(graphs), fitted.predict(given))


@pytest.mark.slow
def test_auto_computes_them_of_architectures(tmp_path: Path) -> None:
    digits = space("digits")
    archs = digits.sample(14, seed=0)
    labels = [digits.graph(arch).params for arch in archs]
    fitted = ArchRank("auto", {"scores": Ridge(("scores",))}, space="digits")
    with pytest.raises(Exception, match="members"):  # nothing is left to learn from without them
        fitted.fit(archs, labels)
    fitted.set_params(members=MEMBERS).fit(archs, labels)
    assert set(fitted.needed_proxies) <= set(AUTO)
    fitted.save(tmp_path / "model")
    again = ArchRank.load(tmp_path / "model")
    assert again.needed_proxies == fitted.needed_proxies
    np.testing.assert_allclose(again.predict(archs[:3]), fitted.predict(archs[:3]))


def test_auto_computes_none_where_labels_are_constant() -> None:
    digits = space("digits")
    fitted = ArchRank("auto", MEMBERS, space="digits").fit(digits.sample(2, seed=0), [1.0, 1.0])
    assert fitted.needed_proxies == ()
    assert fitted.predict(digits.sample(3, seed=1)).tolist() == [1.0, 1.0, 1.0]


def test_labelled_networks_are_known_again() -> None:
    cells = space("nasbench201").sample(60, seed=0)
    labels = np.random.default_rng(0).normal(size=60)  # nothing to learn, only to remember
    fitted = ArchRank(members=MEMBERS, space="nasbench201").fit(cells, labels)
    predicted, std = fitted.predict(cells, return_std=True)
    others = space("nasbench201").sample(120, seed=1)
    known = {space("nasbench201").canonical(cell) for cell in cells}
    others = [cell for cell in others if space("nasbench201").canonical(cell) not in known]
    assert fitted.score(cells, labels) > 0.7
    assert np.median(std) < 0.7 * np.median(fitted.predict(others, return_std=True)[1])
    canonical = [space("nasbench201").canonical(cell) for cell in cells]
    graphs = [space("nasbench201").graph(cell) for cell in canonical]  # however they are given
    np.testing.assert_allclose(fitted.predict(graphs), predicted)


def test_labels_that_contradict_each_other_count_less() -> None:
    cells = space("nasbench201").sample(20, seed=0)
    noise = np.random.default_rng(0).normal(size=80)
    agreeing = ArchRank(members=MEMBERS, space="nasbench201").fit(cells * 4, np.tile(noise[:20], 4))
    unlike = ArchRank(members=MEMBERS, space="nasbench201").fit(cells * 4, noise)
    assert agreeing.label_noise_ < 0.1 * unlike.label_noise_


def test_each_context_has_its_own_scale() -> None:
    cells = samples(space("nasbench201").sample(60, seed=0), space="nasbench201")
    sizes = np.log([cell.graph.params for cell in cells])
    context = np.arange(60) % 2
    labels = np.where(context, 90 + sizes, -sizes)  # what is good in one is bad in the other
    given = with_context(cells, context[:, None])
    members = {"sum": AdditiveProcess(("statistics", "context"))}
    fitted = ArchRank(members=members).fit(given[:40], labels[:40])
    assert set(fitted.orders_) == {"", "(0.0,)", "(1.0,)"}
    predicted = fitted.predict(given[40:])
    low, high = fitted.interval(given[40:])
    for here in (0, 1):
        rows = np.flatnonzero(context[40:] == here)
        assert kendall(predicted[rows], labels[40:][rows]) > 0.6
        assert np.abs(predicted[rows] - labels[40:][rows]).max() < 5  # not 90 apart
        assert ((low[rows] <= predicted[rows]) & (predicted[rows] <= high[rows])).all()
    elsewhere = fitted.predict(with_context(cells[:2], np.full((2, 1), 7.0)))
    assert np.isfinite(elsewhere).all()  # a context without labels


def test_files_from_before_there_was_a_line_predict_as_they_did(tmp_path: Path) -> None:
    graphs = small_graphs()
    fitted = ArchRank(members=MEMBERS).fit(graphs[:9], [graph.flops for graph in graphs[:9]])
    expected = fitted.predict(graphs)
    del fitted.line_
    fitted.save(tmp_path / "before")
    assert ArchRank.load(tmp_path / "before").predict(graphs).tolist() == expected.tolist()


class TestWeights:
    def test_they_rise_with_tau_by_how_much_chance_moves_it(self) -> None:
        cells = space("nasbench201").sample(40, seed=0)
        given = samples(cells, space="nasbench201")
        labels = np.log([sample.graph.params for sample in given])
        noise = np.random.default_rng(1).normal(size=40)
        two = {"sizes": Ridge(("statistics",)), "paths": Ridge(("paths",))}
        fitted = ArchRank(members=two).fit(given, labels + noise)
        rng = np.random.default_rng(0)
        chance = [kendall(rng.permutation(40), np.arange(40)) for _ in range(4000)]
        taus = fitted.report_["tau"]
        gap = (taus["sizes"] - taus["paths"]) / np.std(chance)
        ratio = np.log(fitted.weights_["sizes"] / fitted.weights_["paths"])
        assert ratio == pytest.approx(gap, rel=0.05)
        assert sum(fitted.weights_.values()) == pytest.approx(1)

    def test_many_labels_leave_out_what_does_not_predict(self) -> None:
        cells = space("nasbench201").sample(300, seed=0)
        given = samples(cells, space="nasbench201")
        labels = np.log([sample.graph.params for sample in given])
        rng = np.random.default_rng(0)
        given = [replace(sample, scores={"noise": float(rng.normal())}) for sample in given]
        fitted = ArchRank(members=MEMBERS).fit(given, labels)
        assert set(fitted.weights_) == {"sizes"}

    def test_fewer_than_twelve_labels_weigh_all_the_same(self) -> None:
        graphs = samples(small_graphs()[:8])
        given = [replace(sample, scores={"size": float(len(sample.graph))}) for sample in graphs]
        fitted = ArchRank(members=MEMBERS).fit(given, np.arange(8.0))
        assert fitted.weights_ == {"sizes": 0.5, "scores": 0.5}


class TestEncodedCells:
    MEMBERS = members_on_encoded_cells()

    def test_they_take_part_where_there_are_cells_and_labels_enough(self) -> None:
        some = space("nasbench301").sample(32, seed=0)
        given = samples(some, space="nasbench301")
        assert self.MEMBERS.keys() <= ArchRank().default_members(given).keys()
        assert ArchRank().default_members(given[1:]).keys() == members().keys()
        chains = [sample for sample in samples(small_graphs()) if not cells(sample.graph)] * 32
        assert ArchRank().default_members(chains).keys() == members().keys()

    def test_other_families_are_joined_with_them_too(self) -> None:
        given = samples(space("nasbench301").sample(32, seed=0), space="nasbench301")
        assert TransferRank().default_members(given).keys() == {**members(), **self.MEMBERS}.keys()

    def test_they_rank_by_wiring_and_come_back_from_files(self, tmp_path: Path) -> None:
        genotypes = space("nasbench301")
        archs = genotypes.sample(60, seed=1)
        # Depth of the normal cell, which no size of the network tells.
        labels = [cell_counts(genotypes.graph(arch))["depth"] for arch in archs]
        fitted = ArchRank(members=self.MEMBERS, space=genotypes).fit(archs[:40], labels[:40])
        assert fitted.score(archs[40:], labels[40:]) > 0.6
        fitted.save(tmp_path / "model")
        loaded = ArchRank.load(tmp_path / "model")
        for first, second in zip(
            fitted.predict(archs, return_std=True),
            loaded.predict(archs, return_std=True),
            strict=True,
        ):
            assert np.array_equal(first, second)
