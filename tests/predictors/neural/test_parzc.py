"""ParZC's statistics and what it learns from them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from archrank import score, trace
from archrank.data import space
from archrank.errors import InputError
from archrank.predictors import ParZC, Sample, samples
from archrank.predictors.checks import small_graphs
from archrank.predictors.neural.losses import Scheduled
from archrank.predictors.neural.parzc import layer_statistics, layers_of

MIXER = {"length": 16, "segment": 8, "width": 8, "depth": 1}


def given(proxies: tuple[str, ...] = ("flops",)) -> list[Sample]:
    return [
        replace(s, node_scores=dict.fromkeys(proxies, s.graph.node_flops * 1.0))
        for s in samples(small_graphs())
    ]


def test_statistics_of_a_layer_are_means_over_its_parameters() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.ReLU(), nn.Flatten(), nn.Linear(144, 5))
    scores = score(net, (3, 8, 8), proxies="snip,grad_norm", batch_size=4)
    sample = Sample(
        trace(net, (3, 8, 8)),
        node_scores={name: scores.nodes(name) for name in ("snip", "grad_norm")},
    )
    sums = scores.nodes("snip")[layers_of(sample)]
    means = sums / [4 * 3 * 9, 144 * 5 + 5]
    assert np.allclose(layer_statistics(sample, "snip", "log"), np.log1p(means))
    norms = scores.nodes("grad_norm")[layers_of(sample)]
    assert np.allclose(layer_statistics(sample, "grad_norm", "log"), np.log1p(norms))
    assert sorted(layer_statistics(sample, "snip")) == [0.0, 1.0]


def test_fisher_is_a_mean_over_channels() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 5))
    scores = score(net, (3, 8, 8), proxies="fisher", batch_size=4)
    sample = Sample(trace(net, (3, 8, 8)), node_scores={"fisher": scores.nodes("fisher")})
    means = scores.nodes("fisher")[layers_of(sample)] / [4, 5]
    assert np.allclose(layer_statistics(sample, "fisher", "log"), np.log1p(means))


def test_deeper_networks_than_learnt_of_are_seen_to_their_end() -> None:
    read = given()
    depths = np.array([len(layers_of(sample)) for sample in read])
    shallow = [sample for sample, depth in zip(read, depths, strict=True) if depth == depths.min()]
    deep = read[int(depths.argmax())]
    options = {"mixer": MIXER, "proxies": ("flops",), "epochs": 1, "scaling": "log"}
    fitted = ParZC(**options).fit(shallow, range(len(shallow)))
    assert depths.max() > len(fitted.places_)
    row = fitted._table([deep])[0]
    values = layer_statistics(deep, "flops", "log")
    assert row[0] == values[0]
    if len(fitted.places_) > 1:
        assert row[-1] == values[-1]


def test_a_schedule_of_losses_is_told_the_epoch() -> None:
    schedule = Scheduled([("mse", 1), ("list_mle", 1)])
    ParZC(mixer=MIXER, proxies=("flops",), epochs=2, loss=schedule).fit(given(), range(16))
    assert schedule.epoch == 1


def test_missing_values_are_zero() -> None:
    sample = given()[5]
    values = sample.node_scores["flops"].copy()
    values[layers_of(sample)[0]] = np.nan
    spoilt = replace(sample, node_scores={"flops": values})
    assert layer_statistics(spoilt, "flops")[0] == 0
    nothing = replace(sample, node_scores={"flops": np.full(len(values), np.nan)})
    assert not layer_statistics(nothing, "flops").any()


def test_places_by_module_are_the_same_layer_in_all() -> None:
    cells = space("nasbench201")
    archs = cells.sample(6, seed=0)
    read = [
        replace(s, node_scores={"flops": s.graph.node_flops * 1.0})
        for s in samples(archs, space=cells)
    ]
    options = {"mixer": MIXER, "proxies": ("flops",), "epochs": 1, "scaling": "log"}
    by_module = ParZC(positions="module", **options).fit(read, range(6))
    by_order = ParZC(positions="order", **options).fit(read, range(6))
    assert set(by_order.places_) == {str(i) for i in range(max(len(layers_of(s)) for s in read))}
    heads = {s.graph.nodes[int(layers_of(s)[-1])].module for s in read}
    assert len(heads) == 1
    place = by_module.places_[heads.pop()]
    assert (by_module._table(read)[:, place] > 0).all()
    assert len({len(layers_of(s)) for s in read}) > 1  # by order it has no place of its own


@pytest.mark.parametrize("encoder", [None, "gin"])
def test_it_learns_to_rank(encoder: str | None) -> None:
    read = given()
    labels = [sample.graph.flops for sample in read]
    predictor = ParZC(
        encoder, MIXER, "log", epochs=80, learning_rate=0.01, proxies=("flops",), draws=5
    ).fit(read, labels)
    assert predictor.score(read, labels) > 0.6
    _, few = predictor.predict(read, return_std=True)
    assert (few > 0).all()


def test_evaluation_by_sampling_is_an_option() -> None:
    read = given()
    predictor = ParZC(mixer={**MIXER, "evaluation": "sample"}, epochs=1, proxies=("flops",))
    predictor.fit(read, range(16))
    torch.manual_seed(0)
    first = predictor.predict(read)
    assert not np.array_equal(first, predictor.predict(read))


def test_divergence_shrinks_weights_to_the_prior() -> None:
    read = given()
    options = {"mixer": MIXER, "proxies": ("flops",), "epochs": 60, "learning_rate": 0.01}
    free = ParZC(**options).fit(read, range(16))
    bound = ParZC(**options, divergence=100.0).fit(read, range(16))
    assert float(bound._network().mixer.kl()) < float(free._network().mixer.kl())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"scaling": "max"}, "scaling"),
        ({"positions": "depth"}, "positions"),
        ({"proxies": ("snip",)}, "snip"),
        ({"proxies": ()}, "any proxy"),
        ({"loss": "tau"}, "loss"),
    ],
)
def test_wrong_arguments_are_told(options: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=said):
        ParZC(**{"mixer": MIXER, "proxies": ("flops",), "epochs": 1, **options}).fit(
            given(), range(16)
        )
