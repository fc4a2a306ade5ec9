"""Images and clips score alike wherever their samples lie in the input, for every proxy."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from test_layouts import OF_THE_GRAPH, Model, N, compared
from torch import Tensor, nn

import archrank

DRAWN = {"zen", "az_expressivity", "az_progressivity", "az_trainability"}
"""What reads normal numbers, which are drawn in the order in which the other dimensions lie."""


def network(dims: int, place: int) -> Model:
    torch.manual_seed(0)
    convolution = (nn.Conv2d, nn.Conv3d)[dims - 2]
    kernel = (3, 3) if dims == 2 else (1, 3, 3)

    def way(m: Model, x: Tensor) -> Tensor:
        x = F.relu(m.two(F.relu(m.one(x.movedim(place, 0)))))
        return m.head(x.flatten(2).mean(2))

    layers = {"one": convolution(3, 8, kernel), "two": convolution(8, 8, kernel)}
    return Model(way, **layers, head=nn.Linear(8, 4)).double()


def batches(samples: int, *shape: int) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    given = [torch.randn(samples, *shape, generator=generator).double() for _ in range(2)]
    return [(x, torch.arange(samples) % 4) for x in given]


@pytest.mark.parametrize("samples", [N, 3], ids=["", "as many as channels"])
@pytest.mark.parametrize(
    ("shape", "place"),
    [((3, 8, 8), 1), ((3, 8, 8), 2), ((3, 8, 8), 3), ((3, 2, 8, 8), 1), ((3, 2, 8, 8), 2)],
    ids=str,
)
def test_images_and_clips(shape: tuple[int, ...], place: int, samples: int) -> None:
    data = batches(samples, *shape)
    turned = [(x.movedim(0, place).contiguous(), y) for x, y in data]
    dims = len(shape) - 1
    model, twin = network(dims, place), network(dims, 0)
    traced, plain = archrank.trace(model, turned[0][0]), archrank.trace(twin, data[0][0])
    assert (traced.flops, traced.params) == (plain.flops, plain.params)
    scores, expected = archrank.score(model, turned), archrank.score(twin, data)
    compared(scores, expected, OF_THE_GRAPH)


class Named(nn.Module):
    """A network that takes its input by name, samples second."""

    def __init__(self, place: int):
        super().__init__()
        self.body = network(2, place)

    def forward(self, *, pixels: Tensor) -> Any:
        return self.body(pixels)


@pytest.mark.parametrize("place", [1, 2, 3])
def test_the_one_input_in_a_dictionary(place: int) -> None:
    data = batches(N, 3, 8, 8)
    turned = [({"pixels": x.movedim(0, place).contiguous()}, y) for x, y in data]
    scores = archrank.score(Named(place), turned)
    expected = archrank.score(Named(0), [({"pixels": x}, y) for x, y in data])
    assert expected["gradsign"].status == "ok"
    compared(scores, expected, OF_THE_GRAPH)


def test_clips_of_which_one_frame_could_run_alone() -> None:
    """Time comes first, so that the first row alone is a frame of all samples."""
    data = batches(N, 2, 3, 8, 8)

    def network_of(place: int) -> Model:
        model = network(3, 0)
        model.way = lambda m, x: m.head(
            F.relu(m.two(F.relu(m.one(x.movedim(place, 0).movedim(1, 2))))).flatten(2).mean(2)
        )
        return model

    turned = [(x.movedim(0, 2).contiguous(), y) for x, y in data]
    scores, expected = archrank.score(network_of(2), turned), archrank.score(network_of(0), data)
    compared(scores, expected, OF_THE_GRAPH | DRAWN)
