"""A function written in another way has the scores of its plain twin, for every proxy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from test_layouts import Model, N, compared
from torch import Tensor, nn
from torch.nn.utils import parametrizations

import archrank

OF_THE_GRAPH = {
    *("params", "flops", "activations", "az_complexity", "swap_regular"),
    *("nasgraph", "nasgraph_density"),
}

BLOCKS = {"az_expressivity", "az_progressivity", "az_trainability"}

Way = Callable[[Model, Tensor], Any]
Layers = Callable[[], dict[str, nn.Module]]


def pair(one: tuple[Way, Layers], other: tuple[Way, Layers]) -> tuple[Model, Model]:
    """Both networks with the same numbers, drawn by a seed."""
    models = [Model(way, **layers()).double() for way, layers in (one, other)]
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for mine, its in zip(*(model.parameters() for model in models), strict=True):
            mine.copy_(0.4 * torch.randn(mine.shape, generator=generator, dtype=mine.dtype))
            its.copy_(mine.reshape(its.shape))
    return models[0], models[1]


def batches(*shape: int) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    given = [torch.randn(N, *shape, generator=generator, dtype=torch.float64) for _ in range(2)]
    return [(x, torch.arange(N) % 4) for x in given]


# --- products with a matrix, written in all ways --------------------------------------------------


class Matrix(nn.Module):
    """A matrix that the network multiplies by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(8, 8))


PRODUCTS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "matmul": lambda x, w: x @ w.T,
    "mm of tokens": lambda x, w: torch.mm(x.flatten(0, 1), w.T).view(x.shape),
    "addmm, weight first": lambda x, w: (
        torch.addmm(w.new_ones(1, len(x) * 5), w, x.flatten(0, 1).T).sub(1).T.view(x.shape)
    ),
    "addmm": lambda x, w: torch.addmm(w.new_zeros(8), x.flatten(0, 1), w.T).view(x.shape),
    "einsum": lambda x, w: torch.einsum("nti, oi -> nto", x, w),
    "einsum, channels second": lambda x, w: torch.einsum("oi,nit->not", w, x.mT).mT,
    "einsum of any shape": lambda x, w: torch.einsum("...i,oi->...o", x, w),
    "einsum, no arrow": lambda x, w: torch.einsum("bti,oi", x, w).transpose(1, 2),
    "tensordot": lambda x, w: torch.tensordot(x, w, dims=([2], [1])),
    "tensordot of two": lambda x, w: torch.tensordot(x.unflatten(2, (2, 4)), w.T.view(2, 4, 8)),
    "inner": torch.inner,
    "by name": lambda x, w: torch.matmul(input=x, other=w.T),
    "weight first": lambda x, w: (w @ x.mT).mT,
    "bmm of views": lambda x, w: torch.bmm(x, w.T.expand(len(x), -1, -1)),
    "bmm of copies": lambda x, w: torch.bmm(x, w.T.repeat(len(x), 1, 1)),
    "baddbmm": lambda x, w: torch.baddbmm(x.new_zeros(1), x, w.T.expand(len(x), -1, -1)),
}
MOVED = {"einsum, channels second", "einsum, no arrow", "weight first", "addmm, weight first"}


@pytest.mark.parametrize("kind", PRODUCTS)
def test_products_with_a_matrix_are_linear_layers(kind: str) -> None:
    def layers() -> dict[str, nn.Module]:
        return {"embed": nn.Linear(3, 8), "mid": Matrix(), "head": nn.Linear(8, 4)}

    def way(product: Callable[[Tensor, Tensor], Tensor]) -> Way:
        return lambda m, x: m.head(F.relu(product(F.relu(m.embed(x)), m.mid.weight)).mean(1))

    model, twin = pair((way(PRODUCTS[kind]), layers), (way(F.linear), layers))
    data = batches(5, 3)
    assert torch.allclose(model(data[0][0]), twin(data[0][0]))
    # Where channels are moved, a block ends before they are.
    moved = BLOCKS if kind in MOVED else set()
    compared(archrank.score(model, data), archrank.score(twin, data), OF_THE_GRAPH | moved)


