"""What holds for every encoder."""

from __future__ import annotations

import copy
import resource
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from archrank.data import space
from archrank.errors import InputError
from archrank.predictors.neural.batches import GraphBatch, GraphTensors
from archrank.predictors.neural.encoders import encoder, encoders
from archrank.predictors.neural.encoders.contract import Encoder, encode

POSITIONS = 8
EVERY = pytest.mark.parametrize("name", encoders())


def tensors(name: str, arch: int = 0, **options: object) -> GraphTensors:
    one = space(name)
    graph = one.graph(one.sample(arch + 1, 0)[arch])
    return GraphTensors.of(graph, positions=POSITIONS, **options)


def one_node(operator: int = 3) -> GraphTensors:
    """Return a graph of one node without edges."""
    first = tensors("hiaml")
    rows = {
        name: getattr(first, name)[:1]
        for name in (
            "x gennape_operator resolution kernel bias weighted multiplicity statistics present "
            "positions".split()
        )
    }
    ids, none = torch.tensor([operator]), torch.zeros(2, 0, dtype=torch.int64)
    return replace(first, **rows, operator=ids, edges=none)


def relabelled(graph: GraphTensors, seed: int) -> GraphTensors:
    """Return the same graph with its nodes and edges in another order."""
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(graph), generator=generator)
    place = order.argsort()
    mixed = torch.randperm(graph.edges.shape[1], generator=generator)
    rows = {
        name: value[order] for name, value in vars(graph).items() if name not in ("edges", "key")
    }
    return replace(graph, **rows, edges=place[graph.edges[:, mixed]])


@pytest.fixture(scope="module")
def unlike() -> list[GraphTensors]:
    """Graphs of very unlike sizes."""
    return [
        one_node(),
        tensors("hiaml"),
        tensors("nasbench201"),
        tensors("nasbench201", fold=True),
        tensors("transnas101_micro"),
    ]


def make(name: str, **options: object) -> Encoder:
    torch.manual_seed(0)
    return encoder(name, **options).eval()


@EVERY
def test_one_vector_per_graph_whatever_else_is_in_the_batch(
    name: str, unlike: list[GraphTensors]
) -> None:
    model = make(name)
    together = model(GraphBatch.of(unlike))
    assert together.shape == (len(unlike), model.width)
    assert together.dtype == torch.float32
    assert torch.isfinite(together).all()
    alone = torch.cat([model(GraphBatch.of([one])) for one in unlike])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-5)
    assert model.node_states(GraphBatch.of(unlike)).shape == (
        sum(map(len, unlike)),
        model.width,
    )


@EVERY
@settings(max_examples=8, deadline=None)
@given(st.integers(0, 2**20), st.sampled_from(["nasbench201", "nasbench101", "hiaml"]))
def test_the_order_of_nodes_does_not_count(name: str, seed: int, where: str) -> None:
    graph = tensors(where, fold=True)
    model = make(name)
    one, other = model(GraphBatch.of([graph])), model(GraphBatch.of([relabelled(graph, seed)]))
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@EVERY
def test_a_seed_decides_the_weights(name: str, unlike: list[GraphTensors]) -> None:
    batch = GraphBatch.of(unlike)
    assert torch.equal(make(name)(batch), make(name)(batch))


@EVERY
def test_gradients_reach_every_weight(name: str) -> None:
    # Kernels and unknown operators included: one embedding row is enough for a gradient.
    model = make(name, statistics=2, context=3, dropout=0.1).train()
    one = space("nasbench201")
    graph = one.graph(one.sample(1, 0)[0])
    graphs = [GraphTensors.of(graph, statistics=np.ones((len(graph), 2)), positions=POSITIONS)] * 2
    model(GraphBatch.of(graphs, torch.randn(2, 3))).square().sum().backward()
    for parameter, weight in model.named_parameters():
        assert weight.grad is not None, parameter
        assert torch.isfinite(weight.grad).all(), parameter
        assert weight.grad.abs().sum() > 0, parameter


@EVERY
def test_a_single_node_and_unknown_operators(name: str) -> None:
    model = make(name).train()
    unknown = one_node(0)
    unknown = replace(unknown, gennape_operator=torch.tensor([0]))
    out = model(GraphBatch.of([unknown]))
    assert torch.isfinite(out).all()
    out.sum().backward()
    if name != "kgnn":  # GENNAPE's vocabulary has other ids
        assert not torch.equal(out, model(GraphBatch.of([one_node(3)])))


@EVERY
def test_architectures_get_vectors_of_their_own(name: str) -> None:
    found = encode(make(name), [tensors("nasbench201", arch) for arch in range(6)])
    distances = torch.cdist(found, found)[~torch.eye(6, dtype=torch.bool)]
    assert distances.min() > 1e-5


