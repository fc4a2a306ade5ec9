"""What families teach, and the predictor that ranks others by it."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats

import archrank
from archrank.errors import InputError
from archrank.metrics import kendall
from archrank.predictors import (
    Distribution,
    EvidenceProcess,
    Family,
    FamilyPrior,
    GraphEnsemble,
    OutOfFamilyWarning,
    Pretraining,
    Sample,
    TransferRank,
)
from archrank.predictors.checks import small_graphs
from archrank.predictors.features.evidence import KINDS, PROXIES, measurements, table_of
from archrank.predictors.pretrained.reference import Reference
from archrank.predictors.pretrained.shipped import shipped


@pytest.fixture(scope="module")
def graphs() -> list[archrank.Graph]:
    return small_graphs()


def family(name: str, graphs, sign: float = 1.0, quality: float = 1.0, seed: int = 0) -> Family:
    rng = np.random.default_rng(seed)
    labels = sign * np.log([graph.params for graph in graphs]) + 0.3 * rng.normal(size=len(graphs))
    return Family(name, [Sample(graph) for graph in graphs], labels[None], quality)


@pytest.fixture(scope="module")
def prior(graphs) -> FamilyPrior:
    return FamilyPrior.of([family("a", graphs), family("b", graphs, seed=1)])


class TestFamilyPrior:
    def test_correlations_are_those_of_the_families(self, graphs) -> None:
        one, other = family("a", graphs), family("b", graphs, seed=1)
        found = FamilyPrior.of([one, other])
        assert found.families == ["a", "b"]
        size = list(KINDS).index("size")
        assert found.correlations[size] == pytest.approx(found.slope(["size"]))
        assert 0.5 < found.slope(["size"]) < 1
        assert found.taught.min() <= found.correlations[size] <= 1

    def test_kinds_that_agree_add_little(self, prior) -> None:
        two = replace(
            prior,
            correlations=np.full(len(KINDS), 0.6),
            between=np.where(np.eye(len(KINDS), dtype=bool), 1.0, 0.5),
        )
        kinds = list(KINDS)
        # sum r / sqrt(sum C) by hand: 1.2 / sqrt(3)
        assert two.slope(kinds[:2]) == pytest.approx(1.2 / 3**0.5)
        assert two.slope(kinds[:2]) > two.slope(kinds[:1]) == pytest.approx(0.6)
        assert two.slope([]) == 0.0

    def test_families_count_by_quality(self, graphs) -> None:
        good, bad = family("a", graphs), family("b", graphs, sign=-1.0, quality=0.01)
        equal = FamilyPrior.of([good, replace(bad, quality=1.0)])
        assert FamilyPrior.of([good, bad]).slope(["size"]) > 0.5 > equal.slope(["size"])

    def test_labels_of_any_scale_teach_the_same(self, graphs) -> None:
        one, other = family("a", graphs), family("b", graphs, seed=1)
        stretched = replace(other, labels=np.exp(3 * other.labels))
        first, second = FamilyPrior.of([one, other]), FamilyPrior.of([one, stretched])
        assert first.slope(["size"]) == pytest.approx(second.slope(["size"]))
        assert first.taught == pytest.approx(second.taught)

    @pytest.mark.parametrize("shape", [(1, 3), (2, 2, 2)])
    def test_wrong_labels_are_told(self, graphs, shape) -> None:
        wrong = Family("odd", [Sample(graph) for graph in graphs], np.zeros(shape))
        with pytest.raises(InputError, match="odd"):
            FamilyPrior.of([wrong, family("a", graphs)])

    def test_what_is_no_experience_is_told(self, graphs) -> None:
        with pytest.raises(InputError, match=r"family_prior: got a, expected .*families"):
            TransferRank({"a": 1}).fit(graphs, range(len(graphs)))

    def test_one_family_is_none(self, graphs) -> None:
        with pytest.raises(InputError, match="at least two"):
            FamilyPrior.of([family("a", graphs)])


class TestEvidenceProcess:
    def test_without_information_it_is_the_evidence(self, graphs, prior) -> None:
        """Two equal labels say nothing; far from them the slope of families remains."""
        process = EvidenceProcess(("evidence",), prior.state())
        labels = np.log([graph.params for graph in graphs])
        process.fit(graphs, labels)
        assert process.score(graphs, labels) > 0.95

    def test_slope_is_the_posterior_mean(self, graphs, prior) -> None:
        process = EvidenceProcess(("evidence",), prior.state())
        labels = np.array([graph.params for graph in graphs], dtype=float)
        process.fit(graphs, labels)
        y = (labels - labels.mean()) / labels.std()
        z = process.features_.transform(_columns(graphs))[:, 0]
        slopes = prior.taught * prior.slope(["size"]) / prior.slope(list(KINDS))
        likelihood = [
            np.prod(stats.norm.pdf(y, slope * z, np.sqrt(1 - slope**2))) for slope in slopes
        ]
        mean = np.average(slopes, weights=likelihood)
        assert process.slope_ == pytest.approx(mean, rel=1e-6)
        variance = np.average((slopes - mean) ** 2, weights=likelihood)
        assert process.slope_variance_ == pytest.approx(variance, rel=1e-6, abs=1e-12)

    def test_a_few_labels_tell_whom_a_family_is_like(self, prior) -> None:
        known = replace(prior, taught=np.array([0.9, 0.0]), qualities=np.ones(2))
        kinds, rng = list(KINDS), np.random.default_rng(0)
        z, noise = rng.normal(size=(2, 15))
        full = known.slope_given(kinds, z, 0.9 * z + 0.4 * noise)[0]
        assert full > 0.85
        assert abs(known.slope_given(kinds, z, noise)[0]) < 0.05
        assert known.slope_given(kinds, z[:0], noise[:0]) == pytest.approx((0.45, 0.45**2))


def _columns(graphs):
    from archrank.predictors.features.columns import read_columns

    return read_columns([Sample(graph) for graph in graphs], ("evidence",))


@pytest.fixture(scope="module")
def reference(graphs) -> Reference:
    table = table_of([measurements(graph, {}) for graph in graphs])
    labels = np.log([[graph.params for graph in graphs]])
    several = [Family(name, [Sample(g) for g in graphs], labels) for name in "ab"]
    return Reference.learnt({"a": table, "b": table}, several, {})


class TestTransferRank:
    def test_without_labels_each_is_judged_by_itself(self, graphs, prior, reference) -> None:
        ranker = TransferRank.without_labels(prior, reference)
        mean, std = ranker.predict(graphs, return_std=True)
        assert kendall(mean, [graph.params for graph in graphs]) > 0.8
        assert ranker.predict(graphs[3:5]) == pytest.approx(mean[3:5])
        assert std == pytest.approx(reference.slope * reference.std)
        assert ranker.predict([]).shape == (0,)

    def test_equal_networks_are_told_apart_with_one_half(self, graphs, prior, reference) -> None:
        ranker = TransferRank.without_labels(prior, reference)
        assert ranker.better(graphs, graphs) == pytest.approx(0.5)
        first, second = graphs[:8], graphs[8:]
        mean, std = ranker.predict(graphs, return_std=True)
        expected = stats.norm.cdf((mean[:8] - mean[8:16]) / (std[0] * 2**0.5))
        assert ranker.better(first, second) == pytest.approx(expected)
        with pytest.raises(InputError, match="others: got 2, expected 8"):
            ranker.better(first, second[:2])

    def test_networks_of_real_size_are_judged_by_the_expert(self, graphs, prior, reference) -> None:
        labels = 60 + 2 * np.log([graph.params for graph in graphs])
        expert = GraphEnsemble("percent", 10).fit(graphs, labels)
        ranker = TransferRank.without_labels(prior, reference, expert=expert)
        large = [archrank.trace(net, (3, 96, 96)) for net in (_net(4), _net(16))]
        mean, std = ranker.predict([*graphs[:2], *large], return_std=True)
        said, deviation = expert.expected(large)
        assert mean[2:] == pytest.approx((said - expert.label_mean_) / expert.label_std_)
        assert std[2:] == pytest.approx(deviation / expert.label_std_)
        told = ranker.explain([*graphs[:2], *large])
        assert told["top-1"][2:] == pytest.approx(expert.predict(large))
        assert np.isnan(told["top-1"][:2]).all()
        assert np.isnan(told["size"][2:]).all()
        assert ranker.enough is not None
        assert [ranker.enough(graph) for graph in (graphs[0], large[0])] == [False, True]

    def test_a_few_labels_against_it_turn_it_round(self, graphs, prior) -> None:
        labels = [-float(np.log(graph.params)) for graph in graphs]
        ranker = TransferRank(prior.state()).fit(graphs, labels)
        assert ranker.score(graphs, labels) > 0.8

    def test_files_keep_what_it_knows_without_labels(
        self, graphs, prior, reference, tmp_path
    ) -> None:
        encoder = Pretraining("gin", {"width": 8, "layers": 1}, projection=4, epochs=1)
        known = Distribution(encoder.fit(graphs), clusters=2, neighbours=2).fit(graphs)
        ranker = TransferRank.without_labels(prior, reference, known)
        ranker.save(tmp_path / "ranker")
        loaded = archrank.load_predictor(tmp_path / "ranker")
        assert loaded.predict(graphs).tolist() == ranker.predict(graphs).tolist()
        assert loaded.distribution_report(graphs).distance == pytest.approx(
            known.report(graphs).distance
        )

    def test_refitting_keeps_what_families_taught(self, graphs, prior, reference) -> None:
        ranker = TransferRank.without_labels(prior, reference)
        labels = np.log([graph.params for graph in graphs])
        ranker.fit(graphs, labels)
        assert ranker.family_prior_["families"] == ["a", "b"]
        assert ranker.n_samples_ == len(graphs)

    def test_without_labels_there_is_no_scale(self, graphs, prior, reference) -> None:
        ranker = TransferRank.without_labels(prior, reference)
        with pytest.raises(InputError, match="no scale"):
            ranker.interval(graphs)
        with pytest.raises(InputError, match="keeps no pretraining set"):
            ranker.distribution_report(graphs)

    def test_strangers_are_warned_of(self, graphs, prior, reference) -> None:
        encoder = Pretraining("gin", {"width": 8, "layers": 1}, projection=4, epochs=1)
        known = Distribution(encoder.fit(graphs), clusters=2, neighbours=2).fit(graphs)
        ranker = TransferRank.without_labels(prior, reference, known)
        strangers = [archrank.data.space("flexibert").graph(a) for a in _some("flexibert", 2)]
        with pytest.warns(OutOfFamilyWarning, match="2 of 18"):
            ranker.predict([*graphs, *strangers])


def _net(width: int) -> torch.nn.Module:
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, width, 3, stride=4), torch.nn.ReLU(), torch.nn.Conv2d(width, 8, 3)
    )


def _some(name: str, count: int) -> list[str]:
    return archrank.data.space(name).sample(count, seed=0)


class TestShipped:
    def test_it_needs_neither_labels_nor_proxies(self) -> None:
        cells = _some("nasbench201", 30)
        space = archrank.data.space("nasbench201")
        with warnings.catch_warnings():
            warnings.simplefilter("error", OutOfFamilyWarning)
            mean = archrank.load_predictor().predict([space.graph(cell) for cell in cells])
        assert kendall(mean, [space.graph(cell).flops for cell in cells]) > 0.5

    def test_all_proxies_are_computed_if_asked(self) -> None:
        ranker = shipped().set_params(space="digits", proxies="auto")
        assert ranker.needed_proxies == PROXIES
        assert np.isfinite(ranker.predict(_some("digits", 3))).all()

    def test_its_predictions_are_the_recorded_ones(self) -> None:
        """Of five cells, written down when the weights were made."""
        space = archrank.data.space("nasbench201")
        graphs = [space.graph(cell) for cell in _some("nasbench201", 5)]
        mean, std = shipped().predict(graphs, return_std=True)
        assert mean == pytest.approx(RECORDED_MEAN, abs=1e-4)
        assert std == pytest.approx([RECORDED_STD] * 5, abs=1e-4)


RECORDED_MEAN = [-0.288974, -0.37648, -1.411053, -1.096345, -0.638125]
RECORDED_STD = 1.664992


class TestDistribution:
    def test_known_graphs_are_in_distribution(self, graphs) -> None:
        encoder = Pretraining("gin", {"width": 8, "layers": 1}, projection=4, epochs=1)
        known = Distribution(encoder.fit(graphs), clusters=2, neighbours=2).fit(graphs)
        report = known.report(graphs)
        assert (report.distance <= 1.0 + 1e-9).all()
        assert report.in_distribution.all()
        assert ((report.entropy >= 0) & (report.entropy <= 1)).all()
        assert known.report([]).distance.shape == (0,)

    def test_operators_that_no_known_graph_has_are_outside(self, graphs) -> None:
        import torch

        encoder = Pretraining("gin", {"width": 8, "layers": 1}, projection=4, epochs=1)
        known = Distribution(encoder.fit(graphs), clusters=2, neighbours=2).fit(graphs)
        odd = archrank.trace(torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Tanh()), (4,))
        report = known.report([odd])
        assert report.unknown[0] > 0.05
        assert not report.in_distribution[0]

    def test_too_few_graphs_are_told(self, graphs) -> None:
        encoder = Pretraining("gin", {"width": 8, "layers": 1}, projection=4, epochs=1)
        with pytest.raises(InputError, match="neighbours=5"):
            Distribution(encoder.fit(graphs), clusters=2).fit(graphs[:5])