def test_weights_of_many_are_not_taken_for_copies_of_one() -> None:
    """Each head has a matrix of its own, though all are alike in the beginning."""

    class Heads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(2, 4, 4))

    def way(m: Model, x: Tensor) -> Tensor:
        heads = m.embed(x).unflatten(2, (2, 4)).permute(2, 0, 1, 3).flatten(1, 2)
        made = torch.bmm(heads, m.mid.weight).transpose(0, 1).flatten(1)
        return m.head(made).view(len(x), 5, 4).mean(1)

    torch.manual_seed(0)
    model = Model(way, embed=nn.Linear(3, 8), mid=Heads(), head=nn.Linear(8, 4)).double()
    with torch.no_grad():
        model.mid.weight.copy_(torch.eye(4).expand(2, 4, 4))
    (x, targets), _ = batches(5, 3)
    found = archrank.score(model, x, targets, proxies="grad_norm,l2_norm")
    weights = [model.embed.weight, model.mid.weight, model.head.weight]
    gradients = torch.autograd.grad(F.cross_entropy(model(x), targets), weights)
    assert found["grad_norm"].value == pytest.approx(sum(float(g.norm()) for g in gradients))
    assert found["l2_norm"].value == pytest.approx(sum(float(w.norm()) for w in weights))


def test_a_matrix_with_its_outputs_last_scores_as_its_transpose() -> None:
    def layers() -> dict[str, nn.Module]:
        return {"embed": nn.Linear(3, 8), "mid": Matrix(), "head": nn.Linear(8, 4)}

    def plain() -> dict[str, nn.Module]:
        return {"embed": nn.Linear(3, 8), "mid": nn.Linear(8, 8, False), "head": nn.Linear(8, 4)}

    model, twin = pair(
        (lambda m, x: m.head(F.relu(F.relu(m.embed(x)) @ m.mid.weight).mean(1)), layers),
        (lambda m, x: m.head(F.relu(m.mid(F.relu(m.embed(x)))).mean(1)), plain),
    )
    with torch.no_grad():
        twin.mid.weight.copy_(model.mid.weight.T.clone())
    data = batches(5, 3)
    compared(archrank.score(model, data), archrank.score(twin, data), OF_THE_GRAPH)


def test_a_tied_embedding_keeps_both_its_uses() -> None:
    class Tied(nn.Module):
        def __init__(self, by_hand: bool):
            super().__init__()
            torch.manual_seed(0)
            self.table, self.mid = nn.Embedding(9, 8), nn.Linear(8, 8)
            self.by_hand = by_hand

        def forward(self, x: Tensor) -> Tensor:
            h, table = F.relu(self.mid(self.table(x))).mean(1), self.table.weight
            return h @ table.T if self.by_hand else F.linear(h, table)

    generator = torch.Generator().manual_seed(0)
    data = [(torch.randint(9, (N, 5), generator=generator), torch.arange(N)) for _ in range(2)]
    names = ["snip", "grad_norm", "gradsign", "zico", "plain", "synflow", "l2_norm"]
    scores, expected = (
        archrank.score(Tied(by_hand).double(), data, proxies=names) for by_hand in (True, False)
    )
    compared(scores, expected, set())


def test_a_weight_and_its_transpose_are_both_layers() -> None:
    def layers() -> dict[str, nn.Module]:
        return {"embed": nn.Linear(3, 8), "head": nn.Linear(8, 4)}

    def by_hand(m: Model, x: Tensor) -> Tensor:
        back = F.relu(m.embed(x)) @ m.embed.weight
        return m.head((back @ m.embed.weight.T).mean(1))

    def plain(m: Model, x: Tensor) -> Tensor:
        back = F.linear(F.relu(m.embed(x)), m.embed.weight.T)
        return m.head(F.linear(back, m.embed.weight).mean(1))

    model, twin = pair((by_hand, layers), (plain, layers))
    data = batches(5, 3)
    compared(archrank.score(model, data), archrank.score(twin, data), OF_THE_GRAPH)


