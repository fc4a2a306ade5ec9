"""Models of many implementations of timm are scored by every proxy, or told why not."""

from __future__ import annotations

import importlib
import random
from typing import Any

import pytest

SMALL = """
test_convnext test_efficientnet test_efficientnet_evos test_vit test_nfnet test_mambaout test_vit2
test_byobnet test_convnext3 test_resnet starnet_s050 test_coatnet test_vit_relpos dla46x_c
test_maxvit mobilevit_xxs edgenext_xx_small mobilevitv2_050 mobilenetv3_small_050 lcnet_035
ese_vovnet19b_slim_dw repghostnet_050 efficientvit_m0 ghostnet_050 regnetx_002 cspnext_tiny
iformer_t xcit_nano_12_p16_224 ghostnetv3_050 efficientvit_b0 swiftformer_xs efficientformerv2_s0
pvt_v2_b0 fasternet_t0 fastvit_t8 lcnetv2_small inception_next_atto rexnet_100 mobileone_s1
pit_ti_224 cs3darknet_s hardcorenas_a resnet10t repvit_m1 vit_tiny_patch16_dinov3_qkvb coat_tiny
eva02_tiny_patch14_224 convit_tiny gmlp_ti16_224 deit_tiny_distilled_patch16_224 hgnetv2_b0
shvit_s1 vit_tiny_r_s16_p8_224 cpubone_nano crossvit_tiny_240 efficientvim_m1 levit_128s
densenet121 nf_regnet_b0 dpn48b
""".split()
"""The smallest models of implementations, those of up to 10 million parameters."""

SAMPLE = sorted(random.Random(0).sample(SMALL, 40))
FAITHFUL = {"test_vit", "test_resnet", "xcit_nano_12_p16_224", "pvt_v2_b0", "coat_tiny"}
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
    assert len(set(SAMPLE) & FAITHFUL) >= 2
    assert len({name.partition("_")[0] for name in SAMPLE}) > 20


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
