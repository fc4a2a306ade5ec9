"""Splits: sizes as published, no network on two sides, recorded and repeatable."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archrank.data import Protocol, Split, space, split
from archrank.data.splits import PROTOCOLS
from archrank.errors import InputError

CELLS = space("nasbench201")
SOME = CELLS.sample(4000, seed=0)


def sides(drawn: Split) -> list[set[str]]:
    return [set(drawn.train), set(drawn.valid), set(drawn.test)]


@pytest.mark.parametrize("i", range(5))
def test_pinat_sizes(i: int) -> None:
    for name, sizes in (
        ("nasbench201", (78, 156, 469, 781, 1563)),
        ("nasbench101", (100, 172, 424, 424, 4236)),
    ):
        assert PROTOCOLS[f"pinat-{name}-s{i + 1}"].train == sizes[i]
    assert PROTOCOLS["pinat-nasbench101-s3"].test == 100
    everything = list(CELLS)
    drawn = split(everything, f"pinat-nasbench201-s{i + 1}", seed=1, space=CELLS)
    assert len(drawn.train) == (78, 156, 469, 781, 1563)[i]
    assert len(drawn.train) + len(drawn.test) + len(drawn.left_out) == 15_625
    published = split(everything, f"pinat-nasbench201-s{i + 1}-published", seed=1, space=CELLS)
    assert len(published.test) == 15_625


def test_gennape() -> None:
    drawn = split(CELLS, "gennape-nasbench201-50", seed=0, space=CELLS)
    assert len(drawn.train) == 50
    assert len(drawn.train) + len(drawn.test) + len(drawn.left_out) == 4_096
    published = split(CELLS, "gennape-nasbench201-50-published", seed=0)
    assert (len(published.train), len(published.test)) == (50, 4_046)
    tenths = split(SOME, "gennape-published", seed=0)
    assert [len(side) for side in sides(tenths)] == [3200, 400, 400]


@pytest.mark.parametrize("protocol", ["flan-64", "gennape", "tagates-nasbench201-39"])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_same_network_is_never_on_two_sides(protocol: str, seed: int) -> None:
    drawn = split(SOME, protocol, seed, CELLS)
    networks = [{CELLS.canonical(arch) for arch in side} for side in sides(drawn)]
    assert not networks[0] & networks[2]
    assert not networks[1] & networks[2]
    assert not networks[0] & networks[1]
    assert {CELLS.canonical(arch) for arch in drawn.left_out} <= networks[0] | networks[1]


def test_the_option_is_explicit() -> None:
    drawn = split(SOME, "gennape", 0, CELLS, duplicates="ignore")
    networks = [{CELLS.canonical(arch) for arch in side} for side in sides(drawn)]
    assert networks[0] & networks[2]
    assert drawn.protocol.duplicates == "ignore"
    with pytest.raises(InputError, match="duplicates: got 'drop'"):
        split(SOME, "gennape", 0, CELLS, duplicates="drop")  # type: ignore[arg-type]


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(5, 300),
    train=st.one_of(st.integers(1, 100), st.floats(0.05, 0.8)),
    valid=st.one_of(st.integers(0, 20), st.floats(0, 0.15)),
    seed=st.integers(0, 3),
    duplicates=st.sampled_from(["apart", "ignore"]),
)
def test_sides_never_overlap(
    n: int, train: float, valid: float, seed: int, duplicates: str
) -> None:
    rule = Protocol("mine", train, valid, duplicates=duplicates)  # type: ignore[arg-type]
    try:
        drawn = split(SOME[:n], rule, seed, CELLS)
    except InputError:
        return  # too few for that
    train_side, valid_side, test_side = sides(drawn)
    assert not train_side & valid_side
    assert not train_side & test_side
    assert not valid_side & test_side
    assert train_side | valid_side | test_side | set(drawn.left_out) == set(SOME[:n])
    again = split(reversed(SOME[:n]), rule, seed, CELLS)
    assert again.train == drawn.train
    assert again.valid == drawn.valid
    assert set(again.test) == test_side


def test_seeds_differ_and_the_sample_is_recorded(tmp_path: Path) -> None:
    drawn = split(SOME, "flan-16", 0, CELLS)
    assert drawn.train != split(SOME, "flan-16", 1, CELLS).train
    drawn.save(tmp_path / "split.json")
    assert Split.load(tmp_path / "split.json") == drawn
    text = (tmp_path / "split.json").read_text()
    (tmp_path / "changed.json").write_text(text.replace("nor_conv_3x3~0", "none~0", 1))
    with pytest.raises(InputError, match="fingerprint"):
        Split.load(tmp_path / "changed.json")
    for junk in ("", "[]", "{}", text[: len(text) // 2]):
        (tmp_path / "junk.json").write_text(junk)
        with pytest.raises(InputError, match="not a saved split"):
            Split.load(tmp_path / "junk.json")


def test_errors() -> None:
    with pytest.raises(InputError, match="protocol: got 'pinat'"):
        split(SOME, "pinat", 0)
    with pytest.raises(InputError, match="draws 78 different networks, but only 20"):
        split(SOME[:20], "pinat-nasbench201-s1", 0)
    with pytest.raises(InputError, match="leaves none"):
        split(SOME[:8], "flan-8", 0)