@EVERY
def test_statistics_and_their_mask_are_read(name: str) -> None:
    model = make(name, statistics=1)
    one = space("hiaml")
    graph = one.graph(one.sample(1, 0)[0])

    def vector(value: float) -> torch.Tensor:
        statistics = np.full((len(graph), 1), value)
        made = GraphTensors.of(graph, statistics=statistics, positions=POSITIONS)
        return model(GraphBatch.of([made]))

    zero, one_, missing = vector(0.0), vector(1.0), vector(np.nan)
    assert not torch.allclose(zero, one_)
    assert not torch.allclose(zero, missing)
    with pytest.raises(InputError, match="statistics: got 0 per node, expected 1"):
        model(GraphBatch.of([tensors("hiaml")]))


@EVERY
def test_the_context_joins(name: str) -> None:
    model = make(name, context=2)
    graphs = [tensors("hiaml")] * 2
    first, second = model(GraphBatch.of(graphs, torch.tensor([[0.0, 1.0], [1.0, 0.0]])))
    assert not torch.allclose(first, second)
    with pytest.raises(InputError, match="context: got none, expected one of size 2"):
        model(GraphBatch.of(graphs))
    with pytest.raises(InputError, match="context: got one of size 3, expected one of size 2"):
        model(GraphBatch.of(graphs, torch.zeros(2, 3)))


@EVERY
def test_multiplicity_counts(name: str) -> None:
    graph = tensors("nasbench201", fold=True)
    flat = replace(graph, multiplicity=torch.ones(len(graph)))
    model = make(name)
    assert not torch.allclose(model(GraphBatch.of([graph])), model(GraphBatch.of([flat])))


@EVERY
def test_saved_weights_give_the_same_vectors(
    name: str, unlike: list[GraphTensors], tmp_path
) -> None:
    model, batch = make(name), GraphBatch.of(unlike)
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    torch.manual_seed(1)
    other = encoder(name).eval()
    assert not torch.equal(other(batch), model(batch))
    other.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
    assert torch.equal(other(batch), model(batch))


@EVERY
def test_dropout_acts_in_training_only(name: str, unlike: list[GraphTensors]) -> None:
    model, batch = make(name, dropout=0.3), GraphBatch.of(unlike)
    assert torch.equal(model(batch), model(batch))
    model.train()
    assert not torch.equal(model(batch), model(batch))


@EVERY
def test_thousands_of_nodes(name: str) -> None:
    many = GraphBatch.of([tensors("nasbench201")] * 20)
    large = replace(many, graph=torch.zeros_like(many.graph), count=1)
    assert len(large) > 5000
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with torch.no_grad():
        found = make(name)(large)
    assert torch.isfinite(found).all()
    # One dense attention of four heads would take 500 MB.
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000


@EVERY
def test_both_embedders_and_any_width(name: str) -> None:
    batch = GraphBatch.of([tensors("hiaml")])
    for embedder in ("default", "gennape"):
        assert make(name, embedder=embedder, width=48)(batch).shape == (1, 48)


def test_encode_keeps_the_order_and_encodes_equals_once() -> None:
    several = [tensors("nasbench201", i) for i in (0, 1, 0, 2, 1)]
    model = make("gin").train()
    seen: list[int] = []
    model.register_forward_pre_hook(lambda _, batch: seen.append(batch[0].count))
    found = encode(model, several, size=2)
    assert sum(seen) == 3
    assert model.training
    alone = copy.deepcopy(model).eval()(GraphBatch.of(several))
    torch.testing.assert_close(found, alone, rtol=1e-5, atol=1e-5)


def test_encode_with_context() -> None:
    model, context = make("gin", context=1), torch.tensor([[0.0], [1.0]])
    found = encode(model, [tensors("hiaml")] * 2, context=context)
    assert not torch.allclose(found[0], found[1])
    with pytest.raises(InputError, match="context: got 2 rows, expected 3"):
        encode(model, [tensors("hiaml")] * 3, context=context)


def test_names_and_options_are_checked() -> None:
    with pytest.raises(InputError, match="encoder: got 'gcn', expected one of kgnn, gin"):
        encoder("gcn")
    with pytest.raises(InputError, match="gin: got option 'heads', expected one of width"):
        encoder("gin", heads=3)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("gin", {"width": 0}),
        ("gin", {"statistics": -1}),
        ("gin", {"dropout": 1.0}),
        ("gin", {"direction": "sideways"}),
        ("kgnn", {"direction": "sideways"}),
        ("kgnn", {"embedder": "one-hot"}),
        ("gat", {"heads": 7}),
        ("transformer", {"edge_heads": 5}),
    ],
)
def test_arguments_are_checked(name: str, options: dict[str, object]) -> None:
    with pytest.raises(InputError, match=next(iter(options))):
        encoder(name, **options)
