"""Patterns of rectifiers' units, counted one by one."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from reference_network import data, gradients, network
from torch import Tensor, nn

import archrank


def patterns(net: nn.Module, images: Tensor) -> list[set[tuple[bool, ...]]]:
    """For each rectifier, the sets of samples for which its units are on."""
    found: list[set[tuple[bool, ...]]] = []
    for layer in net:
        if isinstance(layer, nn.ReLU):
            layer.register_forward_hook(
                lambda m, i, o: found.append({tuple(u) for u in (i[0] > 0).flatten(1).T.tolist()})
            )
    net.train()(images)
    return found


@pytest.mark.parametrize("samples", [6, 63, 64, 65, 130])
def test_swap_counts_patterns(samples: int) -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(samples, 3, 6, 6, generator=generator).double()
    found = patterns(network(), images)
    scores = archrank.score(
        network(), images, proxies=["swap", "swap_regular", "swap_regular[mu=1,sigma=0.5]"]
    )
    total = len(set().union(*found))
    assert scores["swap"].value == total
    thousands = sum(p.numel() for p in network().parameters()) / 1000
    assert scores["swap_regular"].value == pytest.approx(
        total * math.exp(-((thousands - 30) ** 2) / 40)
    )
    assert scores["swap_regular[mu=1,sigma=0.5]"].value == pytest.approx(
        total * math.exp(-((thousands - 1) ** 2) / 0.5)
    )


def test_swap_far_from_its_parameters_has_no_value() -> None:
    images, _ = data()
    scores = archrank.score(network(), images, proxies="swap_regular[mu=900,sigma=10],swap")
    assert "so far from mu=900" in scores["swap_regular[mu=900,sigma=10]"].reason
    scores = archrank.score(network(), images, proxies="swap_regular[sigma=0]")
    assert "sigma: got 0" in scores["swap_regular[sigma=0]"].reason


@pytest.mark.parametrize(("low", "high"), [(0, 100), (20, 100), (0, 60), (40, 60)])
def test_l_swag_by_loops(low: float, high: float) -> None:
    batches = [data(seed) for seed in (1, 2)]
    stacked = zip(*(gradients(network(), *batch) for batch in batches), strict=True)
    logs = []
    for layer in stacked:
        deviation = np.stack([g.numpy() for g in layer]).std(axis=0)
        logs.append(np.log((1 / deviation[deviation > 0]).sum()))
    counts = [len(p) for p in patterns(network(), batches[0][0])]

    def chosen(values: list[float]) -> float:
        places = [100 * (i + 0.5) / len(values) for i in range(len(values))]
        return sum(v for v, place in zip(values, places, strict=True) if low <= place <= high)

    name = f"l_swag[low={low},high={high}]"
    (got,) = archrank.score(network(), batches, proxies=name).values()
    assert got.value == pytest.approx(chosen(logs) * chosen(counts))
