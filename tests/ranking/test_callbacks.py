"""Each result reaches a callback as it comes, with the figures that the run itself gives."""

from __future__ import annotations

import math
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest
import torch

import archrank
from archrank import benchmark
from archrank.basics import Callback, Finished
from archrank.data import space
from archrank.scoring.store import Store
from archrank.search import Searcher, Surrogate


def networks() -> dict[str, torch.nn.Module]:
    found: dict[str, torch.nn.Module] = {
        f"width {width}": torch.nn.Sequential(
            torch.nn.Flatten(), torch.nn.Linear(48, width), torch.nn.Linear(width, 10)
        )
        for width in (8, 16)
    }
    return {**found, "broken": torch.nn.Linear(7, 3)}


def test_rank_gives_each_candidate(tmp_path: Path) -> None:
    heard: list[Finished] = []
    ranking = archrank.rank(networks(), (3, 4, 4), by=["params", "snip"], callback=heard.append)
    assert [one.number for one in heard] == [1, 2, 3]
    assert [one.name for one in heard] == list(networks())
    table = ranking.table.set_index("name")
    for one in heard[:2]:
        assert one.failures == {}
        for proxy in ("params", "snip"):
            assert one.values[proxy] == pytest.approx(table.loc[one.name, proxy])
    assert heard[2].values == {}
    assert "all" in heard[2].failures


def test_rank_gives_costs_and_what_is_beyond_a_limit() -> None:
    heard: list[Finished] = []
    nets = {name: net for name, net in networks().items() if name != "broken"}
    archrank.rank(nets, (3, 4, 4), by="snip", limits={"params": 800}, callback=heard.append)
    assert heard[0].values.keys() == {"snip", "params"}
    assert heard[1].values.keys() == {"params"}
    assert "800" in heard[1].failures["params"]


def test_seeds_are_averaged_and_what_is_stored_is_told_again(tmp_path: Path) -> None:
    names = [f"digits:{arch}" for arch in space("digits").sample(3, seed=0)]
    told: list[list[Finished]] = []
    for _ in range(2):
        heard: list[Finished] = []
        archrank.rank(names, by="snip", seeds=2, store=tmp_path / "s.sqlite", callback=heard.append)
        told.append(heard)
    assert told[0] == told[1]
    single: list[Finished] = []
    for seed in (0, 1):
        archrank.rank(names, by="snip", seed=seed, callback=single.append)
    for one in told[0]:
        values = [other.values["snip"] for other in single if other.name == one.name]
        assert len(values) == 2
        assert one.values["snip"] == pytest.approx(sum(values) / 2)


def test_benchmark_gives_each_architecture_and_seed_once_stored(tmp_path: Path) -> None:
    path = tmp_path / "run.sqlite"
    heard: list[Finished] = []

    def stored(one: Finished) -> None:
        heard.append(one)
        with Store(path, writable=False) as store:
            settings = benchmark.Settings(**store.runs()[1])
            scores = store.of(settings.condition, "digits", one.name, one.seed)
        assert {score.name: score.value for score in scores} == one.values

    run = {"space": "digits", "proxies": "params,snip", "sample": 2, "seeds": 2, "batch_size": 4}
    benchmark.run(path, **run, callback=stored)
    assert [one.number for one in heard] == [1, 2, 3, 4]
    assert {(one.name, one.seed) for one in heard} == {(o.name, s) for o in heard for s in (0, 1)}
    benchmark.run(path, **run, callback=stored)
    assert len(heard) == 4  # what was there already is no news


def test_a_callback_that_raises_ends_the_run_and_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "run.sqlite"
    run = {"space": "digits", "proxies": "params", "sample": 3}

    def stop(one: Finished) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        benchmark.run(path, **run, callback=stop)
    assert benchmark.run(path, **run).scored == 2


def test_searcher_gives_each_trial_that_is_told(tmp_path: Path) -> None:
    heard: list[Finished] = []
    options = {"predictor": Surrogate(("code",)), "start": 3, "candidates": 20, "seed": 0}
    state = tmp_path / "state.jsonl"

    def objective(arch: str) -> float:
        return math.nan if len(heard) == 1 else float(len(heard))

    with Searcher("digits", **options, state=state, callback=heard.append) as searcher:
        searcher.run(objective, 5)
        trials = searcher.trials
    assert [one.number for one in heard] == [1, 2, 3, 4, 5]
    assert [one.name for one in heard] == [trial.arch for trial in trials]
    assert [one.values for one in heard] == [dict(trial.values) for trial in trials]
    assert heard[1].failures == {"all": "accuracy is not finite"}
    with Searcher("digits", **options, state=state, callback=heard.append) as searcher:
        assert len(heard) == 5  # a state that is read tells nothing anew
        searcher.tell(searcher.ask(2), [1.0, 2.0])
    assert [one.number for one in heard[5:]] == [6, 7]


# --- the trackers of examples/tracking.py ---------------------------------------------------------


@pytest.fixture
def tracking() -> ModuleType:
    path = Path(__file__).resolve().parents[2] / "examples" / "tracking.py"
    spec = spec_from_file_location("tracking", path)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def ranked_by(callback: Callback) -> dict[str, dict[str, float]]:
    """Rank three networks under a tracker, and return what it should know of them."""
    heard: list[Finished] = []

    def both(one: Finished) -> None:
        heard.append(one)
        callback(one)

    archrank.rank(networks(), (3, 4, 4), by=["params", "snip"], callback=both)
    return {one.name: dict(one.values) for one in heard}


def test_tensorboard_holds_each_value(tracking: ModuleType, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="TensorBoard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with tracking.tensorboard(str(tmp_path)) as callback:
        expected = ranked_by(callback)
    events = EventAccumulator(str(tmp_path)).Reload()
    for proxy in ("params", "snip"):
        found = {event.step: event.value for event in events.Scalars(proxy)}
        known = [values[proxy] for values in expected.values() if values]
        assert found == {step: pytest.approx(value) for step, value in enumerate(known, 1)}
    assert "failed/all/text_summary" in events.Tags()["tensors"]


def test_wandb_writes_a_run_without_a_connection(tracking: ModuleType, tmp_path: Path) -> None:
    wandb = pytest.importorskip("wandb", reason="Weights & Biases is not installed")
    with tracking.wandb(str(tmp_path)) as callback:
        ranked_by(callback)
    wandb.teardown()  # the process that writes the file ends
    (file,) = tmp_path.glob("wandb/offline-run-*/run-*.wandb")
    assert b"width 16" in file.read_bytes()


def test_mlflow_holds_each_value(
    tracking: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlflow = pytest.importorskip("mlflow", reason="MLflow is not installed")
    monkeypatch.chdir(tmp_path)
    with tracking.mlflow(str(tmp_path / "tracked")) as callback:
        expected = ranked_by(callback)
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path / 'tracked.db'}")
    (run,) = client.search_runs(["0"])
    history = client.get_metric_history(run.info.run_id, "snip")
    known = [values["snip"] for values in expected.values() if values]
    assert {one.step: one.value for one in history} == dict(enumerate(known, 1))
