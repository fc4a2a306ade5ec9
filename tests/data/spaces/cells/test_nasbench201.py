"""NAS-Bench-201 and NATS-Bench against published facts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from archrank.data import space
from archrank.data.spaces.cells.nasbench201 import OPERATORS
from archrank.errors import InputError

CELLS = space("nasbench201")


def arch(digits: str) -> str:
    return CELLS.format(tuple(OPERATORS[int(d)] for d in digits))  # type: ignore[attr-defined, no-any-return]


@pytest.mark.parametrize(
    ("digits", "params", "macs"),
    [
        ("421211", 129_306, 15_647_360),
        ("334131", 802_426, 113_951_360),
        ("333132", 1_073_466, 153_272_960),
        ("333333", 1_531_546, 220_119_680),
        ("310102", 344_346, 47_104_640),
        ("333133", 1_288_506, 184_730_240),
        ("000000", 73_306, 7_783_040),
        ("111111", 73_306, 7_783_040),
        ("444444", 73_306, 7_783_040),
        ("222222", 241_306, 31_376_000),
    ],
)
def test_published_figures(digits: str, params: int, macs: int) -> None:
    graph = CELLS.graph(arch(digits))
    assert (graph.params, graph.product_flops) == (params, macs)
    built = CELLS.build(arch(digits))
    assert sum(p.numel() for p in built.parameters()) == params


@pytest.mark.parametrize(
    ("digits", "params", "macs"),
    [("421211", 136_456, 3_919_360), ("333333", 1_538_696, 55_037_440)],
)
def test_imagenet16(digits: str, params: int, macs: int) -> None:
    graph = CELLS.graph(arch(digits), "ImageNet16-120")
    assert (graph.params, graph.product_flops) == (params, macs)


def test_ninapro_has_one_input_channel() -> None:
    assert CELLS.graph(arch("221204"), "ninapro").params == 157_538


def test_counts_of_classes() -> None:
    everything = list(CELLS)
    assert len(everything) == len(set(everything)) == len(CELLS) == 15_625
    assert len({CELLS.canonical(a) for a in everything}) == 5_390


@pytest.mark.parametrize("seed", range(8))
def test_same_canonical_form_means_same_function(seed: int) -> None:
    """Two cells of one class give equal outputs with equal weights on their common edges."""
    groups: dict[str, list[str]] = {}
    for a in CELLS.sample(4000, seed):
        groups.setdefault(CELLS.canonical(a), []).append(a)
    pair = next(g for g in groups.values() if len(g) > 1 and "conv" in g[0])
    outputs = []
    for a in pair[:2]:
        network = CELLS.build(a).double().eval()
        with torch.no_grad():
            for module in network.modules():  # equal weights wherever shapes are equal
                for parameter in module._parameters.values():
                    if parameter is not None:
                        torch.manual_seed(sum(parameter.shape) + parameter.dim())
                        parameter.copy_(0.3 * torch.randn(parameter.shape))
        torch.manual_seed(0)
        outputs.append(network(torch.randn(2, 3, 32, 32, dtype=torch.float64)))
    torch.testing.assert_close(*outputs)


def test_every_row_of_the_table(shared_data: Path) -> None:
    """Params and FLOPs are sums over edges: terms are read off graphs, sums off the table."""
    frame = pd.read_parquet(
        shared_data / "nasbench201" / "nb201_main.parquet",
        columns=["arch_str", "ops"]
        + [f"{kind}_M_{task}" for kind in ("params", "flops") for task in ("cifar10", "cifar100")]
        + ["params_M_ImageNet16-120", "flops_M_ImageNet16-120"],
    )
    assert [arch(ops) for ops in frame.ops] == frame.arch_str.tolist()
    assert set(frame.arch_str) == set(CELLS)
    digits = np.array([[int(d) for d in ops] for ops in frame.ops])
    for task in ("cifar10", "cifar100", "ImageNet16-120"):
        base = CELLS.graph(arch("000000"), task)
        for kind in ("params", "flops"):

            def figure(code: str, task: str = task, kind: str = kind) -> int:
                graph = CELLS.graph(arch(code), task)
                return graph.params if kind == "params" else graph.product_flops

            empty = base.params if kind == "params" else base.product_flops
            terms = np.array(
                [
                    [figure("0" * edge + str(d) + "0" * (5 - edge)) - empty for d in range(5)]
                    for edge in range(6)
                ]
            )
            ours = empty + terms[np.arange(6), digits].sum(1)
            theirs = (frame[f"{kind}_M_{task}"] * 1e6).to_numpy()
            assert np.abs(ours - theirs).max() < 0.5 + 1e-4 * (kind == "flops") * theirs.max()
            for row in range(7, 15_625, 1_500):  # and the sum is the graph's own figure
                assert figure(frame.ops[row]) == ours[row]


@pytest.mark.parametrize(
    ("sizes", "params", "macs"),
    [
        ("8:8:8:8:8", 11_714, 4_481_104),
        ("16:16:32:32:64", 225_466, 33_866_368),
        ("64:64:64:64:64", 713_674, 274_399_872),
        ("64:64:56:64:24", 536_618, 257_061_104),
    ],
)
def test_sizes(sizes: str, params: int, macs: int) -> None:
    graph = space("nats_sss").graph(sizes)
    assert (graph.params, graph.product_flops) == (params, macs)


def test_sizes_of_the_table(shared_data: Path) -> None:
    frame = pd.read_parquet(shared_data / "nats_sss" / "nats_sss_cifar10.parquet")
    assert set(frame.channels) == set(space("nats_sss"))


def test_errors_say_where_and_what() -> None:
    good = arch("333333")
    with pytest.raises(InputError, match=r"position 33 .*got 'avg_pool_5x5', expected one of none"):
        CELLS.build(good[:33] + "avg_pool_5x5~1|+|none~0|none~1|none~2|")
    with pytest.raises(InputError, match=r"position 14 .*got '1', expected 0"):
        CELLS.build(good.replace("~0", "~1", 1))
    with pytest.raises(InputError, match="expected one of 8, 16"):
        space("nats_sss").build("8:8:9:8:8")