def test_layers_of_slices_have_features() -> None:
    def sliced(m: Model, x: Tensor) -> Tensor:
        weight, bias = m.both.weight, m.both.bias
        gate = F.silu(F.linear(x, weight[:8], bias[:8]))
        return m.head((gate * F.linear(x, weight[8:], bias[8:])).mean(1))

    def apart(m: Model, x: Tensor) -> Tensor:
        return m.head((F.silu(m.one(x)) * m.two(x)).mean(1))

    torch.manual_seed(0)
    one, two, both, head = nn.Linear(3, 8), nn.Linear(3, 8), nn.Linear(3, 16), nn.Linear(8, 4)
    with torch.no_grad():
        both.weight.copy_(torch.cat([one.weight, two.weight]))
        both.bias.copy_(torch.cat([one.bias, two.bias]))
    model = Model(sliced, both=both, head=head).double()
    twin = Model(apart, one=one, two=two, head=head).double()
    names = "near,meco,fisher,snip,gradsign"
    scores, expected = (archrank.score(m, batches(5, 3), proxies=names) for m in (model, twin))
    compared(scores, expected, set())


# --- weights that recurrent layers and attention compute ------------------------------------------


def normed(kind: str, by_norm: bool) -> nn.Module:
    torch.manual_seed(0)
    if kind.startswith("lstm"):
        layers = {"embed": nn.Linear(3, 8), "body": nn.LSTM(8, 8, batch_first=True)}
        model = Model(lambda m, x: m.head(m.body(m.embed(x))[0][:, -1]), **layers)
        names = ["weight_ih_l0"] if kind == "lstm, in part" else ["weight_ih_l0", "weight_hh_l0"]
    elif kind == "cell":
        layers = {"embed": nn.Linear(3, 8), "body": nn.GRUCell(8, 8)}
        model = Model(lambda m, x: m.head(m.body(m.embed(x[:, 0]), m.embed(x[:, 1]))), **layers)
        names = ["weight_ih", "weight_hh"]
    else:
        layers = {"embed": nn.Linear(3, 8), "body": nn.MultiheadAttention(8, 2, batch_first=True)}
        model = Model(lambda m, x: m.head(m.body(*[m.embed(x)] * 3)[0].mean(1)), **layers)
        names = ["in_proj_weight"]
    model.head = nn.Linear(8, 4)
    if by_norm:
        for name in names:
            parametrizations.weight_norm(model.body, name)
    return model.double()


@pytest.mark.parametrize("kind", ["lstm", "lstm, in part", "cell", "attention"])
def test_normed_weights_of_several_in_one_function(kind: str) -> None:
    data = batches(5, 3)
    scores, expected = (archrank.score(normed(kind, by_norm), data) for by_norm in (True, False))
    compared(scores, expected, OF_THE_GRAPH)


# --- signals of one dimension ---------------------------------------------------------------------


def test_convolutions_over_signals_are_those_over_images_of_one_row() -> None:
    def layers(flat: bool) -> Layers:
        conv, norm = (nn.Conv1d, nn.BatchNorm1d) if flat else (nn.Conv2d, nn.BatchNorm2d)
        size: Any = 3 if flat else (1, 3)
        return lambda: {
            "one": conv(3, 6, size),
            "norm": norm(6),
            "two": conv(6, 6, size),
            "head": nn.Linear(6, 4),
        }

    def signals(m: Model, x: Tensor) -> Tensor:
        x = F.relu(m.norm(m.one(x)))
        return m.head(F.relu(m.two(x)).mean(2))

    def images(m: Model, x: Tensor) -> Tensor:
        x = F.relu(m.norm(m.one(x[:, :, None])))
        return m.head(F.relu(m.two(x)).mean((2, 3)))

    model, twin = pair((signals, layers(True)), (images, layers(False)))
    data = batches(3, 12)
    compared(archrank.score(model, data), archrank.score(twin, data), OF_THE_GRAPH)


# --- operators in place ---------------------------------------------------------------------------

IN_PLACE: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    "relu": (torch.relu_, torch.relu),
    "tanh": (torch.tanh_, torch.tanh),
    "sigmoid": (torch.sigmoid_, torch.sigmoid),
    "elu": (lambda x: F.elu(x, inplace=True), F.elu),
    "silu": (lambda x: F.silu(x, inplace=True), F.silu),
    "mean": (lambda x: x.add_(x.mean(1, keepdim=True)), lambda x: x + x.mean(1, keepdim=True)),
    "mask": (lambda x: x.mul_(x > -1), lambda x: x * (x > -1)),
}


