"""Inception against the count of its reference implementation and its rules of sampling."""

from __future__ import annotations

from itertools import product

import pytest

from archrank.data.spaces.paths.inception import OPERATORS, SUPPORT, Inception, _problem, _widths
from archrank.data.spaces.paths.inception import Path as Branch
from archrank.errors import InputError

SPACE = Inception()
PLAIN = "-".join(["2*conv3x3"] * 4)


def one(paths: str) -> str:
    """Return the plain network with other paths in its last stage."""
    return PLAIN[: PLAIN.rindex("*") + 1] + paths


def test_published_figures() -> None:
    built = SPACE.build(PLAIN)
    assert sum(p.numel() for p in built.parameters()) == 2_369_802
    graph = SPACE.graph(PLAIN)
    assert (graph.params, graph.product_flops) == (2_369_802, 81_105_920)


def test_widths_of_paths() -> None:
    plain = Branch(("conv3x3", "conv3x3"))
    wide = Branch(("conv3x3", "conv3x3"), wide=True)
    assert _widths((plain,), 256) == [256]
    assert _widths((plain, plain), 256) == [128, 128]
    assert _widths((plain, wide, plain), 256) == [64, 128, 64]
    assert _widths((plain, plain, plain, plain), 32) == [16] * 4


@pytest.mark.parametrize(
    ("paths", "added"),
    [
        # Every convolution has a bias, every norm two vectors: 3 for each channel, in place of the
        # two 3x3 convolutions 128 -> 256 and 256 -> 256 of the plain last stage.
        ("conv5x5", 25 * 256 * (128 + 256) + 2 * 768),
        ("inception_s3", 3 * (128 + 256 + 256 + 256) * 256 + 4 * 768),
        # A 1x1 without bias or norm comes first where channels change.
        ("depthwise3x3", 128 * 256 + 2 * (9 * 256 + 768)),
        # Stride 2: each branch has the transposed kernel behind it.
        (
            "inception_p3",
            2 * (3 * 128 * 128 + 3 * 128 + 3 * 128 * 128 + 3 * 128) + 2 * (3 * 256 * 128 + 3 * 128),
        ),
        ("conv3x3,maxpool3x3", 9 * 256 * (128 + 256) + 2 * (768 + 512)),
        ("conv3x3,double1x1", sum(9 * c * 256 + 2 * 256 * 256 + 3 * 768 for c in (128, 256))),
        (
            "conv3x3,conv3x3@half",
            sum(9 * c * 128 + 3 * 128 + 9 * 128 * 256 + 768 for c in (128, 256)),
        ),
        (
            "conv3x3|conv1x1,conv3x3",
            sum(9 * c * 128 + c * 128 + 9 * 128**2 + 9 * 128 for c in (128, 256)),
        ),
    ],
)
def test_params_of_operators(paths: str, added: int) -> None:
    plain = 9 * 256 * (128 + 256) + 2 * 768
    assert SPACE.graph(one(paths)).params == 2_369_802 - plain + added


def test_size() -> None:
    """Blocks of one and two paths listed, the rest by the same counts."""
    paths = [
        Branch(names, inner)
        for n in (1, 2, 3)
        for names in product(OPERATORS, repeat=n)
        for inner in ("", "@half", "@double")
    ]
    single = [path for path in paths if not _problem((path,))]
    by_length = [sum(len(path.operators) == n for path in single) for n in (1, 2, 3)]
    assert by_length == [8, 3 * (64 + 2 * 8 * 2) + 2 * 8 * 2, 3 * (512 + 3 * 64 * 4)]
    longest = 3 * (8**4 + 4 * 8**3 * 4)
    count = dict(enumerate([*by_length, longest], 1))
    blocks = sum(by_length)
    for n, fewest, most in ((2, 1, 4), (3, 2, 8), (4, 2, 10)):
        for lengths in product(range(fewest, 5), repeat=n):
            if sum(lengths) <= most:
                ways = 3 if n == 3 else 1
                for length in lengths:
                    ways *= count[length]
                blocks += ways
    assert SPACE.size == (5 * blocks) ** 4


def test_samples_follow_the_rules() -> None:
    stages = [stage for arch in SPACE.sample(1500, seed=0) for stage in SPACE.parse(arch)]
    for n, fewest, most in ((1, 1, 3), (2, 1, 4), (3, 2, 8), (4, 2, 10)):
        own = [stage.paths for stage in stages if len(stage.paths) == n]
        assert abs(len(own) / len(stages) - 1 / 4) < 0.03
        totals = {sum(len(path.operators) for path in paths) for paths in own}
        assert totals == set(range(n * fewest, most + 1))
        assert min(len(path.operators) for paths in own for path in paths) == fewest
    every = [path for stage in stages for path in stage.paths]
    free = [path for path in every if len(path.changing) > 1]
    for inner, share in (("@half", 0.3), ("", 0.6), ("@double", 0.1)):
        assert abs(sum(path.inner == inner for path in free) / len(free) - share) < 0.02
    two = [path for path in every if len(path.operators) == 2]
    supported = sum(any(name in SUPPORT for name in path.operators) for path in two) / len(two)
    assert abs(supported - 4 / 12) < 0.03


def test_canonical_forms() -> None:
    assert SPACE.canonical(one("conv5x5|conv3x3")) == one("conv3x3|conv5x5")
    # Half of 16 channels is 16 again.
    narrow = "2*conv3x3,conv3x3@half|conv5x5" + PLAIN[9:]
    same = SPACE.canonical(narrow)
    assert same == "2*conv3x3,conv3x3|conv5x5" + PLAIN[9:]
    assert SPACE.graph(same) == SPACE.graph(narrow)
    assert SPACE.canonical(one("conv3x3,conv3x3@half")) == one("conv3x3,conv3x3@half")


@pytest.mark.parametrize(
    ("arch", "message"),
    [
        ("7*conv3x3" + PLAIN[9:], "position 0 .*got '7', expected one of 2, 3, 4, 5, 6"),
        (one("conv1x1"), "position 32 .*at least one convolution"),
        (one("|".join(["conv3x3"] * 3)), "at least 2 operators in each of 3 paths"),
        (one(",".join(["conv3x3"] * 4)), "at most 3 operators in 1 paths"),
        (one("conv3x3,maxpool3x3@half"), "only behind two operators that change channels"),
        (one("|".join(["conv3x3,conv3x3"] * 3)), "exactly one of three paths marked wide:"),
        (PLAIN[:-1] + "4", "position 32 .*got 'conv3x4', expected one of conv3x3"),
    ],
)
def test_errors_say_where_and_what(arch: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        SPACE.build(arch)
