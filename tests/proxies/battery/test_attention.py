"""``nn.MultiheadAttention`` has the scores of attention written by hand, for every proxy."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from test_layouts import OF_THE_GRAPH, N, compared
from torch import Tensor, nn

import archrank

WIDTH, HEADS = 8, 2
BLOCKS = {"az_expressivity", "az_progressivity", "az_trainability"}


class ByHand(nn.Module):
    """Self-attention with one layer for queries, keys and values."""

    def __init__(self, given: nn.MultiheadAttention):
        super().__init__()
        self.joint, self.out_proj = nn.Linear(WIDTH, 3 * WIDTH), given.out_proj
        self.joint.load_state_dict({"weight": given.in_proj_weight, "bias": given.in_proj_bias})

    def forward(self, x: Tensor) -> Tensor:
        three = (t.unflatten(-1, (HEADS, -1)).transpose(1, 2) for t in self.joint(x).chunk(3, -1))
        made = F.scaled_dot_product_attention(*three)
        return self.out_proj(made.transpose(1, 2).flatten(2))


class Attending(nn.Module):
    """One layer of attention, and how its module is called."""

    def __init__(self, batch_first: bool = True, need_weights: bool = False, by_hand: bool = False):
        super().__init__()
        torch.manual_seed(0)
        self.embed, self.norm = nn.Linear(3, WIDTH), nn.LayerNorm(WIDTH)
        self.mid, self.head = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, 4)
        self.attend = nn.MultiheadAttention(WIDTH, HEADS, 0.1, batch_first=batch_first)
        nn.init.normal_(self.attend.in_proj_bias)
        nn.init.normal_(self.attend.out_proj.bias)
        if by_hand:
            self.attend = ByHand(self.attend)
        self.need_weights = need_weights

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        if isinstance(self.attend, ByHand):
            made = self.attend(x)
        else:
            y = x if self.attend.batch_first else x.transpose(0, 1)
            made = self.attend(y, y, y, need_weights=self.need_weights)[0]
            made = made if self.attend.batch_first else made.transpose(0, 1)
        return self.head(F.relu(self.mid(self.norm(x + made))).mean(1))


@pytest.mark.parametrize("tokens", [5, N, 1])
@pytest.mark.parametrize("need_weights", [False, True])
@pytest.mark.parametrize("batch_first", [False, True])
def test_the_module_and_its_twin(batch_first: bool, need_weights: bool, tokens: int) -> None:
    generator = torch.Generator().manual_seed(1)
    data = [
        (torch.randn(N, tokens, 3, generator=generator).double(), torch.arange(N) % 4)
        for _ in range(2)
    ]
    scores, expected = (
        archrank.score(model.double(), data)
        for model in (Attending(batch_first, need_weights), Attending(by_hand=True))
    )
    compared(scores, expected, OF_THE_GRAPH | BLOCKS)


def test_the_same_in_evaluation() -> None:
    x = torch.randn(N, 5, 3, generator=torch.Generator().manual_seed(1)).double()
    found = []
    for model in (Attending(), Attending(by_hand=True)):
        model = model.double().eval()
        found.append(archrank.score(model, x, torch.arange(N) % 4))
        assert not model.training
    compared(*found, OF_THE_GRAPH | BLOCKS)


def test_cross_attention_has_the_features_of_two_layers() -> None:
    """Queries are of other tokens than keys and values, for which torch cuts its weight in two."""

    class Crossing(nn.Module):
        def __init__(self, by_hand: bool):
            super().__init__()
            torch.manual_seed(0)
            self.embed, self.head = nn.Linear(3, WIDTH), nn.Linear(WIDTH, 4)
            own = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
            nn.init.normal_(own.in_proj_bias)
            self.attend, self.out = own, own.out_proj
            if by_hand:
                self.query, self.both = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, 2 * WIDTH)
                for layer, part in ((self.query, slice(WIDTH)), (self.both, slice(WIDTH, None))):
                    weight, bias = own.in_proj_weight[part], own.in_proj_bias[part]
                    layer.load_state_dict({"weight": weight, "bias": bias})
                del self.attend
            self.by_hand = by_hand

        def forward(self, x: Tensor) -> Tensor:
            x = self.embed(x)
            y = x.tanh()
            if self.by_hand:
                three = (self.query(x), *self.both(y).chunk(2, -1))
                apart = (t.unflatten(-1, (HEADS, -1)).transpose(1, 2) for t in three)
                made = F.scaled_dot_product_attention(*apart).transpose(1, 2).flatten(2)
                return self.head(self.out(made).mean(1))
            return self.head(self.attend(x, y, y)[0].mean(1))

    x = torch.randn(N, 5, 3, generator=torch.Generator().manual_seed(1)).double()
    names = ["near", "fisher", "meco", "snip", "gradsign", "synflow", "attention_confidence"]
    scores, expected = (
        archrank.score(Crossing(one).double(), x, torch.arange(N) % 4, proxies=names)
        for one in (False, True)
    )
    for name in names:
        assert scores[name].value == pytest.approx(expected[name].value, rel=1e-6), name
