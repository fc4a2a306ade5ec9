"""A graph holds the network, not the making of its weights."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from computed_weights import StandardisedByNorm, adapted
from torch import Tensor, nn
from torch.nn.utils import parametrizations, spectral_norm, weight_norm

import archrank


def standardised(layer: nn.Module) -> nn.Module:
    if not hasattr(layer, "stride"):
        return layer
    return StandardisedByNorm(layer.in_channels, layer.out_channels, 3)


WRAPS = {
    "weight norm": parametrizations.weight_norm,
    "weight norm, old": weight_norm,
    "spectral norm": parametrizations.spectral_norm,
    "spectral norm, old": spectral_norm,
    "orthogonal": parametrizations.orthogonal,
    "low rank": adapted,
    "standardised": standardised,
}


def net(wrap) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        *(wrap(nn.Conv2d(3, 8, 3)), nn.ReLU(), wrap(nn.Conv2d(8, 8, 3)), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), wrap(nn.Linear(8, 4))),
    )


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("kind", WRAPS)
def test_the_nodes_are_those_of_the_folded_twin(kind: str, training: bool) -> None:
    model, twin = net(WRAPS[kind]).train(training), net(lambda layer: layer)
    graph, expected = archrank.trace(model, (3, 8, 8)), archrank.trace(twin, (3, 8, 8))
    assert graph.operator.tolist() == expected.operator.tolist()
    assert graph.edges.tolist() == expected.edges.tolist()
    assert graph.product_flops == 36 * 8 * 27 + 16 * 8 * 72 + 32
    assert graph.params == sum(p.numel() for p in model.parameters())
    used = {name for node in graph.nodes for name in node.parameters}
    assert used == {name for name, _ in model.named_parameters()}


class Queries(nn.Module):
    """What is computed from parameters alone counts where it is no weight."""

    def __init__(self) -> None:
        super().__init__()
        self.queries = nn.Parameter(torch.randn(1, 5, 6))
        self.key, self.query = nn.Linear(6, 6), nn.Linear(6, 6)

    def forward(self, x: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(self.query(self.queries), self.key(x), x)


def test_learned_queries_are_part_of_the_network() -> None:
    graph = archrank.trace(Queries(), (7, 6))
    assert [n.operator for n in graph.nodes].count("linear") == 2
    assert graph.product_flops == (5 + 7) * 36 + 2 * 5 * 7 * 6


def test_bilinear_layers_are_not_free() -> None:
    graph = archrank.trace(nn.Bilinear(3, 4, 5), (torch.randn(2, 3), torch.randn(2, 4)))
    assert graph.product_flops == 5 * 3 * 4 + 5 * 4  # a matrix, then a vector, of one sample
    assert graph.unknown_operators == {}
    assert graph.params == 5 * 3 * 4 + 5
