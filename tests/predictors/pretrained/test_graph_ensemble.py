"""What graphs alone say: labels in percent, contexts, intervals."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from archrank.errors import InputError
from archrank.predictors import GraphEnsemble, Sample
from archrank.predictors.checks import small_graphs
from archrank.predictors.pretrained.training_recipes import (
    PARTS,
    WORDS,
    context_of,
    is_in1k_alone,
    schedule_of,
)


@pytest.fixture(scope="module")
def graphs():
    return small_graphs()


@pytest.fixture(scope="module")
def accuracies(graphs) -> np.ndarray:
    size = np.log([graph.flops for graph in graphs])
    return 100 - 30 * np.exp(-(size - size.min()) / 4)


def test_percent_is_learnt_as_the_logarithm_of_the_error(graphs, accuracies) -> None:
    percent = GraphEnsemble("percent", 20).fit(graphs, accuracies)
    number = GraphEnsemble("number", 20).fit(graphs, -np.log(100 - accuracies))
    assert percent.predict(graphs) == pytest.approx(100 - np.exp(-number.predict(graphs)))
    low, high = percent.interval(graphs)
    assert (low < percent.predict(graphs)).all()
    assert (percent.predict(graphs) < high).all()
    assert (high < 100).all()


def test_calibrating_makes_intervals_cover(graphs, accuracies) -> None:
    ensemble = GraphEnsemble("percent", 20).fit(graphs, accuracies)
    mean, std = ensemble.expected(graphs)
    errors = np.random.default_rng(0).normal(size=len(mean)) * 3 * std
    ensemble.calibrate(errors, std)
    _, wider = ensemble.expected(graphs)
    assert np.mean(np.abs(errors) <= 1.645 * wider) == pytest.approx(0.9, abs=0.07)


def test_what_it_says_of_one_depends_on_no_other(graphs, accuracies) -> None:
    ensemble = GraphEnsemble("percent", 20).fit(graphs, accuracies)
    alone = [ensemble.predict([graph])[0] for graph in graphs]
    assert ensemble.predict(graphs) == pytest.approx(alone)


def test_without_a_context_the_commonest_is_meant(graphs, accuracies) -> None:
    recipes = ["in1k"] * 10 + ["a1_in1k"] * (len(graphs) - 10)
    samples = [
        Sample(graph, context=context_of(recipe))
        for graph, recipe in zip(graphs, recipes, strict=True)
    ]
    lifted = accuracies + np.array([0.0 if r == "in1k" else 0.5 for r in recipes])
    ensemble = GraphEnsemble("percent", 30).fit(samples, np.minimum(lifted, 99))
    plain = [replace(sample, context=context_of("in1k")) for sample in samples]
    assert ensemble.predict(graphs) == pytest.approx(ensemble.predict(plain))


def test_accuracies_above_a_hundred_are_refused(graphs) -> None:
    with pytest.raises(InputError, match="accuracies in % below 100"):
        GraphEnsemble("percent").fit(graphs, np.full(len(graphs), 100.0))
    with pytest.raises(InputError, match="coverage: got 2"):
        GraphEnsemble(trees=5).fit(graphs, np.arange(len(graphs))).interval(graphs, 2)


@pytest.mark.parametrize(
    ("recipe", "words", "alone"),
    [
        ("in1k", (), True),
        ("a1_in1k", ("timm's A1",), True),
        ("fb_in22k_ft_in1k", ("pretrained on ImageNet-22k", "Facebook's"), False),
        ("ns_jft_in1k", ("pseudo-labels of JFT",), False),
        ("fb_dist_in1k", ("distilled", "Facebook's"), False),
        ("ra4_e3600_r224_in1k", ("RandAugment, fourth", "many epochs"), True),
    ],
)
def test_recipes_are_read_by_their_words(recipe: str, words: tuple[str, ...], alone: bool) -> None:
    *said, _, _ = context_of(recipe)
    context = dict(zip((*WORDS, *PARTS), said, strict=True))
    assert {word for word in WORDS if context[word]} == set(words)
    assert {part for part in PARTS if context[part]} == set(PARTS) & set(recipe.split("_"))
    assert is_in1k_alone(recipe) is alone


@pytest.mark.parametrize(
    ("recipe", "schedule"),
    [
        ("in1k", (300, 2)),
        ("gluon_in1k", (120, 1)),
        ("a3_in1k", (100, 3)),
        ("dist_450e_in1k", (450, 2)),
        ("300ep_in1k", (300, 2)),
        ("sw_r448_e450_in1k", (450, 3)),
        ("sw_in12k_ft_in1k", (300, 3)),
        ("sam_in1k", (300, 0)),
        ("e0_in1k", (300, 2)),
    ],
)
def test_a_recipe_has_a_schedule(recipe: str, schedule: tuple[int, int]) -> None:
    assert schedule_of(recipe) == schedule
    assert context_of(recipe)[-2:] == pytest.approx((np.log(schedule[0] / 300), schedule[1]))


def test_what_is_no_recipe_is_refused() -> None:
    with pytest.raises(InputError, match="recipe: got 'a b'"):
        context_of("a b")
