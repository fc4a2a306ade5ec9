"""The registry: facts, names, additions."""

from __future__ import annotations

import pytest
import torch

import archrank
from archrank.errors import InputError
from archrank.proxies import Measure, register, unregister
from archrank.proxies.signals import SIGNALS


@pytest.mark.parametrize("proxy", archrank.proxies.list(), ids=lambda p: p.name)
def test_facts_are_complete(proxy) -> None:
    assert proxy.summary.endswith(".")
    assert proxy.formula
    assert proxy.reference
    assert proxy.cost
    assert proxy.function.__doc__
    assert proxy.mode in ("train", "as given", "any")
    assert proxy.dtype in ("model", "float64")
    assert set(proxy.needs) <= set(SIGNALS)
    by_loss = {
        *("gradients", "hessian_gradients", "saliencies", "gradient_statistics", "sign_sums"),
        *("gradient_entries", "attention", "twins", "targets"),
    }
    assert proxy.labels == bool(by_loss & set(proxy.needs))


def test_the_set_that_was_promised() -> None:
    promised = (
        "params flops activations grad_norm snip plain l2_norm fisher grasp synflow synflow_log "
        "jacob_cov naswot zen zico gradsign gradsign_mean gradsign_excess gradsign_z "
        "synflow_bn logsynflow epe_nas meco meco_opt swap swap_regular az_expressivity "
        "az_progressivity az_trainability az_complexity ntk_condition linear_regions near vkdnw "
        "croze l_swag in_train epsinas nasgraph parzc_dagger dss attention_confidence "
        "attention_importance softmax_confidence"
    )
    assert set(promised.split()) <= {proxy.name for proxy in archrank.proxies.list()}


def test_unknown_names_get_the_closest() -> None:
    with pytest.raises(InputError, match="did you mean 'gradsign'"):
        archrank.proxies.get("grad_sign")


def test_own_proxies() -> None:
    @register("largest", summary="Largest gradient.", formula="max |g|", reference="ours", cost="1")
    def largest(gradients):
        return Measure(max(float(g.abs().max()) for g in gradients.values()))

    try:
        net = torch.nn.Sequential(torch.nn.Linear(4, 3))
        scores = archrank.score(net, (4,), proxies="largest,grad_norm")
        assert 0 < scores["largest"].value <= scores["grad_norm"].value
        ranking = archrank.rank([net], (4,), by="largest")
        assert ranking.table["largest"][0] == pytest.approx(scores["largest"].value)
        with pytest.raises(InputError, match="registered already"):
            register("largest", summary="", formula="", reference="")(largest)
    finally:
        unregister("largest")
    with pytest.raises(InputError, match="largest"):
        archrank.proxies.get("largest")


def test_unknown_signals_are_refused() -> None:
    with pytest.raises(InputError, match="gradient_of_everything"):

        @register("wrong", summary="", formula="", reference="")
        def wrong(gradient_of_everything):
            return Measure(0.0)
