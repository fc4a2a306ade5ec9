"""Every space's networks have the published numbers of parameters and multiply-adds."""

from __future__ import annotations

import math
from pathlib import Path

import networkx
import numpy as np
import pytest

from archrank.data import space, table
from archrank.data.spaces.cells.nasbench101 import OPERATORS, prune
from archrank.errors import InputError

V2 = (
    "normal:|sep_conv_3x3~0|sep_conv_3x3~1|+|sep_conv_3x3~0|sep_conv_3x3~1|"
    "+|skip_connect~0|sep_conv_3x3~1|+|skip_connect~0|dil_conv_3x3~2| "
    "reduce:|max_pool_3x3~0|max_pool_3x3~1|+|max_pool_3x3~1|skip_connect~2|"
    "+|max_pool_3x3~0|skip_connect~2|+|max_pool_3x3~1|skip_connect~2|"
)
V1 = (
    "normal:|sep_conv_3x3~0|sep_conv_3x3~1|+|skip_connect~0|sep_conv_3x3~1|"
    "+|skip_connect~0|sep_conv_3x3~1|+|sep_conv_3x3~0|skip_connect~2| "
    "reduce:|max_pool_3x3~0|max_pool_3x3~1|+|max_pool_3x3~0|skip_connect~2|"
    "+|max_pool_3x3~0|skip_connect~2|+|avg_pool_3x3~0|skip_connect~2|"
)
NB101_SEVEN = "0111010/0000001/0000001/0000100/0000001/0000001/0000000"


def stages(*blocks: str) -> str:
    return "-".join(blocks)


