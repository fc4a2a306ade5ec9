"""The four searches that proxies assist, and local search."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest

from archrank.data import space
from archrank.errors import InputError
from archrank.search import (
    Choices,
    Hyperband,
    LocalSearch,
    RandomSearch,
    RegularisedEvolution,
    Reinforce,
    assist,
)

SIZES = space("nats_sss")


def total(arch: str) -> float:
    """Something to maximise whose best is known: 320."""
    return float(sum(map(int, arch.split(":"))))


def run(search, evaluations: int) -> list[float]:
    values = []
    for _ in range(evaluations):
        arch = search.ask()
        values.append(total(arch))
        search.tell(arch, values[-1])
    return values


@pytest.mark.parametrize("kind", [RandomSearch, RegularisedEvolution, LocalSearch, Reinforce])
def test_same_seed_same_search(kind):
    first, again, other = (run(kind(SIZES, seed=seed), 40) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_random_search_draws_as_the_space_does():
    search, rng = RandomSearch(SIZES, seed=3), random.Random(3)
    assert [search.ask() for _ in range(20)] == [SIZES.draw(rng) for _ in range(20)]


def test_evolution_mutates_the_best_of_a_tournament():
    search = RegularisedEvolution(SIZES, population=4, tournament=4, seed=0)
    run(search, 4)
    for _ in range(20):
        best = max(value for value, _ in search.population)
        parents = [arch for value, arch in search.population if value == best]
        arch = search.ask()
        assert any(arch in SIZES.neighbours(parent) for parent in parents)
        search.tell(arch, total(arch))


def test_the_oldest_dies_even_if_it_is_the_best():
    search = RegularisedEvolution(SIZES, population=3, tournament=1, seed=0)
    for arch, value in [("8:8:8:8:8", 99.0), ("8:8:8:8:16", 1.0), ("8:8:8:16:8", 2.0)]:
        search.tell(arch, value)
    search.tell("8:8:16:8:8", 0.0)
    assert "8:8:8:8:8" not in {arch for _, arch in search.population}


def test_evolution_goes_on_after_failures_and_when_asked_ahead():
    search = RegularisedEvolution(SIZES, population=5, tournament=2, seed=0)
    ahead = [search.ask() for _ in range(12)]  # before anything is told
    assert len(ahead) == 12
    for arch in ahead:
        search.tell(arch, math.nan)
    assert search.ask() in SIZES
    with pytest.raises(InputError, match="tournament"):
        RegularisedEvolution(SIZES, population=2, tournament=3)


def test_local_search_reaches_a_local_optimum_of_every_neighbour():
    search = LocalSearch(SIZES, starts=2, seed=0)
    values = run(search, 150)
    best = search.best[1]
    assert total(best) == max(values) == 320
    assert all(total(arch) <= total(best) for arch in SIZES.neighbours(best))


def test_local_search_never_asks_twice():
    search = LocalSearch(space("transnas101_micro"), starts=5, seed=0)
    asked = []
    for _ in range(300):
        asked.append(search.ask())
        search.tell(asked[-1], float(len(asked) % 7))
    assert len(set(asked)) == len(asked)


def test_reinforce_follows_the_gradient():
    search = Reinforce(SIZES, rate=0.1, seed=0)
    search.tell("8:8:8:8:8", 0.0)  # the average
    before = [logits.copy() for logits in search.logits]
    assert all((logits == 0).all() for logits in before)
    search.tell("64:8:16:8:8", 1.0)
    probability = np.full(8, 1 / 8)
    step = 0.1 * 1.0 / math.sqrt(0.1)
    for logits, at in zip(search.logits, Choices(SIZES).positions("64:8:16:8:8"), strict=True):
        gradient = np.eye(8)[at] - probability
        assert logits == pytest.approx(step * gradient)


def test_reinforce_leaves_choices_without_effect_alone():
    digits = space("digits")
    search = Reinforce(digits, seed=0)
    first, second = digits.sample(2, seed=0)
    search.tell(first, 0.0)
    search.tell(second, 1.0)
    moved = [bool(logits.any()) for logits in search.logits]
    assert moved == list(digits.active(digits.values(second)))


def test_reinforce_does_not_care_about_units():
    values = [1.0, 3.0, 2.0, 5.0]
    archs = SIZES.sample(4, seed=0)
    searches = [Reinforce(SIZES, seed=0) for _ in range(2)]
    for arch, value in zip(archs, values, strict=True):
        searches[0].tell(arch, value)
        searches[1].tell(arch, 100 * value - 7)
    for one, other in zip(searches[0].logits, searches[1].logits, strict=True):
        assert one == pytest.approx(other)


def test_reinforce_learns_and_ignores_failures():
    search = Reinforce(SIZES, seed=0)
    assert np.mean(run(search, 600)[-50:]) > 260
    search.tell(search.ask(), math.nan)
    assert search.ask() in SIZES


def test_searches_by_choices_refuse_other_spaces():
    for kind in (Reinforce, Choices):
        with pytest.raises(InputError, match="not made of choices"):
            kind("nasbench101")
    with pytest.raises(InputError, match="not made of choices"):
        Hyperband("nasbench101", (1, 2))
    assert RegularisedEvolution("nasbench101").ask() in space("nasbench101")


# --- Hyperband ----------------------------------------------------------------------------------


def test_brackets_halve_as_hyperband_says():
    search = Hyperband(SIZES, (1, 3, 9), eta=3, model=False, seed=0)
    measured: list[tuple[str, float]] = []
    for _ in range(9 + 3 + 1 + 5 + 1 + 3):
        arch, fidelity = search.propose()
        measured.append((arch, fidelity))
        search.report(arch, fidelity, total(arch))
    assert [f for _, f in measured] == [1] * 9 + [3] * 3 + [9] + [3] * 5 + [9] + [9] * 3
    lowest = sorted((arch for arch, _ in measured[:9]), key=total, reverse=True)
    assert [arch for arch, _ in measured[9:12]] == lowest[:3]
    assert measured[12][0] == lowest[0]


def test_parallel_workers_wait_for_no_bracket():
    search = Hyperband(SIZES, (1, 9), eta=3, model=False, seed=0)
    running = [search.propose() for _ in range(8)]  # 3 of the first bracket, 2 of the second, ...
    assert [fidelity for _, fidelity in running] == [1, 1, 1, 9, 9, 1, 1, 1]
    for arch, fidelity in running:
        search.report(arch, fidelity, total(arch))
    arch, fidelity = search.propose()
    assert fidelity == 9
    assert total(arch) == max(total(one) for one, _ in running[:3])


def test_failed_measurements_are_not_promoted():
    search = Hyperband(SIZES, (1, 9), eta=3, model=False, seed=0)
    for _ in range(3):
        search.report(*search.propose(), math.nan)
    assert [search.propose()[1] for _ in range(2)] == [9, 9]  # the next bracket
    with pytest.raises(InputError, match="fidelity"):
        search.report("8:8:8:8:8", 5, 1.0)


def test_the_model_prefers_what_was_good():
    search = Hyperband(SIZES, (1, 9), explore=0.0, seed=0)
    for arch in SIZES.sample(60, seed=1):
        search.tell(arch, total(arch))
    modelled = np.mean([total(search.draw()) for _ in range(50)])
    random_ones = np.mean([total(arch) for arch in SIZES.sample(200, seed=2)])
    assert modelled > random_ones + 40


def test_a_space_smaller_than_a_bracket_ends_none():
    class Tiny(type(SIZES)):
        def draw(self, rng):
            return rng.choice(["8:8:8:8:8", "16:8:8:8:8"])

    search = Hyperband(Tiny(), (1, 9), eta=4, model=False, seed=0)
    for _ in range(30):
        arch, fidelity = search.propose()
        search.report(arch, fidelity, total(arch))
    assert search.best() == "16:8:8:8:8"


# --- assisted -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [
        lambda seed: RandomSearch(SIZES, seed),
        lambda seed: RegularisedEvolution(SIZES, 10, 3, seed),
        lambda seed: Reinforce(SIZES, seed=seed),
        lambda seed: Hyperband(SIZES, (1, 9), seed=seed),
    ],
)
def test_assistance_by_a_noisy_score_helps_each(make):
    noise = random.Random(0)
    scores = {arch: total(arch) + noise.gauss(0, 60) for arch in SIZES}
    gained = []
    for seed in range(5):
        plain, helped = make(seed), make(seed)
        helped.draw = assist(helped.draw, scores, k=10)
        gained.append(max(run(helped, 25)) - max(run(plain, 25)))
    assert np.mean(gained) > 10