@pytest.mark.parametrize("kind", IN_PLACE)
def test_in_place_after_layers_norms_and_dropout(kind: str) -> None:
    def layers(rate: float) -> Layers:
        return lambda: {
            "one": nn.Conv2d(3, 6, 3),
            "norm": nn.BatchNorm2d(6),
            "two": nn.Conv2d(6, 6, 3),
            "drop": nn.Dropout(rate),
            "head": nn.Linear(6, 4),
        }

    def way(act: Callable[[Tensor], Tensor]) -> Way:
        def run(m: Model, x: Tensor) -> Tensor:
            x = act(m.drop(act(m.norm(act(m.one(x))))))
            return m.head(act(m.drop(act(m.two(x)).mean((2, 3)))))

        return run

    model, twin = pair((way(IN_PLACE[kind][0]), layers(0.5)), (way(IN_PLACE[kind][1]), layers(0)))
    data = batches(3, 8, 8)
    compared(archrank.score(model, data), archrank.score(twin, data), OF_THE_GRAPH)


# --- products of three tensors -------------------------------------------------------------------

BILINEAR: dict[str, Callable[[Any, Tensor, Tensor], Tensor]] = {
    "layer": lambda two, h, x: two(h, x),
    "einsum": lambda two, h, x: torch.einsum("ni,oij,nj->no", h, two.weight, x) + two.bias,
    "einsum, weight moved": lambda two, h, x: (
        torch.einsum("jio,ni,nj->no", two.weight.permute(2, 1, 0), h, x) + two.bias
    ),
    "layer without a bias": lambda two, h, x: F.bilinear(h, x, two.weight) + two.bias,
    "named": lambda two, h, x: F.bilinear(input1=h, input2=x, weight=two.weight, bias=two.bias),
}


@pytest.mark.parametrize("outputs", [8, 1])
@pytest.mark.parametrize("kind", BILINEAR)
def test_a_bilinear_layer_is_a_linear_one_of_products(kind: str, outputs: int) -> None:
    def layers(two: type[nn.Module], *sizes: int) -> Layers:
        return lambda: {
            "one": nn.Linear(5, 6),
            "two": two(*sizes, outputs),
            "head": nn.Linear(outputs, 4),
        }

    def way(m: Model, x: Tensor) -> Tensor:
        return m.head(F.relu(BILINEAR[kind](m.two, F.relu(m.one(x)), x)))

    def outer(m: Model, x: Tensor) -> Tensor:
        h = F.relu(m.one(x))
        return m.head(F.relu(m.two((h[:, :, None] * x[:, None]).flatten(1))))

    model, twin = pair((way, layers(nn.Bilinear, 6, 5)), (outer, layers(nn.Linear, 30)))
    data = batches(5)
    scores, expected = (archrank.score(one, data) for one in (model, twin))
    compared(scores, expected, OF_THE_GRAPH | BLOCKS)
    for name in ("near", "fisher", "in_train", "croze", "meco_opt"):
        assert expected[name].status == archrank.score(model, data, proxies=name)[name].status


@pytest.mark.parametrize("kind", ["layer", "einsum"])
def test_bilinear_layers_of_tokens(kind: str) -> None:
    def layers(two: type[nn.Module], *sizes: int) -> Layers:
        return lambda: {"one": nn.Linear(3, 4), "two": two(*sizes, 8), "head": nn.Linear(8, 4)}

    def way(m: Model, x: Tensor) -> Tensor:
        h = m.one(x)
        if kind == "layer":
            made = m.two(h, x)
        else:
            made = torch.einsum("tbi,oij,btj->bto", h.transpose(0, 1), m.two.weight, x)
            made = made + m.two.bias
        return m.head(F.relu(made).mean(1))

    def outer(m: Model, x: Tensor) -> Tensor:
        both = (m.one(x)[..., :, None] * x[..., None, :]).flatten(2)
        return m.head(F.relu(m.two(both)).mean(1))

    model, twin = pair((way, layers(nn.Bilinear, 4, 3)), (outer, layers(nn.Linear, 12)))
    data = batches(6, 3)
    scores, expected = (archrank.score(one, data) for one in (model, twin))
    assert expected["meco"].status == expected["fisher"].status == "ok"
    compared(scores, expected, OF_THE_GRAPH | BLOCKS)
