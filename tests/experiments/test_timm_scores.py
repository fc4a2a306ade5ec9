"""Models of many implementations of timm are scored by every proxy, or told why not."""

from __future__ import annotations

import importlib
from typing import Any

import pytest

SAMPLE = """
coat_tiny efficientvit_m0 fastvit_t8 iformer_t levit_128s mobilevitv2_050 pvt_v2_b0 shvit_s1
swiftformer_xs test_coatnet test_convnext3 test_efficientnet_evos test_nfnet test_resnet test_vit
""".split()
"""Small models of many kinds; ``experiments/timm_scores.py`` scores two of each module."""
FAITHFUL = {"test_vit", "test_resnet", "pvt_v2_b0", "coat_tiny"}
"""Models whose gradients nowhere vanish but for rounding, which would decide signs."""


def script() -> Any:
    pytest.importorskip("timm")
    return importlib.import_module("timm_scores")


@pytest.mark.slow
@pytest.mark.parametrize("name", SAMPLE)
def test_every_proxy_has_a_value_or_does_not_apply(name: str) -> None:
    found = script().scored(name, largest=20e6)
    for proxy, (value, status, reason) in found["results"].items():
        assert status in ("ok", "not applicable"), (proxy, reason)
        assert (value is None) == (status != "ok") == (reason is not None), proxy
    if name in FAITHFUL:
        assert found["batched"] == pytest.approx(found["looped"], rel=1e-3)


def test_the_sample_is_of_many_kinds() -> None:
    assert set(SAMPLE) >= FAITHFUL
    assert len({name.removeprefix("test_").partition("_")[0] for name in SAMPLE}) > 12


def test_the_page_says_what_is_neither() -> None:
    results = {"snip": [1.0, "ok", None], "near": [None, "error", "it broke"]}
    row = {"module": "vit", "name": "tiny", "results": results, "seconds": 2.0, "params": 5e6}
    rows = [
        {**row, "batched": 8.0, "looped": 8.0},
        {**row, "name": "small", "batched": 9.0, "looped": 8.0},
        {"module": "vit", "name": "huge", "failed": "632 million parameters are too many here"},
    ]
    text = "\n".join(script().page(rows, 9))
    assert "| results that are 'ok' | 2 |" in text
    assert "| tiny | error: it broke | 1 |" in text
    assert "2 of 9" in text
    assert "| 5.0 million |" in text
    assert "| 1 of 2 |" in text
    assert "small: 9, by the loop 8" in text
    assert "huge: 632 million" in text
