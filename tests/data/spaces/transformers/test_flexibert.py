"""FlexiBERT against the counts of its published configurations, as trained and as intended."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest
import torch

from archrank.data import space
from archrank.data.spaces.transformers.flexibert import AttentionBesideConvolution, Transform
from archrank.data.tables import keys
from archrank.errors import InputError
from archrank.graphs import Graph

ENCODERS = space("flexibert")
ROWS = [
    "h256-sa:wma:4:1024x3-lt:dct:2:512x3-sa:sdp:4:512x3-sa:sdp:4:1024x1",
    "h256-lt:dft:4:1024x3-sa:sdp:2:1024x1-dsc:9:4:512x3-dsc:5:2:512x1",
    "h128-sa:sdp:4:1024x1-lt:dct:2:1024x1-dsc:9:4:512x3-lt:dft:4:512x1",
    "h128-dsc:9:4:512x1-dsc:5:2:512x1",
]


def without_head(graph: Graph) -> int:
    named = zip(graph.parameter_names, graph.parameter_sizes, strict=True)
    return sum(int(size) for name, size in named if not name.startswith("head."))


@pytest.mark.parametrize(
    ("row", "trained", "scored"),
    [
        (0, 10_576_896, 13_330_176),
        (1, 9_920_512, 11_106_199),
        (2, 5_291_264, 8_840_082),
        (3, 4_369_408, 5_526_167),
    ],
)
def test_counts_of_embedding_and_encoder(row: int, trained: int, scored: int) -> None:
    assert without_head(ENCODERS.graph(ROWS[row])) == trained
    # The authors' scoring model knew one hidden size and one feed-forward width.
    seen = re.sub(r":\d+x", ":1024x", re.sub(r"^h\d+", "h256", ROWS[row]))
    assert without_head(ENCODERS.graph(seen, "glue-intended")) == scored


def test_every_row_of_the_table(shared_data: Path) -> None:
    frame = pd.read_parquet(shared_data / "flexibert" / "flexibert.parquet", columns=["nas_config"])
    archs = [keys.flexibert(config) for config in frame.nas_config]
    assert archs[:4] == ROWS
    assert all(ENCODERS.normalise(arch) == arch for arch in archs)
    assert (len(archs), len(set(archs))) == (500, 491)
    assert len({ENCODERS.canonical(arch) for arch in archs}) == 301


def test_canonical_networks_are_the_networks_as_trained() -> None:
    for arch in ROWS:
        same = ENCODERS.canonical(arch)
        assert same != arch
        assert ENCODERS.graph(same) == ENCODERS.graph(arch)
        assert ENCODERS.graph(same, "glue-intended") != ENCODERS.graph(arch, "glue-intended")


@pytest.mark.parametrize("task", ["glue", "glue-intended"])
def test_networks_run(task: str) -> None:
    for arch in ROWS:
        network = ENCODERS.build(arch, task).eval()
        with torch.no_grad():
            out = network(torch.randint(30_522, (2, 128)))
        assert out.shape == (2, 2)
        assert torch.isfinite(out).all()
        assert not ENCODERS.graph(arch, task).unknown_operators


def test_transforms() -> None:
    from scipy.fft import dctn, fft2

    x = torch.randn(1, 12, 8, dtype=torch.float64)
    for kind, reference in (
        ("dft", lambda a: fft2(a).real),
        ("dct", lambda a: dctn(a, axes=(-2, -1))),
    ):
        transform = Transform(8, 2, kind, 12).double()
        wanted = reference(transform.project(x).detach().numpy().reshape(12, 2, 4).swapaxes(0, 1))
        ours = transform(x).detach().numpy().reshape(12, 2, 4).swapaxes(0, 1)
        assert abs(ours - wanted).max() < 1e-5  # the cosines are single precision


def test_dynamic_convolution_is_a_sum_over_the_window() -> None:
    torch.manual_seed(0)
    mixed = AttentionBesideConvolution(16, 4, 5).double().eval()
    x = torch.randn(1, 7, 16, dtype=torch.float64)
    with torch.no_grad():
        out = mixed(x)[0, :, 8:].view(7, 2, 4)
        query, values = mixed.query(x), mixed.convolved(x)[0].view(7, 2, 4)
        span = mixed.pointwise(mixed.depthwise(x.transpose(1, 2))).transpose(1, 2)
        weights = mixed.kernels(span * query)[0].view(7, 2, 5).softmax(-1)
        for place in range(7):
            for head in range(2):
                window = range(max(0, place - 2), min(7, place + 3))
                wanted = sum(weights[place, head, i - place + 2] * values[i, head] for i in window)
                torch.testing.assert_close(out[place, head], wanted)


@pytest.mark.parametrize(
    ("arch", "message"),
    [
        ("h64" + ROWS[3][4:], "position 1 .*got '64', expected one of 128, 256"),
        (ROWS[3].replace("dsc:5", "dsc:7"), "position 19 .*expected one of sa:sdp, sa:wma"),
        (ROWS[3].rsplit("-", 1)[0], "position 18 .*got the end, expected '-'"),
        (ROWS[3] + "-sa:sdp:2:512x1", "got the end, expected '-'"),
        (ROWS[0] + "-sa:sdp:2:512x1", "got '-', expected the end"),
    ],
)
def test_errors_say_where_and_what(arch: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        ENCODERS.build(arch)
