"""Objectives of pretraining: each against loops, networkx or counts by hand."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path

import networkx
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import archrank
from archrank.data import space
from archrank.errors import InputError
from archrank.predictors import Pretraining
from archrank.predictors.checks import small_graphs
from archrank.predictors.features.counts import neighbourhood_counts
from archrank.predictors.features.operator_classes import CLASSES, classes_of
from archrank.predictors.neural.batches import GraphBatch, GraphTensors
from archrank.predictors.neural.contrast import label_targets
from archrank.predictors.neural.corpus import graphs_to_learn_from
from archrank.predictors.neural.encoders import encoder
from archrank.predictors.neural.learning.plan import TrainingPlan
from archrank.predictors.neural.objectives.choosing import NAMED, OBJECTIVES, weights_of
from archrank.predictors.neural.objectives.clusters import cluster_batching, clusters_of_graphs
from archrank.predictors.neural.objectives.contract import Step
from archrank.predictors.neural.objectives.masking import (
    RADIUS,
    classes_in,
    counts_of,
    masked,
    masked_parts,
)
from archrank.predictors.neural.objectives.regression import Regression, spread_within
from archrank.predictors.neural.objectives.tables import SKETCH, TABLES, sketch, table_of
from archrank.predictors.neural.wirings import RandomWiring
from archrank.predictors.reading import Sample

GRAPHS = small_graphs()
SAMPLES = [Sample(graph) for graph in GRAPHS]
TENSORS = [GraphTensors.of(graph, fold=True) for graph in GRAPHS]
BATCH = GraphBatch.of(TENSORS)


def small(**options: object) -> Pretraining:
    return Pretraining("gin", {"width": 16, "layers": 1}, projection=8, epochs=2, **options)


class TestTables:
    @pytest.mark.parametrize("name", [name for name in TABLES if name != "scores"])
    def test_columns_have_mean_0_and_deviation_1_or_are_0(self, name: str) -> None:
        table = table_of(name, SAMPLES)
        assert np.allclose(table.mean(axis=0), 0, atol=1e-9)
        spread = table.std(axis=0)
        assert np.all(np.isclose(spread, 1) | np.isclose(spread, 0))

    def test_scores_that_are_missing_stay_missing(self) -> None:
        some = [Sample(g, scores={"snip": 10.0**i}) for i, g in enumerate(GRAPHS[:4])]
        table = table_of("scores", [*some, Sample(GRAPHS[4], scores={"synflow": math.inf})])
        assert table.shape == (5, 1)  # what was never finite is no column
        assert np.isnan(table[4, 0])
        assert np.all(np.diff(table[:4, 0]) > 0)

    @given(st.dictionaries(st.text(max_size=4), st.floats(0, 1e6), max_size=20))
    def test_sketches_add_up_over_words(self, counts: dict[str, float]) -> None:
        alone = sum((sketch({w: c}) for w, c in counts.items()), start=np.zeros(SKETCH))
        assert np.allclose(sketch(counts), alone)

    def test_products_of_sketches_are_those_of_counts(self) -> None:
        words = [neighbourhood_counts(graph) for graph in GRAPHS]
        every = sorted({word for one in words for word in one})
        counts = np.log1p([[one.get(word, 0.0) for word in every] for one in words])
        sketches = np.stack([sketch(one) for one in words])
        lengths = np.linalg.norm(counts, axis=1)
        error = (sketches @ sketches.T - counts @ counts.T) / np.outer(lengths, lengths)
        assert np.abs(error).max() < 6 / math.sqrt(SKETCH)


class TestRegression:
    @pytest.mark.parametrize("kinds", [None, np.array([0, 0, 0, 1, 1, 1])])
    def test_against_a_loop(self, kinds: np.ndarray | None) -> None:
        table = np.random.default_rng(0).normal(size=(6, 3))
        table[1, 2] = np.nan
        torch.manual_seed(0)
        one = Regression(table, kinds, width=4)
        vectors, rows = torch.randn(5, 4), [0, 1, 2, 4, 5]
        said = one.head(vectors).detach().numpy()
        scale, losses = spread_within(table, kinds), []
        error = (table[rows] - said) / scale
        for place, row in enumerate(rows):
            for column in range(3):
                if not np.isfinite(error[place, column]):
                    continue
                alike = [
                    p for p, r in enumerate(rows) if kinds is not None and kinds[r] == kinds[row]
                ]
                mean = np.nanmean(error[alike, column]) if alike else 0.0
                off = abs(error[place, column] - mean)
                losses.append(off**2 / 2 if off < 1 else off - 0.5)
        found = one(Step(encoder("gin", width=4), rows, BATCH, vectors, 1))
        assert found.item() == pytest.approx(np.mean(losses), rel=1e-5)

    def test_what_tells_kinds_apart_does_not_count(self) -> None:
        table = np.random.default_rng(0).normal(size=(6, 3))
        kinds = np.array([0, 0, 0, 1, 1, 1])
        torch.manual_seed(0)
        one = Regression(table, kinds, width=4)
        step = Step(encoder("gin", width=4), list(range(6)), BATCH, torch.randn(6, 4), 1)
        before = one(step)
        one.table[:3] += 5.0
        assert torch.allclose(one(step), before, atol=1e-5)

    def test_the_scale_against_pandas(self) -> None:
        import pandas as pd

        rng = np.random.default_rng(1)
        table, kinds = rng.normal(size=(40, 2)) * [0.3, 0.01], rng.integers(0, 4, 40)
        rest = pd.DataFrame(table).groupby(kinds).transform(lambda c: c - c.mean()).to_numpy()
        expected = np.clip(np.sqrt((rest**2).mean(axis=0)), 0.05, 1)
        assert np.allclose(spread_within(table, kinds), expected)
        assert spread_within(table, None).tolist() == [1.0, 1.0]


class TestMasking:
    def test_parts_are_balls_around_a_node(self) -> None:
        torch.manual_seed(3)
        part = masked_parts(BATCH)
        for i, tensors in enumerate(TENSORS):
            inside = set(np.flatnonzero(part[BATCH.graph == i].numpy()).tolist())
            graph = networkx.Graph(tensors.edges.T.tolist())
            graph.add_nodes_from(range(len(tensors)))
            balls = (
                set(networkx.ego_graph(graph, node, radius))
                for node in inside
                for radius in range(RADIUS + 1)
            )
            assert any(inside == ball for ball in balls)

    def test_what_is_masked_says_nothing_of_itself(self) -> None:
        part = masked_parts(BATCH)
        hidden = masked(BATCH, part)
        inside = part > 0
        for name in ("operator", "gennape_operator", "x", "resolution", "kernel", "bias"):
            assert not getattr(hidden, name)[inside].any()
            assert torch.equal(getattr(hidden, name)[~inside], getattr(BATCH, name)[~inside])
        assert torch.equal(hidden.edges, BATCH.edges)

    def test_classes_are_those_of_the_features(self) -> None:
        plain = GraphBatch.of([GraphTensors.of(graph) for graph in GRAPHS])
        expected = np.concatenate([classes_of(graph) for graph in GRAPHS])
        assert classes_in(plain).tolist() == expected.tolist()

    def test_counts_against_a_loop(self) -> None:
        torch.manual_seed(5)
        part = masked_parts(BATCH)
        classes, k = classes_in(BATCH).tolist(), len(CLASSES)
        expected = np.zeros((BATCH.count, k + k * k))
        for node, graph in enumerate(BATCH.graph.tolist()):
            expected[graph, classes[node]] += float(part[node] * BATCH.multiplicity[node])
        for source, target in BATCH.edges.T.tolist():
            if part[source] or part[target]:
                pair = k + classes[source] * k + classes[target]
                times = float(BATCH.multiplicity[target])
                expected[int(BATCH.graph[target]), pair] += times
        assert np.allclose(counts_of(BATCH, part).numpy(), expected)


class TestLabelTargets:
    def test_against_a_loop(self) -> None:
        labels = torch.rand(5, 3, generator=torch.Generator().manual_seed(0)).double()
        targets = label_targets(labels, 0.3)
        for i in range(5):
            distance = [float((labels[i] - labels[j]).norm()) for j in range(5)]
            mean = sum(distance) / 4
            weights = [0.0 if i == j else math.exp(-distance[j] / (0.3 * mean)) for j in range(5)]
            assert targets[i].tolist() == pytest.approx([w / sum(weights) for w in weights])

    @given(st.floats(0.01, 100))
    def test_the_unit_of_counts_does_not_matter(self, factor: float) -> None:
        labels = torch.rand(4, 3, generator=torch.Generator().manual_seed(1)).double()
        assert torch.allclose(label_targets(labels, 0.2), label_targets(factor * labels, 0.2))

    def test_equal_graphs_share_evenly(self) -> None:
        assert torch.allclose(
            label_targets(torch.ones(3, 2), 0.1), (torch.ones(3, 3) - torch.eye(3)) / 2
        )


class TestKinds:
    def test_batches_hold_every_graph_once_and_few_kinds(self) -> None:
        rng = np.random.default_rng(0)
        rows = np.repeat(rng.normal(size=(4, 6)) * 30, 100, axis=0) + rng.normal(size=(400, 6))
        kinds = clusters_of_graphs(rows, seed=0)
        assert all(len(np.unique(kinds[i : i + 100])) <= 2 for i in range(0, 400, 100))
        graphs = [[0] * 3] * 400
        for epoch in range(2):
            cut = cluster_batching(graphs, kinds, 16, TrainingPlan(batch_size=32))(epoch)
            assert sorted(i for batch in cut for i in batch) == list(range(400))
            assert np.mean([len(np.unique(kinds[batch])) for batch in cut]) < 4

    def test_a_corpus_of_one_graph_is_one_kind(self) -> None:
        assert clusters_of_graphs(np.zeros((3, 2)), seed=0).tolist() == [0, 0, 0]


class TestChoosing:
    @pytest.mark.parametrize("name", [name for name in OBJECTIVES if name != "scores"])
    @pytest.mark.parametrize("together", [0, 8])
    def test_each_alone_gives_an_encoder(self, name: str, together: int) -> None:
        made = small(objectives={name: 1.0}, together=together).fit(GRAPHS)
        assert np.isfinite(made.history_).all()
        assert np.isfinite(made.embed(GRAPHS)).all()

    @pytest.mark.parametrize("name", NAMED)
    def test_named_combinations(self, name: str) -> None:
        assert weights_of(name) == dict(NAMED[name])
        assert np.isfinite(small(objectives=name).fit(GRAPHS).history_).all()

    def test_scores_of_samples_are_learnt(self) -> None:
        scored = [Sample(g, scores={"size": float(g.params)}) for g in GRAPHS[:-2]]
        way = small(objectives={"scores": 1.0}).set_params(epochs=60, learning_rate=1e-2)
        history = way.fit([*scored, *GRAPHS[-2:]]).history_
        assert history[-1] < history[0] / 2

    def test_the_names_of_files_of_before_hold(self) -> None:
        named = small().get_params()
        for (spectral, sizes), weights in (
            ((1.0, 0.5), {"spectral": 1.0, "sizes": 0.5}),
            ((None, 0.5), {"spectral": 1.0, "sizes": 0.5}),
            ((0.0, 2.0), {"sizes": 2.0}),
            ((None, None), small().weights),
        ):
            old = {**named, "contrastive": spectral, "statistics": sizes}
            assert Pretraining(**Pretraining.arguments_of_file(old)).weights == weights

    def test_unknown_names_are_told(self) -> None:
        with pytest.raises(InputError, match="masked"):
            weights_of({"maskd": 1.0})


class TestCorpus:
    def test_a_stopped_call_goes_on_from_what_is_kept(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def stop(done: int, total: int, name: str) -> None:
            assert total == 5
            if done == 4:
                raise KeyboardInterrupt

        ask = partial(graphs_to_learn_from, ["hiaml"], 3, wirings=2, folder=tmp_path)
        with pytest.raises(KeyboardInterrupt):
            ask(progress=stop)
        assert len(list(tmp_path.iterdir())) == 4
        expected = graphs_to_learn_from(["hiaml"], 3, wirings=2)

        def remake(*_: object) -> archrank.Graph:
            raise AssertionError("what was kept is made again")

        monkeypatch.setattr(type(space("hiaml")), "graph", remake)
        assert [graph.hash for graph in ask()] == [graph.hash for graph in expected]


class TestWirings:
    def test_networks_run_and_repeat_with_their_seed(self) -> None:
        with torch.device("meta"):
            several = [RandomWiring(seed) for seed in (0, 0, 1)]
        first, same, other = (archrank.trace(one, one.input_shape) for one in several)
        assert first.hash == same.hash != other.hash
        assert not first.unknown_operators

    def test_all_nodes_are_read(self) -> None:
        for seed in range(5):
            network = RandomWiring(seed).eval()
            images = torch.randn(2, 3, 32, 32, requires_grad=True)
            network(images).sum().backward()
            assert all(p.grad is not None for p in network.parameters())
