"""What families teach, and the predictor that ranks others by it."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.linear_model import RidgeCV
from torch import nn

import archrank
from archrank.errors import InputError
from archrank.metrics import kendall
from archrank.predictors import (
    Distribution,
    Family,
    GraphEnsemble,
    OutOfFamilyWarning,
    Pretraining,
    Ridge,
    Sample,
    TransferRank,
)
from archrank.predictors.checks import small_graphs
from archrank.predictors.features.evidence import PROXIES, measurements, table_of
from archrank.predictors.features.rank_transform import normal_scores
from archrank.predictors.features.statistics import statistics
from archrank.predictors.pretrained.families import Slopes
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
def reference(graphs) -> Reference:
    several = [family(name, graphs, seed=seed) for seed, name in enumerate("ab")]
    return Reference.learnt({one.name: _table(graphs) for one in several}, several, {})


def _table(graphs) -> np.ndarray:
    return table_of([measurements(graph, {}) for graph in graphs])


class TestReferenceOfFamilies:
    def test_each_family_teaches_while_it_is_held_out(self, graphs) -> None:
        one, other = family("a", graphs), family("b", graphs, sign=-1.0, quality=0.3, seed=1)
        found = Reference.learnt({"a": _table(graphs), "b": _table(graphs)}, [one, other], {})
        assert found.families == ["a", "b"]
        assert found.qualities.tolist() == [1.0, 0.3]
        score = Reference.of([_table(graphs)]).score(_table(graphs))
        expected = [stats.spearmanr(score, f.labels[0]).statistic for f in (one, other)]
        assert found.taught == pytest.approx(expected)
        assert found.taught_by_sizes == pytest.approx(expected)  # there are no proxies
        assert found.slope == pytest.approx(max(np.mean(expected), 0.0))

    def test_labels_of_any_scale_teach_the_same(self, graphs) -> None:
        one, tables = family("a", graphs), {"a": _table(graphs), "b": _table(graphs)}
        other = family("b", graphs, seed=1)
        stretched = replace(other, labels=np.exp(3 * other.labels))
        first, second = (Reference.learnt(tables, [one, f], {}) for f in (other, stretched))
        assert first.taught == pytest.approx(second.taught)

    def test_relatives_teach_nothing_of_each_other(self, graphs) -> None:
        several = [family(name, graphs, seed=seed) for seed, name in enumerate("ab")]
        tables = {one.name: _table(graphs) for one in several}
        found = Reference.learnt(tables, several, {"a": ("b",), "b": ("a",)})
        assert len(found.taught) == 0
        assert found.slope == 0.0

    @pytest.mark.parametrize("shape", [(1, 3), (2, 2, 2)])
    def test_wrong_labels_are_told(self, graphs, shape) -> None:
        wrong = Family("odd", [Sample(graph) for graph in graphs], np.zeros(shape))
        tables = {"odd": _table(graphs), "a": _table(graphs)}
        with pytest.raises(InputError, match="odd"):
            Reference.learnt(tables, [wrong, family("a", graphs)], {})

    def test_what_is_no_reference_is_told(self, graphs) -> None:
        with pytest.raises(InputError, match=r"reference: got a, expected .*families"):
            TransferRank({"a": 1}).fit(graphs, range(len(graphs)))


class TestSlopes:
    def test_the_slope_is_the_posterior_mean(self) -> None:
        rng = np.random.default_rng(0)
        slopes, weights = np.array([0.9, 0.4, -0.2]), np.array([1.0, 0.5, 1.0])
        z, y = (rest / rest.std() for rest in rng.normal(size=(2, 12)))
        likelihood = [np.prod(stats.norm.pdf(y, b * z, np.sqrt(1 - b**2))) for b in slopes]
        mean = np.average(slopes, weights=likelihood * weights)
        variance = np.average((slopes - mean) ** 2, weights=likelihood * weights)
        assert Slopes(slopes, weights).given(z, y) == pytest.approx((mean, variance))

    def test_labels_of_chosen_networks_are_not_held_against_the_scores(self) -> None:
        """The best tenth by scores hardly follow them; a regression on all would see as much."""
        rng = np.random.default_rng(1)
        z = rng.normal(size=4000)
        y = 0.8 * z + 0.6 * rng.normal(size=4000)
        best = np.argsort(z)[-400:]
        some, told = z[best] - z[best].mean(), (y[best] - y[best].mean()) / y[best].std()
        slope, _ = Slopes(np.array([0.8, 0.5, 0.2]), np.ones(3)).given(some, told)
        assert slope * y[best].std() == pytest.approx(0.8, abs=0.05)

    def test_families_of_another_kind_count_by_the_doubt(self) -> None:
        many, few = Slopes(np.full(9, 0.9), np.ones(9)), Slopes(np.array([0.1]), np.array([0.3]))
        nothing = np.zeros(0)  # no labels: the mean of what families had
        assert many.doubted(few, 0.25).given(nothing, nothing)[0] == pytest.approx(0.7)
        assert many.doubted(Slopes(nothing, nothing), 0.25) is many

    def test_a_few_labels_tell_whom_a_family_is_like(self) -> None:
        known, rng = Slopes(np.array([0.9, 0.0]), np.ones(2)), np.random.default_rng(0)
        z, noise = rng.normal(size=(2, 15))
        assert known.given(z, 0.9 * z + 0.4 * noise)[0] > 0.85
        assert abs(known.given(z, noise)[0]) < 0.05
        assert known.given(z[:0], noise[:0]) == pytest.approx((0.45, 0.45**2))


class TestAdaptedRank:
    """Each by hand: a line of the evidence, and what members say of the rest."""

    def test_a_member_learns_what_the_line_leaves(self, graphs, reference) -> None:
        labels = np.random.default_rng(0).permutation(np.log([g.params for g in graphs[:9]]))
        ranker = TransferRank(reference.state(), members={"ridge": Ridge(("statistics",))})
        said, _ = ranker.fit(graphs[:9], labels)._normal([Sample(graph) for graph in graphs])
        z = reference.score(_table(graphs))
        z, y = (z - z[:9].mean()) / z[:9].std(), normal_scores(labels)
        slope = reference.slopes(of_sizes=True).given(z[:9], y)[0] ** 3
        columns = np.array([statistics(graph) for graph in graphs])
        varied = columns[:9].std(axis=0) > 1e-9
        columns = (columns - columns[:9].mean(axis=0))[:, varied] / columns[:9].std(axis=0)[varied]
        columns, rest = np.clip(columns, -5.0, 5.0), y - slope * z[:9]
        ridge = RidgeCV(Ridge().alphas).fit(columns[:9], rest).predict(columns)
        expected = slope * z + 81 / (81 + 25) * (ridge + rest.mean()) / 2
        assert said[9:] == pytest.approx(expected[9:])
        assert ranker.slope_ == pytest.approx(slope)

    def test_labels_that_evidence_explains_leave_its_order(self, graphs, reference) -> None:
        ranker = TransferRank(reference.state(), members={"nothing": Ridge(())})
        z = reference.score(_table(graphs))
        for count in (5, 12):
            said = ranker.fit(graphs[:count], z[:count])._normal([Sample(g) for g in graphs])[0]
            assert kendall(said[count:], z[count:]) == pytest.approx(1.0)


class TestTransferRank:
    def test_without_labels_each_is_judged_by_itself(self, graphs, reference) -> None:
        ranker = TransferRank.without_labels(reference)
        mean, std = ranker.predict(graphs, return_std=True)
        assert kendall(mean, [graph.params for graph in graphs]) > 0.8
        assert ranker.predict(graphs[3:5]) == pytest.approx(mean[3:5])
        assert std == pytest.approx(reference.slope * reference.std)
        assert ranker.predict([]).shape == (0,)

    def test_equal_networks_are_told_apart_with_one_half(self, graphs, reference) -> None:
        ranker = TransferRank.without_labels(reference)
        assert ranker.better(graphs, graphs) == pytest.approx(0.5)
        first, second = graphs[:8], graphs[8:]
        mean, std = ranker.predict(graphs, return_std=True)
        expected = stats.norm.cdf((mean[:8] - mean[8:16]) / (std[0] * 2**0.5))
        assert ranker.better(first, second) == pytest.approx(expected)
        with pytest.raises(InputError, match="others: got 2, expected 8"):
            ranker.better(first, second[:2])

    def test_networks_of_real_size_are_judged_by_the_expert(self, graphs, reference) -> None:
        labels = 60 + 2 * np.log([graph.params for graph in graphs])
        expert = GraphEnsemble("percent", 10).fit(graphs, labels)
        ranker = TransferRank.without_labels(reference, expert=expert)
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

    def test_no_top1_is_expected_of_what_is_no_classifier(self, graphs, reference) -> None:
        labels = 60 + 2 * np.log([graph.params for graph in graphs])
        expert = GraphEnsemble("percent", 10).fit(graphs, labels)
        ranker = TransferRank.without_labels(reference, expert=expert)
        dense = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 1))
        large = [archrank.trace(net, (3, 96, 96)) for net in (dense, _net(8))]
        told = ranker.explain(large)
        assert np.isfinite(ranker.predict(large)).all()
        for name in ("top-1", "top-1 low", "top-1 high"):
            assert np.isfinite(told[name]).tolist() == [False, True]
        assert "top-1" not in ranker.explain(large[:1])

    def test_a_few_labels_against_it_turn_it_round(self, graphs, reference) -> None:
        labels = [-float(np.log(graph.params)) for graph in graphs]
        ranker = TransferRank(reference.state()).fit(graphs, labels)
        assert ranker.score(graphs, labels) > 0.8

    def test_labels_of_real_networks_begin_with_the_expert(self, graphs, reference) -> None:
        """Widths do not order these, and the expert knows why: a few labels agree with it."""
        nets = [_net(width, kernel) for width in (4, 8, 16, 32) for kernel in (1, 3, 5, 7)]
        large = [archrank.trace(net, (3, 96, 96)) for net in nets]
        labels = np.array([60.0 + 2 * (i % 4) - 0.5 * (i // 4) for i in range(16)])
        expert = GraphEnsemble("percent", 30).fit(large, labels)
        expert.calibrate([0.1], [0.1], slopes=(0.9, 0.8))
        ranker = TransferRank.without_labels(reference, expert=expert).fit(large[::3], labels[::3])
        assert ranker.basis_ == "top-1"
        plain = TransferRank(reference.state()).fit(large[::3], labels[::3])
        assert plain.basis_ == "sizes"
        assert ranker.score(large, labels) > max(0.6, plain.score(large, labels))

    def test_a_fitted_one_is_kept_whole(self, graphs, reference, tmp_path) -> None:
        expert = GraphEnsemble("percent", 5).fit(graphs, 50 + np.arange(len(graphs)))
        labels = np.log([graph.params for graph in graphs])
        ranker = TransferRank.without_labels(reference, expert=expert).fit(graphs, labels)
        ranker.save(tmp_path / "fitted")
        loaded = archrank.load_predictor(tmp_path / "fitted")
        assert loaded.predict(graphs) == pytest.approx(ranker.predict(graphs))

    def test_files_keep_what_it_knows_without_labels(self, graphs, reference, tmp_path) -> None:
        encoder = Pretraining("gin", {"width": 8, "layers": 1}, projection=4, epochs=1)
        known = Distribution(encoder.fit(graphs), clusters=2, neighbours=2).fit(graphs)
        ranker = TransferRank.without_labels(reference, known)
        ranker.save(tmp_path / "ranker")
        loaded = archrank.load_predictor(tmp_path / "ranker")
        assert loaded.predict(graphs).tolist() == ranker.predict(graphs).tolist()
        assert loaded.distribution_report(graphs).distance == pytest.approx(
            known.report(graphs).distance
        )

    def test_refitting_keeps_what_families_taught(self, graphs, reference) -> None:
        ranker = TransferRank.without_labels(reference)
        labels = np.log([graph.params for graph in graphs])
        ranker.fit(graphs, labels)
        assert ranker.reference_["families"] == ["a", "b"]
        assert ranker.n_samples_ == len(graphs)

    def test_without_labels_there_is_no_scale(self, graphs, reference) -> None:
        ranker = TransferRank.without_labels(reference)
        with pytest.raises(InputError, match="no scale"):
            ranker.interval(graphs)
        with pytest.raises(InputError, match="keeps no pretraining set"):
            ranker.distribution_report(graphs)

    def test_networks_out_of_distribution_are_warned_of(self, graphs, reference) -> None:
        encoder = Pretraining("gin", {"width": 8, "layers": 1}, projection=4, epochs=1)
        known = Distribution(encoder.fit(graphs), clusters=2, neighbours=2).fit(graphs)
        ranker = TransferRank.without_labels(reference, known)
        others = [archrank.data.space("flexibert").graph(a) for a in _some("flexibert", 2)]
        with pytest.warns(OutOfFamilyWarning, match="2 of 18"):
            ranker.predict([*graphs, *others])
        called = [Sample(graph, name=f"bert {i}") for i, graph in enumerate(others)]
        with pytest.warns(OutOfFamilyWarning, match=r"distribution \(bert 0 and bert 1\)"):
            ranker.predict([*map(Sample, graphs), *called])


def _net(width: int, kernel: int = 3) -> torch.nn.Module:
    return torch.nn.Sequential(
        *(torch.nn.Conv2d(3, width, kernel, stride=4), torch.nn.ReLU()),
        *(torch.nn.Conv2d(width, 8, 3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()),
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


RECORDED_MEAN = [-0.197425, -0.298282, -1.410383, -1.086073, -0.581698]
RECORDED_STD = 1.732729


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
