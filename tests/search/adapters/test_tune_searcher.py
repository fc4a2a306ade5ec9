"""Trials of Ray Tune that a predictor chooses, saved and restored."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from archrank.data import space
from archrank.errors import InputError
from archrank.search import Surrogate

pytest.importorskip("ray")
from archrank.search import TuneSearcher

SIZES = space("nats_sss")
CODES = Surrogate(("code",))


def total(arch: str) -> float:
    return float(sum(map(int, arch.split(":"))))


def searcher(**options) -> TuneSearcher:
    settings = {"metric": "accuracy", "mode": "max", "start": 4, "candidates": 150}
    return TuneSearcher("nats_sss", CODES, **{**settings, **options})


def follow(one: TuneSearcher, count: int, start: int = 0) -> list[str]:
    archs = []
    for number in range(start, start + count):
        archs.append(one.suggest(f"trial{number}")["arch"])
        one.on_trial_complete(f"trial{number}", {"accuracy": total(archs[-1])})
    return archs


def test_suggests_better_and_better():
    archs = follow(searcher(), 20)
    assert len(set(archs)) == 20
    assert max(map(total, archs)) > 280
    cheap = follow(searcher(mode="min"), 20)
    assert min(map(total, cheap)) < 90


def test_failed_trials_and_those_without_the_metric():
    one = searcher()
    for number, (result, error) in enumerate(
        [(None, True), ({"loss": 1}, False), ({"accuracy": math.nan}, False), (None, False)]
    ):
        one.suggest(f"t{number}")
        one.on_trial_complete(f"t{number}", result, error)
    one.on_trial_complete("unknown", {"accuracy": 1.0})
    assert [trial.status for trial in one.search.trials] == ["failed"] * 4
    assert one.suggest("next")["arch"] in SIZES


def test_saves_and_restores_what_runs_too(tmp_path: Path):
    whole = follow(searcher(), 14)
    first = searcher()
    follow(first, 7)
    running = first.suggest("trial7")["arch"]
    path = str(tmp_path / "state.pkl")  # as Ray calls it; it is text
    first.save(path)
    assert b"accuracy" in Path(path).read_bytes()
    second = searcher(metric=None, mode=None)
    second.restore(path)
    second.on_trial_complete("trial7", {"accuracy": total(running)})
    assert [running, *follow(second, 6, 8)] == whole[7:]
    Path(path).write_text("{}")
    with pytest.raises(InputError, match="format"):
        searcher().restore(path)
    Path(path).write_text("cut off {")
    with pytest.raises(InputError, match="holds no search"):
        searcher().restore(path)


def test_learns_of_results_from_elsewhere():
    one = searcher()
    for arch in SIZES.sample(8, seed=0):
        one.add_evaluated_point({"arch": arch}, total(arch))
    assert total(follow(one, 1)[0]) > 220


def test_says_when_nothing_is_left():
    one = searcher(pool=SIZES.sample(3, seed=0), candidates=10)
    follow(one, 3)
    assert one.suggest("more") == TuneSearcher.FINISHED


def test_takes_constants_of_the_config_and_refuses_to_search_them():
    from ray import tune

    one = TuneSearcher("nats_sss", CODES)
    assert one.set_search_properties("accuracy", "max", {"epochs": 3})
    config = one.suggest("t")
    assert config["epochs"] == 3
    assert not one.set_search_properties("loss", "min", {})
    with pytest.raises(InputError, match=r"\['rate'\] cannot be searched"):
        one.set_search_properties("accuracy", "max", {"rate": tune.uniform(0, 1)})
    with pytest.raises(InputError, match="both metric and mode"):
        TuneSearcher("nats_sss", metric="accuracy")
    with pytest.raises(InputError, match="state: Ray's experiment has it"):
        searcher(state="state")
    with pytest.raises(InputError, match="one metric"):
        searcher(constraints="latency<=3")


@pytest.mark.slow
def test_tuner_runs_and_is_restored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    import ray
    from ray import tune

    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_AIR_NEW_OUTPUT", "0")

    def train(config):
        if config["arch"].startswith("8:") and not config["calm"]:
            raise RuntimeError("as if memory ran out")
        tune.report({"accuracy": float(sum(map(int, config["arch"].split(":"))))})

    ray.init(
        "local", num_cpus=2, include_dashboard=False, object_store_memory=80 * 2**20,
        log_to_driver=False, logging_level="error",
    )  # fmt: skip
    try:
        limited = tune.search.ConcurrencyLimiter(searcher(metric=None, mode=None), 2)
        tuner = tune.Tuner(
            train,
            param_space={"calm": False},
            tune_config=tune.TuneConfig(
                metric="accuracy", mode="max", search_alg=limited, num_samples=5
            ),
            run_config=tune.RunConfig(name="search", storage_path=str(tmp_path), verbose=0),
        )
        results = tuner.fit()
        assert len(results) == 5
        assert results.get_best_result().metrics["accuracy"] > 200
        again = tune.Tuner.restore(str(tmp_path / "search"), trainable=train).fit()
        assert len(again) == 5  # nothing is done twice
        saved = list((tmp_path / "search").glob("searcher-state-*"))
        assert saved, list((tmp_path / "search").iterdir())
        assert all(len(json.loads(path.read_text())["events"]) == 10 for path in saved)
    finally:
        ray.shutdown()
