"""More layouts and more made weights: each network scores as a twin that is written plainly."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from test_layouts import OF_THE_GRAPH, Model, attend, compared, finish, given, token_layers
from test_twins import batches, pair
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize, prune

import archrank

Way = Callable[[Model, Tensor], Tensor]


def rows_of_grid(m: Model, x: Tensor) -> Tensor:
    grid = m.embed(x).view(-1, 4, 8)
    return finish(m, attend(m, grid).view(-1, 8, 8))


def rows_apart(m: Model, x: Tensor) -> Tensor:
    return finish(m, attend(m, m.embed(x).view(-1, 2, 4, 8)).flatten(1, 2))


def columns_of_grid(m: Model, x: Tensor) -> Tensor:
    grid = m.embed(x).view(-1, 2, 4, 8).transpose(1, 2).reshape(-1, 2, 8)
    return finish(m, attend(m, grid).view(-1, 4, 2, 8).transpose(1, 2).reshape(-1, 8, 8))


def columns_apart(m: Model, x: Tensor) -> Tensor:
    grid = attend(m, m.embed(x).view(-1, 2, 4, 8).transpose(1, 2))
    return finish(m, grid.transpose(1, 2).flatten(1, 2))


def rolled_windows(m: Model, x: Tensor) -> Tensor:
    windows = attend(m, m.embed(x).roll(1, 1).reshape(-1, 2, 8))
    return finish(m, windows.view(-1, 8, 8).roll(-1, 1))


def rolled_apart(m: Model, x: Tensor) -> Tensor:
    windows = attend(m, m.embed(x).roll(1, 1).view(-1, 4, 2, 8))
    return finish(m, windows.flatten(1, 2).roll(-1, 1))


def heads(m: Model, x: Tensor) -> Tensor:
    q, k, v = (part.unflatten(2, (2, 4)).transpose(1, 2) for part in m.qkv(m.embed(x)).chunk(3, -1))
    made = (q @ k.mT / 2).softmax(-1) @ v
    return finish(m, m.out(made.transpose(1, 2).flatten(2)))


def heads_outside(m: Model, x: Tensor) -> Tensor:
    """Return the same, the heads before the samples in the batch."""
    q, k, v = (
        part.unflatten(2, (2, 4)).permute(2, 0, 1, 3).flatten(0, 1)
        for part in m.qkv(m.embed(x)).chunk(3, -1)
    )
    made = torch.bmm(torch.bmm(q, k.mT).div(2).softmax(-1), v)
    return finish(m, m.out(made.unflatten(0, (2, -1)).permute(1, 2, 0, 3).flatten(2)))


def third(m: Model, x: Tensor) -> Tensor:
    """Return the same as ``plain_relu``, samples in the third dimension."""
    made = torch.relu(m.embed(x.view(-1, 2, 4, 3).permute(1, 2, 0, 3)))
    return finish(m, made.permute(2, 0, 1, 3).flatten(1, 2))


def plain_relu(m: Model, x: Tensor) -> Tensor:
    return finish(m, torch.relu(m.embed(x)))


def views_interleaved(m: Model, x: Tensor) -> Tensor:
    both = torch.stack([x, x.flip(1)], 1).flatten(0, 1)
    return m.head(torch.relu(m.mid(m.embed(both))).unflatten(0, (-1, 2)).mean((1, 2)))


def views_apart(m: Model, x: Tensor) -> Tensor:
    return m.head(torch.relu(m.mid(m.embed(torch.stack([x, x.flip(1)], 1)))).mean((1, 2)))


LAYOUTS: dict[str, tuple[Way, Way]] = {
    "rows of a grid": (rows_of_grid, rows_apart),
    "columns of a grid": (columns_of_grid, columns_apart),
    "rolled windows": (rolled_windows, rolled_apart),
    "heads outside": (heads_outside, heads),
    "samples third": (third, plain_relu),
    "views interleaved": (views_interleaved, views_apart),
}


@pytest.mark.parametrize("kind", LAYOUTS)
def test_layouts(kind: str) -> None:
    models = []
    for way in LAYOUTS[kind]:
        torch.manual_seed(0)
        models.append(Model(way, **token_layers()).double())
    data = given((8, 3))
    torch.testing.assert_close(models[0](data[0][0]), models[1](data[0][0]))
    scores, expected = (archrank.score(model, data) for model in models)
    compared(scores, expected, OF_THE_GRAPH)


# --- weights that are made ------------------------------------------------------------------------


class Masked(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        kept = torch.arange(weight.numel(), device=weight.device) % 3 > 0
        return weight * kept.view_as(weight)


class Scaled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(0.7))

    def forward(self, weight: Tensor) -> Tensor:
        return weight * self.scale


class Summed(nn.Module):
    """Kernels of two sizes in one convolution, as re-parametrised networks have them."""

    def __init__(self) -> None:
        super().__init__()
        self.wide = nn.Parameter(0.2 * torch.randn(6, 6, 3, 3))
        self.narrow = nn.Parameter(0.2 * torch.randn(6, 6, 1, 1))

    @property
    def weight(self) -> Tensor:
        return self.wide + F.pad(self.narrow, [1] * 4)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight)


def parametrized(layer: nn.Module, kind: nn.Module) -> nn.Module:
    parametrize.register_parametrization(layer, "weight", kind)
    return layer


def pruned(layer: nn.Module) -> nn.Module:
    return prune.random_unstructured(layer, "weight", 0.5)


WEIGHTS: dict[str, Callable[[], nn.Module]] = {
    "masked": lambda: parametrized(nn.Conv2d(6, 6, 3, bias=False), Masked()),
    "scaled": lambda: parametrized(nn.Conv2d(6, 6, 3, bias=False), Scaled()),
    "pruned": lambda: pruned(nn.Conv2d(6, 6, 3, bias=False)),
    "normed by columns": lambda: parametrizations.weight_norm(
        nn.Conv2d(6, 6, 3, bias=False), dim=1
    ),
    "summed kernels": Summed,
}


def images(m: Model, x: Tensor) -> Tensor:
    return m.head(F.relu(m.two(F.relu(m.norm(m.one(x))))).mean((2, 3)))


@pytest.mark.parametrize("kind", WEIGHTS)
def test_made_weights(kind: str) -> None:
    torch.manual_seed(0)
    layers = {"one": nn.Conv2d(3, 6, 3), "norm": nn.BatchNorm2d(6), "head": nn.Linear(6, 4)}
    made, plain = WEIGHTS[kind](), nn.Conv2d(6, 6, 3, bias=False)
    model = Model(images, **layers, two=made).double()
    plain.weight.data = made.weight.detach().clone()
    twin = Model(images, **layers, two=plain).double()
    data = given((3, 8, 8))
    torch.testing.assert_close(model(data[0][0]), twin(data[0][0]))
    # where one layer is made of two parameters, it is still one layer to blocks
    compared(archrank.score(model, data), archrank.score(twin, data), OF_THE_GRAPH)


def convolved(x: Tensor, layer: nn.Module, transposed: bool = False) -> Tensor:
    """Call what all convolutions are made of."""
    ones, none = [1, 1], [0, 0]
    return torch.convolution(x, layer.weight, layer.bias, ones, ones, ones, transposed, none, 1)


def test_torch_convolution_is_a_convolution_layer() -> None:
    def written_out(m: Model, x: Tensor) -> Tensor:
        made = F.relu(convolved(x, m.one))
        return m.head(F.relu(convolved(made, m.two, transposed=True)).mean((2, 3)))

    def layers(m: Model, x: Tensor) -> Tensor:
        return m.head(F.relu(m.two(F.relu(m.one(x)))).mean((2, 3)))

    def made() -> dict[str, nn.Module]:
        return {
            "one": nn.Conv2d(3, 6, 3, padding=1),
            "two": nn.ConvTranspose2d(6, 6, 3, padding=1),
            "head": nn.Linear(6, 4),
        }

    model, twin = pair((written_out, made), (layers, made))
    data = batches(3, 8, 8)
    compared(archrank.score(model, data), archrank.score(twin, data), OF_THE_GRAPH)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_layers_on_parts_of_the_batch_have_no_features(size: int) -> None:
    def in_parts(m: Model, x: Tensor) -> Tensor:
        made = F.relu(m.one(x))
        return m.head(torch.cat([F.relu(m.two(part)) for part in made.split(size)]).mean((2, 3)))

    def at_once(m: Model, x: Tensor) -> Tensor:
        return m.head(F.relu(m.two(F.relu(m.one(x)))).mean((2, 3)))

    def made() -> dict[str, nn.Module]:
        return {"one": nn.Conv2d(3, 6, 3), "two": nn.Conv2d(6, 6, 3), "head": nn.Linear(6, 4)}

    model, twin = pair((in_parts, made), (at_once, made))
    data = batches(3, 8, 8)
    mine, its = archrank.score(model, data), archrank.score(twin, data)
    for name in ("near", "naswot", "swap", "meco", "in_train", "croze", "l_swag"):
        assert mine[name].status == "unsupported", name
        assert "runs on parts of the batch" in str(mine[name].reason), name
    for name in ("az_expressivity", "az_progressivity", "az_trainability"):
        assert mine[name].status == "unsupported", name
        assert "on other parts of the batch" in str(mine[name].reason), name
    for name in (
        "gradsign",
        "snip",
        "grasp",
        "synflow",
        "jacob_cov",
        "grad_norm",
        "zico",
        "fisher",
    ):
        assert mine[name].value == pytest.approx(its[name].value, rel=1e-9), name