FIGURES = [
    ("nasbench101", "01/00:", None, 882_570, 137_761_792),
    ("nasbench101", "010/001/000:conv3x3", None, 10_177_674, 1_496_716_288),
    ("nasbench101", "0100/0010/0001/0000:conv1x1,conv3x3", None, 11_215_242, None),
    (
        "nasbench101",
        "01100/00011/00010/00001/00000:conv3x3,maxpool3x3,conv3x3",
        *(None, 5_532_810, None),
    ),
    (
        "nasbench101",
        "01001/00100/00010/00001/00000:conv1x1,conv3x3,conv1x1",
        *(None, 13_126_538, 1_932_923_904),
    ),
    (
        "nasbench101",
        f"{NB101_SEVEN}:conv1x1,conv3x3,conv3x3,conv3x3,maxpool3x3",
        *(None, 2_694_282, 402_002_944),
    ),
    ("darts", V2, None, 3_349_342, 528_359_040),
    ("darts", V1, None, 3_169_414, 500_987_520),
    ("nasbench301", V2, None, 919_722, 159_765_504),
    ("nasbench301", V1, None, 871_786, None),
    ("transnas101_micro", "64-41414-1_00_210", "class_object-100", 929_668, 257_476_608),
    ("transnas101_micro", "64-41414-1_00_210", "class_object", 916_843, None),
    ("transnas101_micro", "64-41414-1_00_210", "class_scene-63", 910_687, None),
    ("transnas101_micro", "64-41414-1_00_210", "room_layout", 882_985, None),
    ("transnas101_micro", "64-41414-1_00_210", "jigsaw", 5_487_368, None),
    ("transnas101_micro", "64-41414-1_00_210", "segmentsemantic", 11_902_545, None),
    ("transnas101_micro", "64-41414-1_00_210", "autoencoder", 23_750_227, None),
    ("transnas101_micro", "64-41414-1_00_210", "normal", 23_750_227, None),
    ("transnas101_micro", "64-41414-3_33_333", "class_object", 41_450_091, 8_469_911_040),
    ("transnas101_micro", "64-41414-0_00_000", "class_object", 57_963, None),
    ("transnas101_micro", "64-41414-1_11_111", "class_object", 579_435, None),
    ("transnas101_macro", "64-1242-basic", "class_object-100", 11_237_764, None),
    ("transnas101_macro", "64-1242-basic", "jigsaw", 15_795_464, None),
    ("transnas101_macro", "64-1242-basic", "segmentsemantic", 22_210_641, None),
    ("transnas101_macro", "64-121113-basic", "autoencoder", 22_405_971, None),
    ("nasbench_macro", "02012100", None, 890_666, 47_327_744),
    ("nasbench_macro", "00000000", None, 387_882, 7_713_280),
    ("nasbench_macro", "11111111", None, 1_588_874, 53_246_464),
    ("nasbench_macro", "22222222", None, 2_932_586, 105_660_928),
    ("nasbench_macro", "20212112", None, 2_164_074, 71_555_584),
    ("ofa_mobilenetv3", stages(*["k7e6,k7e6,k7e6,k7e6"] * 5), None, 7_664_760, 566_170_656),
    ("ofa_mobilenetv3", stages(*["k3e3,k3e3"] * 5), None, 3_410_792, 121_278_672),
    ("ofa_mobilenetv3", stages(*["k5e4,k5e4,k5e4"] * 5), None, 4_551_792, 250_746_944),
    (
        "proxylessnas",
        stages(*["k7e6,k7e6,k7e6,k7e6"] * 5, "k7e6"),
        *(None, 5_103_336, 606_590_720),
    ),
    ("proxylessnas", stages(*["k3e3,k3e3"] * 5, "k3e3"), None, 2_500_632, 154_160_000),
    (
        "ofa_resnet",
        stages("1.0,1.0+", *(f"1.0:{','.join(['0.35'] * n)}" for n in (4, 4, 6, 4))),
        *(None, 48_105_992, 7_491_643_904),
    ),
    (
        "ofa_resnet",
        stages("0.65,0.65", *(f"0.65:{','.join(['0.2'] * n)}" for n in (2, 2, 4, 2))),
        *(None, 6_539_280, 962_192_128),
    ),
    (
        "ofa_resnet",
        stages("1.0,1.0", *(f"1.0:{','.join(['0.25'] * n)}" for n in (3, 3, 5, 3))),
        *(None, 24_169_736, 3_776_487_424),
    ),
    (
        "enas",
        "[[1],[4,0],[5,0,0],[0,1,1,1],[2,1,1,1,1],[3,0,0,0,0,1]]",
        *(None, 69_084, 12_748_392),
    ),
    (
        "enas",
        "[[0],[0,0],[0,0,0],[0,0,0,0],[0,0,0,0,0],[0,0,0,0,0,0]]",
        *(None, 91_332, 37_242_216),
    ),
    (
        "enas",
        "[[4],[4,0],[4,0,0],[4,0,0,0],[4,0,0,0,0],[4,0,0,0,0,0]]",
        *(None, 20_916, 5_889_384),
    ),
    *(
        ("hiaml", stages(*[block] * 4), None, params, macs)
        for block, params, macs in (
            ("z", 2_714_698, 116_836_864),
            ("a22", 1_895_498, 83_282_432),
            ("b23", 2_390_090, 99_011_072),
            ("j30", 2_756_426, 117_885_440),
            ("g30", 2_597_194, 107_399_680),
            ("r30", 2_638_922, 108_448_256),
            ("t31", 2_638_922, 108_448_256),
            ("l20", 1_688_394, 74_893_824),
            ("t20", 1_281_098, 54_970_880),
            ("src0", 3_861_578, 158_779_904),
            ("src1", 2_939_594, 149_342_720),
            ("src3", 1_999_818, 90_622_464),
            ("src7", 2_637_386, 108_448_256),
            ("src8", 1_611_082, 66_505_216),
        )
    ),
    ("hiaml", "z-a22-b23-src3", None, 2_011_466, 95_341_056),
    ("two_path", "conv3x3/2-conv3x3/2|conv3x3/2-conv3x3/2", None, 1_381_098, 26_842_112),
    (
        "two_path",
        "conv1x1,double3x3/2-bottleneck_r4_k3-inception_s5,maxpool3x3/2"
        "|bottleneck_e2_k3/2-conv5x5/2",
        *(None, 1_627_786, 34_116_608),
    ),
    ("inception", stages(*["2*conv3x3"] * 4), None, 2_369_802, 81_105_920),
]


@pytest.mark.parametrize(
    ("name", "arch", "task", "params", "macs"),
    FIGURES,
    ids=[f"{name}-{i}" for i, (name, *_) in enumerate(FIGURES)],
)
def test_figures(name: str, arch: str, task: str | None, params: int, macs: int | None) -> None:
    graph = space(name).graph(arch, task)
    assert graph.params == params
    assert macs is None or graph.product_flops == macs


