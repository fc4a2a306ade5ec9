"""Optuna studies whose trials a predictor proposes, and other samplers assisted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from archrank.data import space
from archrank.errors import InputError
from archrank.search import Choices, Surrogate

pytest.importorskip("optuna")
import optuna

from archrank.search import AssistedSampler, PredictorSampler, suggest
from archrank.search.adapters.optuna_sampler import arch_of, params_of

optuna.logging.set_verbosity(optuna.logging.WARNING)

SIZES = space("nats_sss")
CODES = Surrogate(("code",))


def total(arch: str) -> float:
    return float(sum(map(int, arch.split(":"))))


def objective(trial) -> float:
    return total(suggest(trial, SIZES))


def sampler(**options) -> PredictorSampler:
    return PredictorSampler("nats_sss", CODES, **{"start": 5, "candidates": 200, **options})


def archs(study) -> list[str]:
    return [arch_of(Choices(SIZES), trial.params) for trial in study.trials]


@pytest.mark.slow
def test_beats_random_sampling():
    found = {}
    for name, make in (
        ("ours", lambda seed: sampler(seed=seed)),
        ("random", lambda seed: optuna.samplers.RandomSampler(seed)),
    ):
        best = []
        for seed in range(5):
            study = optuna.create_study(direction="maximize", sampler=make(seed))
            study.optimize(objective, n_trials=20)
            best.append(study.best_value)
        found[name] = np.mean(best)
    assert found["ours"] > found["random"] + 30


def test_minimises_too():
    study = optuna.create_study(sampler=sampler())
    study.optimize(objective, n_trials=20)
    assert study.best_value <= 88


def test_a_study_that_is_loaded_goes_on_as_it_would_have(tmp_path: Path):
    whole = optuna.create_study(direction="maximize", sampler=sampler(seed=3))
    whole.optimize(objective, n_trials=12)
    storage = f"sqlite:///{tmp_path}/study.db"
    optuna.create_study(study_name="s", storage=storage, direction="maximize")
    for count in (6, 4, 2):
        study = optuna.load_study(study_name="s", storage=storage, sampler=sampler(seed=3))
        study.optimize(objective, n_trials=count)
    assert archs(study) == archs(whole)


def test_running_failed_and_pruned_trials():
    study = optuna.create_study(direction="maximize", sampler=sampler())
    running = [study.ask() for _ in range(8)]
    asked = [suggest(trial, SIZES) for trial in running]
    assert len(set(asked)) == 8  # each knows what runs
    study.tell(running[0], state=optuna.trial.TrialState.FAIL)
    study.tell(running[1], state=optuna.trial.TrialState.PRUNED)
    for trial, arch in zip(running[2:], asked[2:], strict=True):
        study.tell(trial, total(arch))
    study.optimize(objective, n_trials=6)
    assert len(set(archs(study))) == 14
    searcher = study.sampler._searcher
    assert [trial.status for trial in searcher.trials[:3]] == ["failed", "failed", "done"]
    assert "pruned" in searcher.trials[1].reason


def test_knows_what_others_added():
    study = optuna.create_study(direction="maximize", sampler=sampler())
    known = SIZES.sample(10, seed=0)
    for arch in known:
        study.add_trial(
            optuna.trial.create_trial(
                params=params_of(Choices(SIZES), arch),
                distributions=study.sampler.infer_relative_search_space(study, None),
                value=total(arch),
            )
        )
    study.enqueue_trial(params_of(Choices(SIZES), "8:8:8:8:8"))
    study.optimize(objective, n_trials=10)
    assert archs(study)[10] == "8:8:8:8:8"
    assert not set(archs(study)[11:]) & {*known, "8:8:8:8:8"}
    assert study.best_value > 270


def test_other_parameters_are_sampled_independently():
    def with_rate(trial) -> float:
        return total(suggest(trial, SIZES)) + trial.suggest_float("rate", 0, 1)

    study = optuna.create_study(direction="maximize", sampler=sampler())
    study.optimize(with_rate, n_trials=8)
    assert len({trial.params["rate"] for trial in study.trials}) == 8


def test_several_objectives():
    def both(trial):
        arch = suggest(trial, SIZES)
        return total(arch), float(arch.split(":")[0])

    study = optuna.create_study(
        directions=["maximize", "minimize"], sampler=sampler(strategy="random", acquisition="mean")
    )
    study.optimize(both, n_trials=25)
    assert max(t.values[0] for t in study.best_trials) > 230
    assert min(t.values[1] for t in study.best_trials) <= 16


def test_choices_without_effect():
    digits = space("digits")
    study = optuna.create_study(
        direction="maximize", sampler=PredictorSampler("digits", CODES, start=3, candidates=60)
    )
    study.optimize(lambda trial: float(len(suggest(trial, digits))), n_trials=6)
    assert len({arch_of(Choices(digits), trial.params) for trial in study.trials}) == 6


def test_refuses_wrong_arguments():
    with pytest.raises(InputError, match="acquisition"):
        sampler(acquisition="hope")
    with pytest.raises(InputError, match="not made of choices"):
        PredictorSampler("nasbench101")
    with pytest.raises(InputError, match="state: Optuna's study has it"):
        sampler(state="state")
    with pytest.raises(InputError, match=r"let suggest\(trial, space\) name"):
        arch_of(Choices(SIZES), {"channels0": 7})


# --- assisted -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [
        lambda: optuna.samplers.RandomSampler(seed=0),
        lambda: optuna.samplers.TPESampler(seed=0, n_startup_trials=5),
        lambda: optuna.samplers.TPESampler(seed=0, n_startup_trials=5, multivariate=True),
        lambda: optuna.samplers.NSGAIISampler(seed=0, population_size=8),
    ],
    ids=["random", "TPE", "multivariate TPE", "NSGA-II"],
)
def test_assists_any_sampler(make):
    def noisy(some):
        return [total(arch) + 40 * ((hash_of(arch) % 100) / 50 - 1) for arch in some]

    values = {}
    for name, one in (("plain", make()), ("assisted", AssistedSampler(make(), SIZES, noisy, 8))):
        study = optuna.create_study(direction="maximize", sampler=one)
        study.optimize(objective, n_trials=20)
        values[name] = np.mean([trial.value for trial in study.trials])
    assert values["assisted"] > values["plain"] + 20


def hash_of(arch: str) -> int:
    return sum((i + 3) * int(part) * 7919 for i, part in enumerate(arch.split(":")))


def test_assisting_with_one_draw_changes_nothing():
    plain = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    helped = optuna.create_study(
        sampler=AssistedSampler(optuna.samplers.RandomSampler(seed=1), SIZES, CODES, k=1)
    )
    for study in (plain, helped):
        study.optimize(objective, n_trials=5)
    assert archs(plain) == archs(helped)
