"""NAS-Bench-Macro: networks of one name compute the same."""

from __future__ import annotations

import pytest
import torch

from archrank.data.spaces.mobile.nasbench_macro import NASBenchMacro
from archrank.errors import InputError

SPACE = NASBenchMacro()


@pytest.mark.parametrize(
    ("arch", "canonical"),
    [
        ("20012101", "20012110"),
        ("01201002", "01210020"),
        ("12021021", "12021021"),
        ("00000000", "00000000"),
    ],
)
def test_canonical_networks_compute_the_same(arch: str, canonical: str) -> None:
    assert SPACE.canonical(arch) == canonical
    torch.manual_seed(0)
    one, other = SPACE.build(arch).eval(), SPACE.build(canonical).eval()
    with torch.no_grad():
        for ours, theirs in zip(one.parameters(), other.parameters(), strict=True):
            theirs.copy_(ours)
        x = torch.randn(2, 3, 32, 32)
        assert torch.equal(one(x), other(x))


@pytest.mark.parametrize(
    ("arch", "expected"),
    [
        ("0201210", "position 7 .* got the end"),
        ("020121000", "position 8 .* expected the end"),
        ("02013100", "position 4 .* one of the digits 0, 1, 2"),
    ],
)
def test_strings_that_are_none(arch: str, expected: str) -> None:
    with pytest.raises(InputError, match=expected):
        SPACE.build(arch)
