"""Layers against references written with dense matrices."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

import archrank
from archrank.data import space
from archrank.errors import InputError
from archrank.predictors.neural.batches import GraphBatch, GraphTensors
from archrank.predictors.neural.encoders.embedding import GennapeEmbedder
from archrank.predictors.neural.encoders.flow import FlowEncoder, GatedAttention, GraphFlow
from archrank.predictors.neural.encoders.gin import GINEncoder
from archrank.predictors.neural.encoders.kgnn import KGNNEncoder
from archrank.predictors.neural.encoders.transformer import GraphAttention, TransformerEncoder


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 3, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = self.one(x)
        return torch.relu(self.two(y) + x) * y


@pytest.fixture(scope="module")
def batch() -> GraphBatch:
    graph = archrank.trace(Small(), (3, 8, 8))
    return GraphBatch.of([GraphTensors.of(graph, positions=3)])


def adjacency(batch: GraphBatch) -> Tensor:
    """A[target, source] = 1 for each edge."""
    matrix = torch.zeros(len(batch), len(batch))
    matrix[batch.edges[1], batch.edges[0]] = 1
    return matrix


@pytest.mark.parametrize("direction", ["forward", "both"])
def test_kgnn_is_six_dense_layers(batch: GraphBatch, direction: str) -> None:
    torch.manual_seed(0)
    model = KGNNEncoder(direction=direction)
    a = adjacency(batch)
    a = a + a.T if direction == "both" else a
    h = model.embed(batch)
    assert len(model.layers) == 6
    for layer in model.layers:
        near, own = layer.lin_rel, layer.lin_root
        h = torch.tanh(a @ h @ near.weight.T + near.bias + h @ own.weight.T)
    torch.testing.assert_close(model.node_states(batch), h)
    one, two, _, three, four = model.projection
    expected = four(three(torch.relu(two(one(h.mean(0, keepdim=True))))))
    torch.testing.assert_close(model(batch), expected)


def test_gennape_embedding_of_both_kinds(batch: GraphBatch) -> None:
    torch.manual_seed(0)
    embed = GennapeEmbedder()
    found = embed(batch)
    for i in range(len(batch)):
        shape = embed.shape(batch.resolution[i])
        operator = batch.gennape_operator[i]
        parts = [embed.regular(operator), shape]
        if batch.weighted[i]:
            first, second = batch.kernel[i]
            flag = torch.eye(2)[batch.bias[i]]
            parts = [embed.weighted(operator), shape, embed.kernel(first), embed.kernel(second)]
            parts.append(embed.bias(flag))
        torch.testing.assert_close(found[i], torch.cat(parts))
    assert batch.weighted.tolist().count(True) == 2


def test_graph_flow_is_its_formula(batch: GraphBatch) -> None:
    torch.manual_seed(0)
    layer = GraphFlow(4)
    nn.init.normal_(layer.bias)
    x, o = torch.randn(len(batch), 4), torch.randn(len(batch), 4)
    gate = torch.sigmoid(o @ layer.gate.weight.T)
    value = x @ layer.value.weight.T
    expected = gate * (adjacency(batch) @ value) + value + layer.bias
    torch.testing.assert_close(layer(x, o, batch.edges), expected)


def test_gated_attention_is_its_formula(batch: GraphBatch) -> None:
    torch.manual_seed(0)
    layer = GatedAttention(4)
    x, o = torch.randn(len(batch), 4), torch.randn(len(batch), 4)
    value = x @ layer.value.weight.T
    products = value[:, None] * value[None]
    scores = nn.functional.leaky_relu(products @ layer.score.weight[0])
    mask = adjacency(batch) + torch.eye(len(batch))
    weights = scores.masked_fill(mask == 0, -math.inf).softmax(1)
    expected = layer.norm(torch.sigmoid(o @ layer.gate.weight.T) * (weights @ value))
    torch.testing.assert_close(layer(x, o, batch.edges), expected)


def test_flows_are_read_where_they_end(batch: GraphBatch) -> None:
    torch.manual_seed(0)
    model = FlowEncoder(width=8, layers=2)
    along, against = model.flows(batch)
    # The small network has one input, its first node, and one output, its last.
    read = [along[-1], against[0], along.mean(0), against.mean(0)]
    torch.testing.assert_close(model(batch)[0], model.ends(torch.cat(read)))


def test_flow_reversed_is_the_flow_of_the_reversed_graph(batch: GraphBatch) -> None:
    torch.manual_seed(0)
    model = FlowEncoder(width=8, layers=2)
    model.against.load_state_dict(model.along.state_dict())
    along, against = model.flows(batch)
    turned = replace(batch, edges=batch.edges.flip(0))
    again, back = model.flows(turned)
    torch.testing.assert_close(along, back)
    torch.testing.assert_close(against, again)


def dense_attention(layer: GraphAttention, x: Tensor, batch: GraphBatch, reach: Tensor) -> Tensor:
    heads = []
    d = x.shape[1] // layer.heads
    query, key, value = layer.project(x).view(len(x), 3, layer.heads, d).unbind(1)
    for head in range(layer.heads):
        scores = query[:, head] @ key[:, head].T / math.sqrt(d)
        if head < layer.edge_heads:
            scores = scores.masked_fill(reach == 0, -math.inf)
        else:
            scores = scores + batch.multiplicity.log()
        heads.append(scores.softmax(1) @ value[:, head])
    return layer.out(torch.cat(heads, 1))


@pytest.mark.parametrize("edge_heads", [0, 2, 4])
def test_attention_of_both_kinds_of_heads(batch: GraphBatch, edge_heads: int) -> None:
    torch.manual_seed(0)
    batch = replace(batch, multiplicity=torch.arange(1.0, 1 + len(batch)))
    layer = GraphAttention(8, 4, edge_heads)
    x = torch.randn(len(batch), 8)
    a = adjacency(batch)
    reach = a + a.T + torch.eye(len(batch))
    edges = reach.T.nonzero().T
    near = torch.zeros(len(batch), dtype=torch.bool)
    expected = dense_attention(layer, x, batch, reach)
    torch.testing.assert_close(layer(x, batch, edges, near), expected)
    if edge_heads == 4:  # large graphs have no other heads
        torch.testing.assert_close(layer(x, batch, edges, ~near), expected)


def test_large_graphs_attend_along_edges_whatever_is_beside_them() -> None:
    torch.manual_seed(0)
    names = ("hiaml", "nasbench201", "nasbench101")
    graphs = [
        GraphTensors.of(space(name).graph(space(name).sample(1, 0)[0]), positions=8)
        for name in names
    ]
    model = TransformerEncoder(dense_nodes=100).eval()
    assert len({len(one) > 100 for one in graphs}) == 2
    together = model(GraphBatch.of(graphs))
    alone = torch.cat([model(GraphBatch.of([one])) for one in graphs])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-5)
    other = TransformerEncoder(dense_nodes=10_000).eval()
    other.load_state_dict(model.state_dict())
    same = torch.isclose(other(GraphBatch.of(graphs)), together, atol=1e-5).all(1)
    assert same.tolist() == [len(one) <= 100 for one in graphs]


def test_signs_are_drawn_in_training_only(batch: GraphBatch) -> None:
    torch.manual_seed(0)
    model = TransformerEncoder(positions=3, width=16)
    found = torch.stack([model(batch) for _ in range(40)]).round(decimals=4)
    assert 2 < len(found.unique(dim=0)) <= 8
    model.eval()
    assert torch.equal(model(batch), model(batch))


def test_both_directions_tell_operand_from_consumer(batch: GraphBatch) -> None:
    torch.manual_seed(0)
    model = GINEncoder(width=8, layers=2).eval()
    turned = replace(batch, edges=batch.edges.flip(0))
    assert not torch.allclose(model(batch), model(turned))


def test_counts_see_how_often_a_block_repeats() -> None:
    """The readout by counts against a loop over nodes, and folded against whole."""
    block = [nn.Linear(8, 8), nn.ReLU()]
    graphs = [archrank.trace(nn.Sequential(*block * times), (8,)) for times in (4, 8)]
    torch.manual_seed(0)
    model = GINEncoder(width=6, layers=1, readout="counts").eval()
    readout = model.readout
    for graph in graphs:
        batch = GraphBatch.of([GraphTensors.of(graph, fold=True)])
        assert batch.multiplicity.max() > 1
        states = model.node_states(batch)
        counts, total = torch.zeros(6), torch.zeros(6)
        for state, times in zip(states, batch.multiplicity.tolist(), strict=True):
            counts += times * nn.functional.softplus(readout.kinds(state))
            total += times * state
        mean = total / batch.multiplicity.sum()
        expected = readout.joined(torch.cat([mean, (1 + counts).log()]))
        torch.testing.assert_close(model(batch)[0], expected)


def test_an_unknown_readout_is_told() -> None:
    with pytest.raises(InputError, match="readout"):
        GINEncoder(width=6, readout="most")
