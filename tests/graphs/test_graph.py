"""What a graph is: immutable, equal by structure, and the same in every form."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import pickle
import zipfile

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from archrank.errors import InputError
from archrank.graphs import CANONICAL, Graph, trace, vocabulary


class Dag(nn.Module):
    """A random network: node ``i`` applies ``plan[i]`` to earlier ones, run in ``order``."""

    def __init__(self, plan: list[tuple[str, tuple[int, ...]]], order: list[int]):
        super().__init__()
        self.plan, self.order = plan, order
        self.layers = nn.ModuleDict(
            {
                str(i): nn.Conv2d(4, 4, 3, padding=1) if kind == "conv" else nn.Conv2d(4, 4, 1)
                for i, (kind, _) in enumerate(plan)
                if kind in ("conv", "point")
            }
        )

    def forward(self, x: Tensor) -> Tensor:
        made = {-1: x}
        for i in self.order:
            kind, sources = self.plan[i]
            first = made[sources[0]]
            if kind in ("conv", "point"):
                made[i] = self.layers[str(i)](first)
            elif kind == "add":
                made[i] = first + made[sources[-1]]
            elif kind == "cat":
                made[i] = torch.cat([first, made[sources[-1]]], 1)[:, :4].relu()
            else:
                made[i] = getattr(torch, kind)(first)
        return sum((made[i].mean() for i in sorted(made)), start=x.mean() * 0.5)


@st.composite
def plans(draw) -> tuple[list[tuple[str, tuple[int, ...]]], list[int]]:
    """Return a plan and another valid order of running it."""
    size = draw(st.integers(2, 9))
    kinds = ("conv", "point", "relu", "tanh", "add", "cat")
    plan = []
    for i in range(size):
        earlier = st.integers(-1, i - 1)
        plan.append((draw(st.sampled_from(kinds)), (draw(earlier), draw(earlier))))
    order, waiting = [], set(range(size))
    while waiting:
        ready = sorted(i for i in waiting if not waiting.intersection(_used(plan[i])))
        order.append(draw(st.sampled_from(ready)))
        waiting.remove(order[-1])
    return plan, order


def _used(step: tuple[str, tuple[int, ...]]) -> tuple[int, ...]:
    return step[1] if step[0] in ("add", "cat") else step[1][:1]


def sequential(*layers: nn.Module, shape: tuple[int, ...] = (4, 8, 8)) -> Graph:
    return trace(nn.Sequential(*layers), shape)


@pytest.fixture(scope="module")
def graph() -> Graph:
    return trace(
        Dag([("conv", (-1, 0)), ("relu", (0, 0)), ("add", (0, 1)), ("cat", (1, 2))], [0, 1, 2, 3]),
        (4, 8, 8),
    )


# --- identity -------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(plans())
def test_order_of_parallel_branches_does_not_matter(drawn):
    plan, order = drawn
    a = trace(Dag(plan, list(range(len(plan)))), (4, 6, 6))
    b = trace(Dag(plan, order), (4, 6, 6))
    assert a == b
    assert np.allclose(a.spectrum(5), b.spectrum(5), atol=1e-8)


@settings(max_examples=25, deadline=None)
@given(plans(), plans())
def test_hash_is_equal_only_for_isomorphic_graphs(one, two):
    networkx = pytest.importorskip("networkx")
    a, b = (trace(Dag(plan, order), (4, 6, 6)) for plan, order in (one, two))

    def plain(graph: Graph):
        made = networkx.MultiDiGraph()
        for node in graph.nodes:
            facts = (node.operator, node.in_shape, node.out_shape, str(node.attributes))
            made.add_node(node.index, facts=facts, signature=int(graph.signature[node.index]))
        seen: dict[int, int] = {}
        for s, t in graph.edges.tolist():
            seen[t] = seen.get(t, -1) + 1
            commutes = graph.nodes[t].operator in ("add", "mul")
            made.add_edge(s, t, operand=0 if commutes else seen[t])
        return made

    same = networkx.is_isomorphic(
        plain(a),
        plain(b),
        node_match=lambda u, v: u == v,
        edge_match=lambda u, v: (
            sorted(e["operand"] for e in u.values()) == sorted(e["operand"] for e in v.values())
        ),
    )
    assert (a == b) == same


VARIANTS = {
    "base": lambda: sequential(nn.Conv2d(4, 4, 3, padding=1), nn.ReLU()),
    "kernel": lambda: sequential(nn.Conv2d(4, 4, 5, padding=2), nn.ReLU()),
    "stride": lambda: sequential(nn.Conv2d(4, 4, 3, 2, 1), nn.ReLU()),
    "dilation": lambda: sequential(nn.Conv2d(4, 4, 3, padding=2, dilation=2), nn.ReLU()),
    "groups": lambda: sequential(nn.Conv2d(4, 4, 3, padding=1, groups=2), nn.ReLU()),
    "depthwise": lambda: sequential(nn.Conv2d(4, 4, 3, padding=1, groups=4), nn.ReLU()),
    "width": lambda: sequential(nn.Conv2d(4, 8, 3, padding=1), nn.ReLU()),
    "bias": lambda: sequential(nn.Conv2d(4, 4, 3, padding=1, bias=False), nn.ReLU()),
    "activation": lambda: sequential(nn.Conv2d(4, 4, 3, padding=1), nn.GELU()),
    "slope": lambda: sequential(nn.Conv2d(4, 4, 3, padding=1), nn.LeakyReLU(0.2)),
    "other slope": lambda: sequential(nn.Conv2d(4, 4, 3, padding=1), nn.LeakyReLU(0.3)),
    "order": lambda: sequential(nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1)),
    "depth": lambda: sequential(nn.Conv2d(4, 4, 3, padding=1), nn.ReLU(), nn.ReLU()),
    "resolution": lambda: sequential(nn.Conv2d(4, 4, 3, padding=1), nn.ReLU(), shape=(4, 9, 9)),
    "head": lambda: sequential(nn.Conv2d(4, 4, 3, padding=1), nn.ReLU(), nn.BatchNorm2d(4)),
}


def test_every_change_changes_the_hash():
    graphs = {name: make() for name, make in VARIANTS.items()}
    assert len({graph.hash for graph in graphs.values()}) == len(graphs)
    assert all(make() == graphs[name] for name, make in VARIANTS.items())


class Function(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, self.a, self.b)


@pytest.mark.parametrize(
    ("one", "two", "same"),
    [
        (lambda x, a, b: a(x) * 0.1, lambda x, a, b: a(x) * 0.2, False),
        (lambda x, a, b: a(x) + 1, lambda x, a, b: a(x) + 2, False),
        (lambda x, a, b: a(x).relu() - b(x), lambda x, a, b: b(x) - a(x).relu(), False),
        (lambda x, a, b: a(x).relu() + b(x), lambda x, a, b: b(x) + a(x).relu(), True),
        (lambda x, a, b: a(x).relu() @ b(x).T, lambda x, a, b: b(x) @ a(x).relu().T, False),
        (
            lambda x, a, b: torch.cat([a(x).relu(), b(x)]),
            lambda x, a, b: torch.cat([b(x), a(x).relu()]),
            False,
        ),
        (lambda x, a, b: a(a(x)) + 0 * b(x), lambda x, a, b: a(b(x)) + 0 * b(x), False),
        (lambda x, a, b: a(a(b(b(x)))), lambda x, a, b: a(b(a(b(x)))), False),
        (lambda x, a, b: a(b(a(b(x)))), lambda x, a, b: b(a(b(a(x)))), True),
        (lambda x, a, b: a(x), lambda x, a, b: b(x), True),
        (lambda x, a, b: a(x).softmax(-1), lambda x, a, b: a(x).softmax(0), False),
    ],
)
def test_scalars_operands_and_sharing(one, two, same):
    assert (trace(Function(one), (4,)) == trace(Function(two), (4,))) == same


# --- immutability ---------------------------------------------------------------------------------


def test_immutable(graph):
    with pytest.raises(dataclasses.FrozenInstanceError):
        graph.operator = None
    for field in dataclasses.fields(graph):
        value = getattr(graph, field.name)
        if isinstance(value, np.ndarray):
            with pytest.raises(ValueError, match="read-only"):
                value[...] = 0
    before = graph.hash
    graph.to_networkx().clear()
    graph.to_pyg().x.zero_()
    assert graph.hash == Graph(**dataclasses.asdict(graph)).hash == before
    assert graph in {graph}
    assert graph != "graph"


def test_nodes_are_a_sequence(graph):
    assert len(graph.nodes) == len(graph) == len(list(graph))
    assert graph.nodes[-1].operator == "output"
    assert [n.index for n in graph.nodes[1:3]] == [1, 2]
    with pytest.raises(IndexError):
        graph.nodes[len(graph)]
    assert (graph.edges[:, 0] < graph.edges[:, 1]).all()
    assert repr(graph).startswith(f"Graph({len(graph)} nodes")


def test_arrays_stay_small():
    graph = trace(nn.Sequential(*[nn.Linear(4, 4) for _ in range(1000)]), (4,))
    size = sum(v.nbytes for v in vars(graph).values() if isinstance(v, np.ndarray))
    assert size < 250 * len(graph)


# --- other forms ----------------------------------------------------------------------------------


def test_spectrum_is_that_of_networkx(graph):
    networkx = pytest.importorskip("networkx")
    for made in (graph, *(make() for make in list(VARIANTS.values())[:2])):
        simple = networkx.Graph(made.to_networkx().to_undirected())
        matrix = networkx.normalized_laplacian_matrix(simple).toarray()
        expected = np.sort(np.linalg.eigvalsh(matrix))
        assert np.allclose(made.spectrum(len(made)), expected, atol=1e-10)
        assert np.allclose(made.spectrum(3), expected[:3], atol=1e-10)
        padded = made.spectrum(len(made) + 4)
        assert np.allclose(padded[len(made) :], expected[-1])
    with pytest.raises(InputError, match="q: got 0"):
        graph.spectrum(0)


def test_spectrum_of_a_long_graph():
    # 2,002 nodes in a row: 1 - cos(pi k / (n - 1)).
    graph = trace(nn.Sequential(*[nn.ReLU() for _ in range(2000)]), (2,))
    expected = 1 - np.cos(np.pi * np.arange(6) / (len(graph) - 1))
    assert np.allclose(graph.spectrum(6), expected, atol=1e-8)


def test_networkx_and_pyg_agree(graph):
    networkx = pytest.importorskip("networkx")
    other = graph.to_networkx()
    assert networkx.is_directed_acyclic_graph(other)
    assert other.number_of_nodes() == len(graph)
    assert sorted((s, t) for s, t, _ in other.edges) == sorted(map(tuple, graph.edges.tolist()))
    assert [other.nodes[i]["operator"] for i in other] == graph.operators
    for features in ("default", "gennape"):
        data = graph.to_pyg(features)
        data.validate(raise_on_error=True)
        assert data.num_nodes == len(graph) == len(data.x) == len(data.operator)
        assert sorted(set(map(tuple, graph.edges.tolist()))) == sorted(
            map(tuple, data.edge_index.T.tolist())
        )
        assert data.x.isfinite().all()
        assert data.x.dtype is torch.float32
    with pytest.raises(InputError, match="features: got 'other'"):
        graph.to_pyg("other")


def test_repeated_edges_stay_operands():
    class Square(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * x

    graph = trace(Square(), (3,))
    assert graph.edges.tolist() == [[0, 1], [0, 1], [1, 2]]
    assert graph.to_networkx().number_of_edges() == 3
    assert graph.to_pyg().num_edges == 2
    assert np.allclose(graph.spectrum(3), [0, 1, 2])


def test_gennape_features():
    graph = sequential(nn.Conv2d(4, 8, 9, 2, 4), nn.ReLU(), nn.MaxPool2d(2), shape=(4, 16, 16))
    data = graph.to_pyg("gennape")
    names = [vocabulary("gennape").classes[i] for i in data.operator]
    assert names == ["input", "conv", "relu", "maxpool", "output"]
    assert data.kernel.tolist() == [[0, 0], [7, 7], [0, 0], [2, 2], [0, 0]]
    assert data.bias.tolist() == [0, 1, 0, 0, 0]
    assert data.weighted.tolist() == [False, True, False, False, False]
    row = [16 / 256, 8 / 256, 16 / 256, 8 / 256, 4 / 512, 8 / 512]
    assert data.x[1].tolist() == pytest.approx(row)


def test_vocabularies():
    gennape, default = vocabulary("gennape"), vocabulary()
    assert len(gennape) == 32
    assert len(set(gennape.classes)) == 32
    assert gennape.classes[0] == "oov"
    assert len(default) == len(CANONICAL)
    for operator in CANONICAL:
        assert 0 <= gennape.encode(operator) < 32
        assert default.encode(operator) == CANONICAL.index(operator)
    pairs = {"conv2d": "conv", "depthwise_conv": "depthwise", "linear": "matmul", "silu": "swish"}
    assert all(gennape.classes[gennape.encode(a)] == b for a, b in pairs.items())
    assert gennape.encode("lstm") == gennape.encode("no such thing") == 0
    with pytest.raises(InputError, match=r"vocabulary: got 'x', expected one of 'default'"):
        vocabulary("x")


# --- saving ---------------------------------------------------------------------------------------


def test_round_trip(graph, tmp_path):
    graph.save(tmp_path / "a.graph")
    again = Graph.load(tmp_path / "a.graph")
    assert again == graph
    assert again.hash == graph.hash
    for field in dataclasses.fields(graph):
        a, b = getattr(graph, field.name), getattr(again, field.name)
        assert np.array_equal(a, b) if isinstance(a, np.ndarray) else a == b
    assert list(again) == list(graph)
    assert [p.name for p in tmp_path.iterdir()] == ["a.graph"]


class Bomb:
    exploded = False

    def __reduce__(self):
        return (setattr, (Bomb, "exploded", True))


def _with(graph: Graph, path, **changes) -> None:
    """Return a saved graph with some of its arrays replaced."""
    graph.save(path)
    with np.load(path) as file:
        data = dict(file)
    np.savez(path.open("wb"), **{**data, **changes})


def test_bad_files(graph, tmp_path):
    path = tmp_path / "bad"

    def fails(match: str = "path: .*not a graph saved by archrank") -> None:
        with pytest.raises(InputError, match=match):
            Graph.load(path)

    fails("path: no file")
    graph.save(path)
    whole = path.read_bytes()
    for size in (0, 1, 10, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        fails()
    for at in range(40, len(whole), len(whole) // 40):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :])
        with contextlib.suppress(InputError):  # some bytes nothing reads
            assert isinstance(Graph.load(path), Graph)
    path.write_bytes(b"hello, this is text\n")
    fails()
    path.write_bytes(pickle.dumps(Bomb()))
    fails()
    np.savez(path.open("wb"), names=np.array([Bomb()], dtype=object))
    fails()
    torch.save({"a": Bomb()}, path)
    fails()
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("names.npy", "nonsense")
    fails()
    np.savez(path.open("wb"), a=np.zeros(3))
    fails()
    buffer = io.BytesIO()
    np.save(buffer, np.zeros(3))
    path.write_bytes(buffer.getvalue())
    fails()
    assert not Bomb.exploded


def test_files_that_do_not_fit_together(graph, tmp_path):
    path = tmp_path / "bad"
    n = len(graph)
    for changes in (
        {"operator": graph.operator[:-1]},
        {"operator": graph.operator + 1000},
        {"edges": graph.edges[:, ::-1]},
        {"edges": graph.edges + n},
        {"in_offsets": graph.in_offsets[::-1]},
        {"attributes": graph.attributes[:, :3]},
        {"parameter_sizes": graph.parameter_sizes[:-1]},
        {"aten": graph.aten + 99},
        {"names": np.frombuffer(json.dumps([1, 2]).encode(), np.uint8)},
        {"names": np.frombuffer(b"\xff\xfe", np.uint8)},
        {"operator": graph.operator.astype(float)},
        {"node_flops": np.array(["a"] * n)},
        {"extra": np.zeros(1)},
    ):
        _with(graph, path, **changes)
        with pytest.raises(InputError, match=r"path: .*not a graph saved by archrank"):
            Graph.load(path)


def test_newer_format_says_so(graph, tmp_path):
    path = tmp_path / "newer"
    graph.save(path)
    with np.load(path) as file:
        names = json.loads(file["names"].tobytes())
    names["format"] = 99
    _with(graph, path, names=np.frombuffer(json.dumps(names).encode(), np.uint8))
    with pytest.raises(InputError, match="format 1"):
        Graph.load(path)


def test_shapes_of_inputs_and_outputs_are_those_of_the_tensors():
    class Two(torch.nn.Module):
        def forward(self, x, y):
            return (x + 1).flatten(1), x.mean(1) * y

    graph = trace(Two(), (torch.zeros(1, 3, 4, 5), torch.zeros(1, 4, 5)))
    assert graph.input_shapes == ((1, 3, 4, 5), (1, 4, 5))
    assert sorted(graph.output_shapes) == [(1, 4, 5), (1, 60)]
