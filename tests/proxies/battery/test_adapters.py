"""Low-rank adapters have the scores of the layer that they and their own one make together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from test_layouts import Model, compared
from test_twins import BLOCKS, OF_THE_GRAPH, Layers, batches, pair
from torch import Tensor, nn

import archrank


class LowRank(nn.Module):
    """A frozen layer and two that are added to it, of few units between them."""

    def __init__(self, inputs: int, outputs: int, count: int = 1):
        super().__init__()
        self.base = nn.Linear(inputs, outputs).requires_grad_(False)
        self.down = nn.ModuleList(nn.Linear(inputs, 2, bias=False) for _ in range(count))
        self.up = nn.ModuleList(nn.Linear(2, outputs, bias=False) for _ in range(count))
        self.drop = nn.Dropout(0.1)

    def forward(self, x: Tensor) -> Tensor:
        result = self.base(x)
        for down, up in zip(self.down, self.up, strict=True):
            result = result + up(down(self.drop(x))) * 0.5
        return result

    def folded(self) -> nn.Linear:
        layer = nn.Linear(*reversed(self.base.weight.shape)).to(self.base.weight)
        weight = self.base.weight.detach().clone()
        for down, up in zip(self.down, self.up, strict=True):
            weight += 0.5 * up.weight.detach() @ down.weight.detach()
        layer.load_state_dict({"weight": weight, "bias": self.base.bias})
        return layer


@pytest.mark.parametrize("count", [1, 2])
def test_adapters_beside_a_layer_are_merged_into_it(count: int) -> None:
    torch.manual_seed(0)

    def attend(m: Model, x: Tensor) -> Tensor:
        x = m.embed(x)
        made = m.out(F.scaled_dot_product_attention(m.query(x), m.key(x), m.value(x)))
        return m.head(F.gelu(made).mean(1))

    adapted = {name: LowRank(8, 8, count) for name in ("query", "value", "out")}
    plain = {"embed": nn.Linear(3, 8), "key": nn.Linear(8, 8), "head": nn.Linear(8, 4)}
    model = Model(attend, **plain, **adapted).double()
    twin = Model(attend, **plain, **{n: layer.folded() for n, layer in adapted.items()}).double()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    data = batches(5, 3)
    assert torch.allclose(model.eval()(data[0][0]), twin.eval()(data[0][0]))
    scores, expected = archrank.score(model, data), archrank.score(twin, data)
    # The layer lies one module deeper, by which blocks are told apart.
    compared(scores, expected, OF_THE_GRAPH | BLOCKS)
    assert all(torch.equal(t, before[n]) for n, t in model.state_dict().items())


class Matrices(nn.Module):
    """A layer and the two matrices of a low-rank adapter, which meet in one of several ways."""

    def __init__(self, way: Callable[[Any, Tensor], Tensor]):
        super().__init__()
        self.base, self.way = nn.Linear(8, 8), way
        self.register_buffer("scale", torch.tensor(0.5))
        self.down, self.up = (nn.Parameter(torch.zeros(s)) for s in ((2, 8), (8, 2)))

    def forward(self, x: Tensor) -> Tensor:
        return self.way(self, x)


def added_in_place(m: Any, x: Tensor) -> Tensor:
    result = m.base(x)
    result += (F.dropout(x, 0.1, m.training) @ m.down.transpose(0, 1) @ m.up.transpose(0, 1)) * 0.5
    return result


def added_by_row(m: Any, x: Tensor, add: Callable[..., Tensor], **factors: float) -> Tensor:
    rows = x.flatten(0, 1)
    return add(m.base(rows), rows @ m.down.T, m.up.T, **factors).view(x.shape)


MATRICES: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "in place": added_in_place,
    "addmm": lambda m, x: added_by_row(m, x, torch.addmm, alpha=0.5),
    "addmm in place": lambda m, x: added_by_row(m, x, Tensor.addmm_, alpha=0.5),
    "addmm, beta": lambda m, x: added_by_row(m, x, Tensor.addmm, beta=1.0, alpha=0.5),
    "add with alpha": lambda m, x: torch.add(m.base(x), x @ m.down.T @ m.up.T, alpha=0.5),
    "sub": lambda m, x: m.base(x) - (x @ m.down.T @ m.up.T) * -0.5,
    "sub with alpha": lambda m, x: torch.sub(m.base(x), x @ m.down.T @ m.up.T, alpha=-0.5),
    "negative": lambda m, x: m.base(x) - -(0.5 * (x @ m.down.T) @ m.up.T),
    "divided": lambda m, x: m.base(x) + x @ m.down.T @ m.up.T / 2,
    "linear": lambda m, x: F.linear(F.linear(x, m.down), m.up).mul(0.5) + m.base(x),
    "scaled by a buffer": lambda m, x: m.base(x) + x @ m.down.T @ m.up.T * m.scale,
    "scaled between": lambda m, x: m.base(x) + (0.5 * (x @ m.down.T)) @ m.up.T,
    "einsum": lambda m, x: (
        m.base(x) + 0.5 * torch.einsum("ntr,or->nto", torch.einsum("nti,ri->ntr", x, m.down), m.up)
    ),
    "scaled first": lambda m, x: m.base(x) + F.linear(F.linear(0.5 * x, m.down), m.up),
    "scaled, dropped out": lambda m, x: (
        m.base(x) - F.dropout(x / -4, 0.1, m.training) @ m.down.T @ (2 * m.up.T)
    ),
    "both scaled": lambda m, x: m.base(2 * (x / 2)) + F.linear(F.linear(2 * x, m.down), m.up) / 4,
    "one einsum": lambda m, x: m.base(x) + torch.einsum("...i,ri,or->...o", x, m.down, m.up) * 0.5,
    "one einsum, weights first": lambda m, x: (
        m.base(x) + 0.5 * torch.einsum("or,ri,nti->nto", [m.up, m.down, x])
    ),
    "multi_dot": lambda m, x: (
        m.base(x) + 0.5 * torch.linalg.multi_dot([x.flatten(0, 1), m.down.T, m.up.T]).view(x.shape)
    ),
    "bmm": lambda m, x: (
        m.base(x)
        + 0.5
        * torch.bmm(torch.bmm(x, m.down.T.expand(len(x), -1, -1)), m.up.T.expand(len(x), -1, -1))
    ),
    "baddbmm": lambda m, x: torch.baddbmm(
        m.base(x), F.linear(x, m.down), m.up.T.expand(len(x), -1, -1), alpha=0.5
    ),
    "more dimensions": lambda m, x: (
        m.base(x) + 0.5 * (x[:, :, None] @ m.down.T @ m.up.T).squeeze(2)
    ),
    "one matrix": lambda m, x: m.base(x) + 0.5 * x @ (m.up @ m.down).T,
    "sum": lambda m, x: sum([m.base(x), F.linear(F.linear(x, m.down), m.up) * 0.5]),
}


@pytest.mark.parametrize("kind", MATRICES)
def test_adapters_of_matrices_are_merged_into_their_layer(kind: str) -> None:
    def merged(m: Any, x: Tensor) -> Tensor:
        return F.linear(x, m.base.weight + 0.5 * m.up @ m.down, m.base.bias)

    def way(m: Model, x: Tensor) -> Tensor:
        return m.head(F.relu(m.mid(F.relu(m.embed(x)))).mean(1))

    def layers(one: Callable[[Any, Tensor], Tensor]) -> Layers:
        return lambda: {"embed": nn.Linear(3, 8), "mid": Matrices(one), "head": nn.Linear(8, 4)}

    model, twin = pair((way, layers(MATRICES[kind])), (way, layers(merged)))
    data = batches(5, 3)
    compared(archrank.score(model, data), archrank.score(twin, data), OF_THE_GRAPH | BLOCKS)


def test_a_layer_applied_twice_is_merged_with_adapters_at_both_uses_only() -> None:
    def layers() -> dict[str, nn.Module]:
        return {
            "embed": nn.Linear(3, 8),
            "mid": Matrices(MATRICES["linear"]),
            "head": nn.Linear(8, 4),
        }

    def way(factors: tuple[float, float]) -> Callable[[Model, Tensor], Tensor]:
        def forward(m: Model, x: Tensor) -> Tensor:
            x = m.embed(x)
            for factor in factors:
                low = F.linear(F.linear(x, m.mid.down), m.mid.up)
                x = F.relu(m.mid.base(x) + factor * low if factor else m.mid.base(x))
            return m.head(x.mean(1))

        return forward

    def folded(m: Model, x: Tensor) -> Tensor:
        x = m.embed(x)
        for _ in range(2):
            weight = m.mid.base.weight + 0.5 * m.mid.up @ m.mid.down
            x = F.relu(F.linear(x, weight, m.mid.base.bias))
        return m.head(x.mean(1))

    data = batches(5, 3)
    model, twin = pair((way((0.5, 0.5)), layers), (folded, layers))
    compared(archrank.score(model, data), archrank.score(twin, data), OF_THE_GRAPH | BLOCKS)
    for factors in ((0.5, 0.0), (0.5, 0.25)):
        model, _ = pair((way(factors), layers), (way(factors), layers))
        norm = archrank.score(model, data, proxies="l2_norm")["l2_norm"].value
        weights = [p.norm().item() for p in model.parameters() if p.dim() > 1]
        assert norm == pytest.approx(sum(weights))


class Convolved(nn.Module):
    """A convolution and the two of a low-rank adapter."""

    def __init__(self, stride: int):
        super().__init__()
        self.base = nn.Conv2d(6, 8, 3, stride, padding=1)
        self.down = nn.Conv2d(6, 2, 3, stride, padding=1, bias=False)
        self.up = nn.Conv2d(2, 8, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) + 0.5 * self.up(self.down(x))

    def folded(self) -> nn.Conv2d:
        layer = nn.Conv2d(6, 8, 3, self.base.stride, padding=1)
        up, down = self.up.weight.detach()[..., 0, 0], self.down.weight.detach()
        weight = self.base.weight.detach() + 0.5 * torch.einsum("or,rikl->oikl", up, down)
        layer.load_state_dict({"weight": weight, "bias": self.base.bias})
        return layer


@pytest.mark.parametrize("stride", [1, 2])
def test_adapters_beside_a_convolution_are_merged_into_it(stride: int) -> None:
    torch.manual_seed(0)

    def way(m: Model, x: Tensor) -> Tensor:
        return m.head(F.relu(m.mid(F.relu(m.stem(x)))).mean((2, 3)))

    plain = {"stem": nn.Conv2d(3, 6, 3), "head": nn.Linear(8, 4)}
    mid = Convolved(stride)
    model = Model(way, **plain, mid=mid).double()
    twin = Model(way, **plain, mid=mid.folded()).double()
    data = batches(3, 8, 8)
    assert torch.allclose(model(data[0][0]), twin(data[0][0]))
    compared(archrank.score(model, data), archrank.score(twin, data), OF_THE_GRAPH | BLOCKS)


def test_convolutions_of_other_strides_are_no_adapter() -> None:
    torch.manual_seed(0)
    mid = Convolved(2)
    mid.up = nn.Conv2d(2, 8, 1, stride=2, bias=False)
    mid.down = nn.Conv2d(6, 2, 3, padding=1, bias=False)

    def way(m: Model, x: Tensor) -> Tensor:
        return m.head(F.relu(m.mid(x)).mean((2, 3)))

    model = Model(way, mid=mid, head=nn.Linear(8, 4))
    norm = archrank.score(model, (6, 8, 8), proxies="l2_norm")["l2_norm"].value
    weights = (mid.base.weight, mid.down.weight, mid.up.weight, model.head.weight)
    assert norm == pytest.approx(sum(weight.norm().item() for weight in weights))


def test_a_narrow_branch_that_others_read_is_no_adapter() -> None:
    torch.manual_seed(0)

    def way(m: Model, x: Tensor) -> Tensor:
        narrow = m.down(x)
        return m.head(F.relu(m.wide(x) + m.up(narrow)) + narrow.sum(-1, keepdim=True))

    layers = {
        "wide": nn.Linear(6, 8),
        "down": nn.Linear(6, 2, bias=False),
        "up": nn.Linear(2, 8, bias=False),
        "head": nn.Linear(8, 4),
    }
    model = Model(way, **layers)
    norm = archrank.score(model, (6,), proxies="l2_norm")["l2_norm"].value
    assert norm == pytest.approx(sum(float(layer.weight.norm()) for layer in layers.values()))