# --- tables ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "task", "params", "macs", "every"),
    [
        ("ec_nas", None, "params", None, 40),
        ("nasbench101", None, "params", None, 10),
        ("nasbench301", "cifar10-zerocost", "params/cifar10", None, 20),
        ("nasbench301", "svhn", "params/svhn", None, 20),
        ("nasbench301", "scifar100", "params/scifar100", None, 20),
        ("nasbench301", "ninapro", "params/ninapro", None, 20),
        ("nas_bench_macro", None, "params", "macs", 200),
        ("accel_nasbench", None, "params", None, 150),
        ("ofa_mobilenetv3", None, "params", "macs", 60),
        ("help_fbnet", None, "params", None, 100),
        *(
            (f"transnas101_{kind}", task, f"params/{task.partition('-')[0]}", None, 40)
            for kind in ("micro", "macro")
            for task in (
                *("class_object-100", "class_scene-63", "room_layout", "jigsaw"),
                *("segmentsemantic", "normal", "autoencoder"),
            )
        ),
    ],
)
def test_rows_of_tables(
    name: str, task: str | None, params: str, macs: str | None, every: int, published: Path
) -> None:
    """Evenly spaced rows; ``experiments/published_figures.py`` compares all of them."""
    measured = table(name)
    assert measured.space is not None
    one = space(measured.space)
    rows = measured.costs.dropna(subset=[params])
    assert len(rows) > 10
    for arch, row in rows.iloc[::every].iterrows():
        graph = one.graph(str(arch), task)
        assert graph.params == row[params], arch
        assert macs is None or graph.product_flops == row[macs], arch


def test_multiply_adds_of_mnasnet_as_its_table_counts(published: Path) -> None:
    """Its column adds 4 for each normed element, and H W + 1 for each channel of a global pool."""
    one, measured = space("mnasnet"), table("accel_nasbench")
    for arch, row in measured.costs.iloc[::250].iterrows():
        graph = one.graph(str(arch))
        extra = sum(
            4 * math.prod(node.out_shape)
            if node.operator == "batch_norm"
            else node.in_shape[1] * (math.prod(node.in_shape[2:]) + 1)
            if node.operator == "global_avg_pool"
            else 0
            for node in graph.nodes
        )
        assert (graph.product_flops + extra) / 1e6 == pytest.approx(row["macs"] / 1e6, abs=1e-3)


def test_flops_of_fbnet_as_its_table_counts(published: Path) -> None:
    """Its column adds 2 for each normed and 1 for each activated or pooled element; of a block,
    whose activations are one module, those of the last call."""
    one, measured = space("fbnet"), table("help_fbnet")
    for arch, flops in measured.costs["flops"].iloc[::250].items():
        graph = one.graph(str(arch))
        extra = sum(
            2 * math.prod(node.out_shape)
            if node.operator == "batch_norm"
            else math.prod(node.in_shape)
            if node.operator == "global_avg_pool"
            or (node.operator == "relu" and ".expand." not in node.module)
            else 0
            for node in graph.nodes
        )
        assert graph.product_flops + extra == flops


