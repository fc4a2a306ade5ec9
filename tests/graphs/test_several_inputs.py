"""Of several tensors one sample is traced, if each row of them is a sample."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from archrank.graphs import trace


class Fusing(nn.Module):
    """Takes tokens and what goes with them, under names of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(9, 8)
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.head = nn.Linear(8, 4)

    def forward(self, ids: Tensor, mask: Tensor | None = None) -> dict[str, Tensor]:
        hidden = self.layer(self.embed(ids), src_key_padding_mask=mask)
        return {"hidden": hidden, "logits": self.head(hidden.mean(1))}


@pytest.mark.parametrize("samples", [2, 5, 6])  # 6 steps, also
def test_one_sample_of_a_dictionary_is_traced(samples: int) -> None:
    ids, mask = torch.zeros(samples, 6, dtype=torch.long), torch.zeros(samples, 6) > 0
    model = Fusing()
    alone = trace(model, ids)
    for inputs in ({"ids": ids}, (ids,), ({"ids": ids, "mask": mask})):
        graph = trace(model, inputs)
        assert graph.product_flops == alone.product_flops
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.train()(ids[:1])
    assert alone.product_flops == counter.get_total_flops() / 2


def test_what_goes_together_is_traced_whole() -> None:
    class OfNodes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(5, 4)

        def forward(self, x: Tensor, edges: Tensor) -> Tensor:
            made = self.layer(x)
            return made.index_add(0, edges[1], made[edges[0]])

    class Adjacent(OfNodes):
        def forward(self, x: Tensor, edges: Tensor) -> Tensor:
            return edges @ self.layer(x)

    x, edges = torch.randn(6, 5), torch.tensor([[0, 1, 2], [3, 4, 5]])
    assert trace(OfNodes(), {"x": x, "edges": edges}).product_flops == 6 * 5 * 4
    assert trace(Adjacent(), (x, torch.eye(6))).product_flops == 6 * 5 * 4 + 6 * 6 * 4
    steps = nn.Transformer(8, 2, 1, 1, 16)  # takes sequences first
    tokens = torch.randn(3, 3, 8)
    assert trace(steps, (tokens, tokens)).input_shapes == ((3, 3, 8),) * 2
