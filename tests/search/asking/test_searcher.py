"""Ask and tell: distinct, repeatable, outliving the process; what fails is said and kept."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
from sklearn.pipeline import make_pipeline
from sklearn.svm import SVR
from small_searches import CODES, MACRO, POOL, WIDTH, digit_sum, follow, small, total

from archrank.data import space
from archrank.data.spaces.contract import Space
from archrank.errors import InputError
from archrank.predictors import Ridge, samples
from archrank.search import GraphColumns, Searcher, Surrogate
from archrank.search.asking.models import normal_scores

# --- asking -------------------------------------------------------------------------------------


@pytest.mark.parametrize("acquisition", ["mean", "ucb", "thompson", "ei"])
def test_beats_random_search(acquisition):
    searcher = small(acquisition=acquisition)
    follow(searcher, 8)
    best = sorted(map(digit_sum, POOL), reverse=True)
    assert searcher.best().values["accuracy"] >= best[2]
    assert best[2] > np.mean([max(digit_sum(a) for a in random.Random(i).sample(POOL, 24))
                              for i in range(200)])  # fmt: skip


@pytest.mark.parametrize("strategy", ["evolution", "local", "random"])
def test_every_strategy_searches_a_large_space(strategy):
    found = []
    for seed in range(2):
        searcher = Searcher("nats_sss", CODES, strategy=strategy, seed=seed, candidates=200)
        follow(searcher, 8, 5, total)
        found.append(searcher.best().values["accuracy"])
    assert np.mean(found) > {"evolution": 300, "local": 290, "random": 260}[strategy]


def test_same_seed_same_search_and_another_seed_another():
    assert follow(small(seed=1), 6) == follow(small(seed=1), 6)
    assert follow(small(seed=1), 2) != follow(small(seed=2), 2)


def test_random_ones_do_not_depend_on_how_many_are_asked_at_once():
    one, other = small(), small()
    assert one.ask(5) == [other.ask(1)[0] for _ in range(5)]


def test_what_is_asked_is_distinct_and_never_asked_again():
    searcher = small()
    asked = []
    for _ in range(8):
        archs = searcher.ask(4)
        asked += archs
        searcher.tell(archs[:2], [digit_sum(arch) for arch in archs[:2]])  # the rest stays pending
    keys = [MACRO.canonical(arch) for arch in asked]
    assert len(set(keys)) == len(keys)
    assert len(searcher.pending) == 16


def test_strings_of_one_network_count_once():
    cells = space("nasbench201")
    groups: dict[str, list[str]] = {}
    for arch in cells:
        groups.setdefault(cells.canonical(arch), []).append(arch)
    twins = [group for group in groups.values() if len(group) > 2][:8]
    searcher = Searcher(cells, CODES, pool=[arch for group in twins for arch in group], start=2)
    asked = searcher.ask(8)
    assert {cells.canonical(arch) for arch in asked} == {group[0] for group in twins}
    with pytest.raises(InputError, match="all candidates of nasbench201 were asked for"):
        searcher.ask(1)


def test_hands_out_what_is_left_and_then_says_so():
    searcher = small(pool=POOL[:9])
    follow(searcher, 2)
    assert len(searcher.ask(10)) == len({MACRO.canonical(a) for a in POOL[:9]}) - 6
    with pytest.raises(InputError, match="all candidates"):
        searcher.ask(1)


def test_pending_trials_change_what_is_asked_next():
    def next_after(pending: bool) -> list[str]:
        searcher = small(acquisition="ei")
        follow(searcher, 4)
        if pending:
            searcher.ask(1)
            return searcher.ask(1)
        return searcher.ask(2)

    first, second = next_after(False)
    assert next_after(True) == [second]  # together or one after the other
    assert first != second


def test_refits_on_schedule():
    searcher = small(start=6, refit=4)
    follow(searcher, 2)
    follow(searcher, 1, 1)
    fits = []
    original = searcher._models.fit
    searcher._models.fit = lambda keys, *rest: (fits.append(len(keys)), original(keys, *rest))[1]
    for _ in range(6):
        follow(searcher, 1, 1)
    assert fits == [6, 6, 6, 10, 10, 10]


def test_predicts_in_the_order_of_what_was_told():
    searcher = small()
    follow(searcher, 10)
    truth = [digit_sum(arch) for arch in POOL]
    assert np.corrcoef(searcher.predict(POOL), truth)[0, 1] > 0.9
    with pytest.raises(InputError, match="no result was told"):
        small().predict(POOL)


# --- other predictors ---------------------------------------------------------------------------


def test_takes_predictors_of_ours_and_of_scikit_learn():
    known = {MACRO.canonical(a): s for a, s in zip(POOL, samples(POOL, space=MACRO), strict=True)}
    for predictor in (Ridge(("statistics",)), Surrogate()):
        follow(small(predictor=predictor, samples=known), 3)
    pipeline = make_pipeline(GraphColumns(("code",), space=MACRO), SVR())
    searcher = small(predictor=pipeline, acquisition="mean")
    follow(searcher, 6)
    assert searcher.best().values["accuracy"] >= sorted(map(digit_sum, POOL))[-6]
    searcher = small(predictor=pipeline)
    follow(searcher, 2)
    with pytest.raises(InputError, match="'ei' needs deviations"):
        searcher.ask(1)
    with pytest.raises(InputError, match="with fit and predict"):
        small(predictor=3)


def test_graphs_are_not_made_for_predictors_of_codes(monkeypatch):
    made = []
    graph = type(MACRO).graph
    monkeypatch.setattr(
        type(MACRO), "graph", lambda self, arch, task: (made.append(arch), graph(self, arch))[1]
    )
    follow(small(), 4)
    assert len(made) == 1  # stands for all


# --- telling ------------------------------------------------------------------------------------


def test_failed_trials_are_kept_apart_and_not_asked_again():
    searcher = small()
    archs = searcher.ask(4)
    searcher.tell(archs, [math.nan, None, RuntimeError("no memory"), 3.0])
    assert [trial.status for trial in searcher.trials] == ["failed"] * 3 + ["done"]
    assert searcher.trials[2].reason == "RuntimeError: no memory"
    assert searcher.best().arch == archs[3]
    follow(searcher, 6)
    assert not {t.arch for t in searcher.trials[4:]} & set(archs)


def test_keeps_away_from_what_fails():
    def fails_when_large(arch: str) -> float:
        if digit_sum(arch) > 9:
            raise MemoryError
        return digit_sum(arch)

    searcher = small(acquisition="mean")
    searcher.run(fails_when_large, 60)
    late = [trial.status for trial in searcher.trials[40:]]
    assert late.count("failed") < 0.5 * sum(digit_sum(a) > 9 for a in POOL) / len(POOL) * 20 + 2
    assert searcher.best().values["accuracy"] == 9


def test_an_objective_that_always_raises_is_said():
    def broken(arch: str) -> float:
        raise FileNotFoundError("no data set")

    searcher = small()
    with pytest.raises(InputError, match=r"all of the first 6 .* FileNotFoundError: no data set"):
        searcher.run(broken, 50)
    assert len(searcher.trials) == 6


def test_random_ones_follow_where_most_fail():
    searcher = small(start=3)
    archs = searcher.ask(5)
    searcher.tell(archs, [None] * 5)
    assert len(searcher.ask(5)) == 5


@pytest.mark.parametrize("acquisition", ["mean", "ucb", "thompson", "ei"])
def test_values_that_are_all_the_same(acquisition):
    searcher = small(acquisition=acquisition)
    assert len(set(follow(searcher, 5, value=lambda arch: 0.1))) == 15


@pytest.mark.parametrize(
    ("archs", "values", "message"),
    [
        (POOL[:2], [1.0], "got 1 for 2"),
        (POOL[:1], ["good"], "expected numbers"),
        (POOL[:1], [{"loss": 1.0}], "accuracy missing"),
        (["nonsense"], [1.0], "nonsense"),
    ],
)
def test_refuses_wrong_results(archs, values, message):
    searcher = small()
    with pytest.raises(InputError, match=message):
        searcher.tell(archs, values)
    assert searcher.trials == []


def test_loads_finished_results():
    import pandas as pd

    labels = {arch: digit_sum(arch) for arch in POOL[:30]}
    searcher = small()
    assert searcher.load(labels) == 30
    assert searcher.load(pd.Series(labels)) == 0
    assert searcher.load(pd.DataFrame({"accuracy": {POOL[40]: 3.0}})) == 1
    assert not set(searcher.ask(5)) & set(labels)  # and no random phase
    other = small(seed=3)
    asked = other.ask(2)
    searcher.tell(asked[:1], [RuntimeError("no memory")])
    assert other.load(searcher) == len({t.arch for t in searcher.trials if t.status != "pending"})
    assert other.trials[0].reason == "RuntimeError: no memory"  # it was pending here


def test_one_architecture_without_a_list():
    searcher = small()
    (arch,) = searcher.ask()
    searcher.tell(arch, 1.0)
    searcher.tell(POOL[3], 2.0)  # not asked for
    assert searcher.best().arch == POOL[3]


# --- constraints and several objectives ---------------------------------------------------------


def test_known_constraints_hold_for_everything_asked():
    searcher = small(
        constraints=["zeros>=4"], known={"zeros": lambda archs: [a.count("0") for a in archs]}
    )
    asked = follow(searcher, 5)
    assert all(arch.count("0") >= 4 for arch in asked)
    assert searcher.best().arch in asked


def test_a_constraint_that_nobody_meets_is_said():
    searcher = small(constraints="params<=10")
    with pytest.raises(InputError, match=r"none of .* meets all of them; nearest is .* params"):
        searcher.ask(1)
    large = Searcher("nats_sss", CODES, constraints="width<=39", candidates=200, known=WIDTH)
    with pytest.raises(InputError, match=r"nearest is .*, with width \d+ for width<=39"):
        large.ask(1)


def test_finds_its_way_to_a_constraint_that_hardly_any_draw_meets():
    searcher = Searcher("nats_sss", CODES, constraints="width<=48", candidates=500, known=WIDTH)
    assert [arch for arch in searcher.ask(2) if total(arch) > 48] == []


def test_measured_constraints_are_learnt():
    searcher = small(constraints="cost<=8")
    asked = follow(searcher, 10, value=lambda a: {"accuracy": digit_sum(a), "cost": digit_sum(a)})
    late = [digit_sum(arch) for arch in asked[15:]]
    assert np.mean([value <= 8 for value in late]) > 0.6
    assert searcher.best().values["accuracy"] == 8


def test_best_says_how_near_results_come():
    searcher = small(constraints="cost<=-1")
    follow(searcher, 2, value=lambda a: {"accuracy": 1.0, "cost": digit_sum(a)})
    nearest = min((t for t in searcher.trials), key=lambda t: t.values["cost"]).arch
    with pytest.raises(
        InputError, match=f"none of 6 results meets cost<=-1; nearest is '{nearest}'"
    ):
        searcher.best()
    with pytest.raises(InputError, match="nothing was told"):
        small().best()


def test_minimises_what_has_a_minus():
    searcher = small(objectives="-loss")
    follow(searcher, 8)
    assert searcher.best().values["loss"] <= sorted(map(digit_sum, POOL))[2]


@pytest.mark.parametrize("acquisition", [None, "mean", "thompson"])
def test_several_objectives(acquisition):
    searcher = Searcher(
        "nats_sss",
        CODES,
        objectives=["accuracy", "-cost"],
        start=10,
        refit=10,
        acquisition=acquisition,
    )

    def measure(arch: str) -> dict[str, float]:
        first, *_, last = map(int, arch.split(":"))
        return {"accuracy": total(arch), "cost": float(first**2 + last)}

    searcher.run(measure, 40, batch=10)
    front = searcher.front()
    pairs = [(t.values["accuracy"], -t.values["cost"]) for t in searcher.trials]
    for trial in front:
        one = (trial.values["accuracy"], -trial.values["cost"])
        assert not any(a >= one[0] and b >= one[1] and (a, b) != one for a, b in pairs)
    assert max(accuracy for accuracy, cost in pairs if cost > -400) > 200
    with pytest.raises(InputError, match="front"):
        searcher.best()


def test_an_objective_that_costs_nothing_is_not_told():
    searcher = small(
        objectives=["accuracy", "-ones"], known={"ones": lambda a: [x.count("1") for x in a]}
    )
    assert searcher.measured == ("accuracy",)
    follow(searcher, 4)
    assert searcher.front()


class Picky(type(MACRO)):
    """A space of which some architectures cannot be built."""

    def graph(self, arch, task=None):
        if arch.startswith("2"):
            raise RuntimeError("too large for this machine")
        return super().graph(arch, task)


def test_what_cannot_be_built_is_never_asked_for():
    searcher = Searcher(Picky(), pool=POOL, start=4)
    asked = follow(searcher, 4)
    assert not [arch for arch in asked if arch.startswith("2")]
    assert set(searcher.refused.values()) == {"RuntimeError: too large for this machine"}
    searcher.tell("2" * 8, 99.0)  # somebody could build it
    assert searcher.ask(2)
    only = Searcher(Picky(), pool=[arch for arch in POOL if arch.startswith("2")])
    with pytest.raises(InputError, match=r"can be built, .* too large for this machine"):
        only.ask(1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"objectives": []}, "objectives: got"),
        ({"objectives": ["a", "-a"]}, "each once"),
        ({"objectives": ["a b"]}, "expected a name"),
        ({"objectives": ["-params"]}, "need no measuring"),
        ({"constraints": ["params<1"]}, "constraints: got"),
        ({"constraints": ["params<=many"]}, "constraints: got"),
        ({"acquisition": "luck"}, "acquisition: got"),
        ({"objectives": ["a", "b"], "acquisition": "ei"}, "for one objective"),
        ({"strategy": "climb", "pool": None}, "strategy: got"),
        ({"strategy": "local"}, "with a pool"),
        ({"start": 1}, "start: got"),
        ({"refit": 0}, "refit: got"),
        ({"pool": []}, "pool: got no"),
        ({"pool": ["nonsense"]}, "nonsense"),
        ({"task": "mnist"}, "task: got"),
    ],
)
def test_refuses_wrong_settings(options, message):
    with pytest.raises(InputError, match=message):
        small(**options)
    with pytest.raises(InputError, match="larger; pass a pool"):
        Searcher("nats_sss", strategy="all")


# --- what it is ----------------------------------------------------------------------------------


def test_normal_scores_rank_ties_alike():
    scores = normal_scores(np.array([-np.inf, -np.inf, 1.0, 5.0]))
    assert scores[0] == scores[1] < scores[2] < scores[3]
    assert scores.mean() == pytest.approx(0, abs=0.1)


def test_spaces_of_ones_own():
    class Bits(Space):
        name, title, reference = "bits", "Bits", "here"
        tasks = MACRO.tasks
        size = None

        def normalise(self, arch):
            if set(arch) - {"0", "1"} or len(arch) != 12:
                raise InputError(f"arch: {arch!r}")
            return arch

        def draw(self, rng):
            return "".join(rng.choice("01") for _ in range(12))

        def neighbours(self, arch):
            return [arch[:i] + "10"[int(arch[i])] + arch[i + 1 :] for i in range(12)]

        def encode(self, arch):
            return np.array([float(c) for c in arch], dtype=np.float32)

        def network(self, arch, task, name):
            raise NotImplementedError

        def graph(self, arch, task=None):
            return MACRO.graph(POOL[0])

    searcher = Searcher(Bits(), CODES, candidates=100)
    searcher.run(lambda arch: arch.count("1"), 40, batch=5)
    assert searcher.best().values["accuracy"] == 12


def test_it_shows_what_it_is() -> None:
    searcher = Searcher("nats_sss", objectives=["accuracy", "-params"], seed=0)
    (arch, _) = searcher.ask(2)
    searcher.tell(arch, {"accuracy": 0.5})
    assert repr(searcher) == "<Searcher of accuracy, -params in nats_sss: 1 told, 1 pending>"