@pytest.mark.parametrize(
    "name",
    [
        *("nasbench201", "nats_sss", "nasbench101", "ec_nas", "nasbench301", "transnas101_micro"),
        *("transnas101_macro", "nas_bench_macro", "accel_nasbench", "ofa_mobilenetv3", "enas"),
        *("gpt", "flexibert", "nasbench_graph", "help_fbnet", "help_ofa"),
    ],
)
def test_the_tables_architectures_are_the_spaces_own(name: str, published: Path) -> None:
    measured = table(name)
    assert measured.space is not None
    one = space(measured.space)
    for arch in measured.architectures[:: max(1, len(measured) // 500)]:
        assert one.normalise(arch) == arch or name in ("nasbench101", "ec_nas")
        assert one.normalise(arch) in one


# --- NAS-Bench-101 --------------------------------------------------------------------------------


def as_digraph(arch: str) -> networkx.DiGraph:
    matrix, operators = space("nasbench101").parse(arch)  # type: ignore[attr-defined]
    graph = networkx.from_numpy_array(np.array(matrix), create_using=networkx.DiGraph)
    names = ["input", *operators, "output"]
    networkx.set_node_attributes(graph, dict(enumerate(names)), "operator")
    return graph


@pytest.mark.parametrize("seed", range(3))
def test_canonical_cells_are_isomorphism_classes(seed: int) -> None:
    """Against networkx, on random cells and on reordered copies of themselves."""
    one = space("nasbench101")
    archs = one.sample(25, seed)
    rng = np.random.default_rng(seed)
    for arch in list(archs):
        matrix, operators = one.parse(arch)  # type: ignore[attr-defined]
        order = [0, *(1 + rng.permutation(len(operators))), len(operators) + 1]
        rows = np.array(matrix)[np.ix_(order, order)]
        if not np.tril(rows).any():
            names = [operators[i - 1] for i in order[1:-1]]
            archs.append("/".join("".join(map(str, row)) for row in rows) + ":" + ",".join(names))
    same = networkx.algorithms.isomorphism.categorical_node_match("operator", "")
    for first in archs[::3]:
        for second in archs:
            wanted = networkx.is_isomorphic(as_digraph(first), as_digraph(second), same)
            assert (one.canonical(first) == one.canonical(second)) == wanted


def test_all_cells_of_up_to_four_vertices() -> None:
    """As many different graphs as the EC-NAS tables hold: 1 + 6 + 84."""
    from itertools import product

    one = space("nasbench101")
    found = set()
    for n in (2, 3, 4):
        places = [(v, t) for v in range(n) for t in range(v + 1, n)]
        for bits in product((0, 1), repeat=len(places)):
            rows = np.zeros((n, n), int)
            for (v, t), bit in zip(places, bits, strict=True):
                rows[v, t] = bit
            for operators in product(OPERATORS, repeat=n - 2):
                cell = prune((tuple(map(tuple, rows.tolist())), operators))
                if cell is not None:
                    found.add(one.canonical(one.format(cell)))  # type: ignore[attr-defined]
    assert len(found) == 91


def test_cells_that_are_none() -> None:
    one = space("nasbench101")
    for bad, expected in (
        ("0110/0001/0001:conv3x3,conv1x1", "4 rows, not 3"),
        ("0110/0001/0001/1000:conv3x3,conv1x1", "earlier to later"),
        ("0110/0001/0001/0000:conv3x3", "got the end, expected ','"),
        ("0110/0001/0001/0000:conv3x3,conv7x7", "one of conv3x3"),
        ("0110/0000/0000/0000:conv3x3,conv1x1", "a path from the first to the last"),
        ("01111/00111/00011/00001/00000:conv3x3,conv3x3,conv3x3", "at most 9 edges"),
        ("/".join(["0" * 8] * 8) + ":", "at most seven"),
    ):
        with pytest.raises(InputError, match=expected):
            one.build(bad)


# --- counts and canonical forms -------------------------------------------------------------------


def test_counts() -> None:
    macro = space("nasbench_macro")
    assert len({macro.canonical(arch) for arch in macro}) == 3_969
    assert len(list(macro)) == len(macro) == 6_561
    assert len(list(space("transnas101_macro"))) == 3_256
    assert len(list(space("transnas101_micro"))) == len(space("transnas101_micro")) == 4_096
    assert len(space("hiaml")) == 38_416
    assert space("mnasnet").size == 12**7 * 3**6 * 4
    assert space("enas").size == 6**6 * 2**15
    assert space("ofa_mobilenetv3").size == 33 * (9**2 + 9**3 + 9**4) ** 5
    assert space("nasbench301").size == (180 * 49**4) ** 2


def test_macro_duplicates_share_their_labels(published: Path) -> None:
    one, labels = space("nasbench_macro"), table("nas_bench_macro").labels()
    groups: dict[str, set[float]] = {}
    for arch, value in labels.items():
        groups.setdefault(one.canonical(str(arch)), set()).add(float(value))
    assert all(len(values) == 1 for values in groups.values())


def test_a_resolution_is_part_of_the_architecture() -> None:
    one = space("ofa_mobilenetv3")
    arch = stages(*["k3e3,k3e3"] * 5)
    assert one.normalise(arch) == arch + "@224"
    assert one.inputs(arch=arch + "@160") == (3, 160, 160)
    assert one.graph(arch + "@160").flops < one.graph(arch).flops
    with pytest.raises(InputError, match="a stage of 2 or 3 or 4 blocks, not 1"):
        one.build("k3e3-" + arch)
