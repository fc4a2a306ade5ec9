"""Statistics and words of graphs; features made of them."""

from __future__ import annotations

import gc

import numpy as np
import pytest
import torch
from torch import nn

from archrank import trace
from archrank.data import space
from archrank.errors import InputError
from archrank.predictors import Sample
from archrank.predictors.checks import small_graphs
from archrank.predictors.features.blocks import alive, blocks
from archrank.predictors.features.cache import once_per_graph
from archrank.predictors.features.columns import PARTS, Features, read_columns
from archrank.predictors.features.counts import edge_counts, neighbourhood_counts, path_counts
from archrank.predictors.features.statistics import names, statistics

CELLS = space("nasbench201")


def value(graph, name: str) -> float:
    return float(statistics(graph)[names().index(name)])


class TwoPaths(nn.Module):
    """Two 3x3 convolutions beside one 1x1, then a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.long = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, 2, 1)
        )
        self.short = nn.Conv2d(3, 8, 1, 2)
        self.head = nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head((self.long(x) + self.short(x)).mean((2, 3)))


class TestStatistics:
    def test_paths_counted_by_hand(self) -> None:
        graph = trace(TwoPaths(), (3, 16, 16))
        assert value(graph, "most conv3 on a path") == 2
        assert value(graph, "fewest conv3 on a path") == 0
        assert value(graph, "mean conv3 on a path") == 1
        assert value(graph, "mean conv1 on a path") == 0.5
        assert value(graph, "walks conv3 to conv3") == 0.5
        assert value(graph, "walks avg_pool to linear") == 1
        assert value(graph, "log2 paths") == 1
        assert value(graph, "stage 0 conv3") == 1
        assert value(graph, "stage 1 conv3") == 1
        assert value(graph, "stage 1 conv1") == 1

    def test_what_carries_no_signal_does_not_count(self) -> None:
        blocked = "|nor_conv_3x3~0|+|none~0|none~1|+|skip_connect~0|nor_conv_1x1~1|none~2|"
        graph = CELLS.graph(blocked)
        # node 1 reaches the output through the 1x1 convolution; node 2 does not
        assert value(graph, "log2 nodes") > value(graph, "log2 alive")
        nothing = CELLS.graph("|none~0|+|none~0|none~1|+|none~0|none~1|none~2|")
        assert not len(alive(nothing).nodes)
        assert blocks(nothing) == []
        assert np.isfinite(statistics(nothing)).all()
        assert path_counts(nothing) == {}

    def test_names_fit(self) -> None:
        assert len(names()) == len(set(names())) == len(statistics(small_graphs()[0]))

    def test_brute_force_over_all_paths(self) -> None:
        for graph in (trace(TwoPaths(), (3, 8, 8)), *small_graphs()):
            assert_paths_by_enumeration(graph)

    def test_equal_architectures_have_equal_statistics(self) -> None:
        for arch in CELLS.sample(20, seed=5):
            canonical = CELLS.canonical(arch)
            again = CELLS.canonical(canonical)
            assert np.array_equal(
                statistics(CELLS.graph(canonical)), statistics(CELLS.graph(again))
            )
            assert path_counts(CELLS.graph(canonical)) == path_counts(CELLS.graph(again))


def assert_paths_by_enumeration(graph) -> None:
    nodes, edges = alive(graph)
    operands = {node: [] for node in nodes.tolist()}
    for source, target in nodes[edges].tolist():
        operands[target].append(source)

    def paths(node: int) -> list[list[int]]:
        sources = operands[node]
        if not sources:
            return [[node]]
        return [[*path, node] for source in sources for path in paths(source)]

    every = paths(len(graph) - 1)
    convolutions = [
        sum(graph.operators[i] == "conv2d" and graph.nodes[i].attributes["kernel0"] == 3 for i in p)
        for p in every
    ]
    assert value(graph, "most conv3 on a path") == max(convolutions)
    assert value(graph, "fewest conv3 on a path") == min(convolutions)
    assert 2 ** value(graph, "log2 paths") == pytest.approx(len(every))


class TestWords:
    def test_the_four_paths_of_a_cell(self) -> None:
        first, second = "|nor_conv_3x3~0|", "|nor_conv_1x1~0|avg_pool_3x3~1|"
        third = "|skip_connect~0|none~1|nor_conv_3x3~2|"
        words = path_counts(CELLS.graph("+".join((first, second, third))))
        assert words["path conv3 avg_pool conv3"] == 15
        assert words["path conv1 conv3"] == 15
        assert words["length 0"] == 15  # the skip of each cell
        assert "path conv3" not in words

    def test_skips_between_sums_are_edges(self) -> None:
        graph = trace(TwoPaths(), (3, 16, 16))
        words = edge_counts(graph)
        assert words["operator conv3"] == words["operator conv3/"] == 1
        assert words["edge conv3 conv3/"] == 1  # past the activation between them
        assert words["edge conv1/ add"] == words["edge conv3/ add"] == 1
        assert sum(n for word, n in words.items() if word.startswith("edge")) == 8
        skipped = CELLS.graph("|skip_connect~0|+|none~0|none~1|+|none~0|skip_connect~1|none~2|")
        convolved = CELLS.graph("|nor_conv_3x3~0|+|none~0|none~1|+|none~0|skip_connect~1|none~2|")
        assert edge_counts(convolved)["operator conv3"] == (
            edge_counts(skipped)["operator conv3"] + 15
        )

    def test_neighbourhoods_tell_directions_apart(self) -> None:
        first = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.ReLU())
        second = nn.Sequential(nn.ReLU(), nn.Linear(4, 4), nn.Linear(4, 4))
        a, b = (neighbourhood_counts(trace(net, (4,))) for net in (first, second))
        assert a != b
        assert sum(a.values()) == sum(b.values())

    def test_many_paths_stay_quick(self) -> None:
        class Grid(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.layers = nn.ModuleList(nn.Linear(4, 4) for _ in range(60))

            def forward(self, x: torch.Tensor) -> torch.Tensor:
                states = [x]
                for layer in self.layers:
                    states.append(layer(sum(states)))
                return states[-1]

        graph = trace(Grid(), (4,))
        assert 0 < len(path_counts(graph)) < 2000
        assert value(graph, "log2 paths") == pytest.approx(59)


class TestFeatures:
    def samples(self) -> list[Sample]:
        rng = np.random.default_rng(0)
        return [
            Sample(
                graph,
                code=np.eye(4, dtype=np.float32)[i % 4],
                scores={"up": float(i), "wide": float(10.0 ** (i - 8)), "flat": 1.0},
                context=(float(rng.normal()),),
            )
            for i, graph in enumerate(small_graphs())
        ]

    def test_training_columns_are_standardised(self) -> None:
        columns = read_columns(self.samples(), PARTS)
        features = Features(PARTS).fit(columns)
        matrix = features.transform(columns)
        assert matrix.shape == (16, len(features.names_))
        assert np.allclose(matrix.mean(axis=0), 0, atol=0.2)
        assert np.isfinite(matrix).all()
        assert "flat" not in features.names_

    def test_new_words_and_missing_scores_are_no_errors(self) -> None:
        samples = self.samples()
        features = Features(("paths", "scores")).fit(read_columns(samples, ("paths", "scores")))
        unseen = [Sample(CELLS.graph(CELLS.sample(1, seed=0)[0]), scores={"up": float("nan")})]
        columns = read_columns(unseen, ("paths", "scores"), features.score_names_)
        assert np.isfinite(features.transform(columns)).all()

    def test_a_score_that_is_missing_has_a_column(self) -> None:
        samples = self.samples()
        samples[3] = Sample(samples[3].graph, scores={"up": float("nan"), "wide": 1.0})
        features = Features(("scores",)).fit(read_columns(samples, ("scores",)))
        assert "up missing" in features.names_

    def test_taking_rows_is_reading_them(self) -> None:
        samples = self.samples()
        columns = read_columns(samples, PARTS)
        features = Features(PARTS).fit(columns)
        some = features.transform(columns.take(np.array([5, 2])))
        assert np.array_equal(some, features.transform(columns)[[5, 2]])

    @pytest.mark.parametrize("part", ["code", "context"])
    def test_unlike_lengths_are_told(self, part: str) -> None:
        samples = [*self.samples(), Sample(small_graphs()[0])]
        with pytest.raises(InputError, match=part):
            read_columns(samples, (part,))

    def test_unknown_parts_are_told(self) -> None:
        with pytest.raises(InputError, match="colour"):
            read_columns(self.samples(), ("colour",))


def test_results_live_as_long_as_their_graph() -> None:
    calls = []
    remember = once_per_graph(lambda graph: calls.append(1) or len(graph))
    graph = small_graphs()[0]
    assert remember(graph) == remember(graph) == len(graph)
    assert len(calls) == 1
    del graph
    gc.collect()
    kept = remember.__closure__
    assert kept is not None
    assert not any(cell.cell_contents for cell in kept if isinstance(cell.cell_contents, dict))
