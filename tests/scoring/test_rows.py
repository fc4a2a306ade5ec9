"""Candidates to rows: what a store keeps, shares and goes on with, on any engine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tiny_networks as nets
import torch
from forge import Forge

import archrank
from archrank import benchmark
from archrank.data import space
from archrank.scoring import work
from archrank.scoring.candidates import collect
from archrank.scoring.data import GivenData
from archrank.scoring.rows import Plan, Row, score_candidates
from archrank.scoring.store import Store

CELLS = [f"digits:{arch}" for arch in space("digits").sample(4, seed=0)]
MODELS = """
import torch

INPUT = (4,)


def first():
    return torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))


def second():
    return torch.nn.Sequential(torch.nn.Linear(4, 5), torch.nn.ReLU(), torch.nn.Linear(5, 2))
"""


def scored(store: Path | None = None, names: Any = CELLS, **arguments: Any) -> list[Row]:
    plan = Plan(("params", "snip"), GivenData(batch=4), store=store, **arguments)
    return score_candidates(collect(names), plan)


def test_a_store_gives_what_it_was_given(tmp_path: Path) -> None:
    path = tmp_path / "scores.sqlite"
    first, again, without = scored(path), scored(path), scored()
    for one, other, plain in zip(first, again, without, strict=True):
        assert one.scores == other.scores
        assert one.graph is not None
        assert one.graph.hash == other.graph.hash == plain.graph.hash
        assert one.scores["snip"] == pytest.approx(plain.scores["snip"], rel=1e-4)
        assert other.seconds == pytest.approx(sum_of_seconds(path, other))


def sum_of_seconds(path: Path, row: Row) -> float:
    """Return what the store says that scoring took: nothing was scored again."""
    with Store(path, writable=False) as store:
        place = (GivenData(batch=4).condition(row.candidate), *row.candidate.identity)
        return sum(score.seconds for score in store.of(*place, 0))


def test_an_interrupted_ranking_goes_on(tmp_path: Path) -> None:
    class Stop(Exception):
        pass

    def stop(done: int, total: int, name: str) -> None:
        if done == 2:
            raise Stop

    path, told = tmp_path / "scores.sqlite", []
    with pytest.raises(Stop):
        archrank.rank(CELLS, by="snip", batch_size=4, store=path, progress=stop)
    counted = []

    def count(*given: Any, **options: Any) -> archrank.Scores:
        counted.append(given)
        return archrank.score(*given, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(work, "score", count)
        ranking = archrank.rank(
            CELLS, by="snip", batch_size=4, store=path, progress=lambda *given: told.append(given)
        )
    assert len(counted) == 2
    assert [done for done, _, _ in told] == [1, 2, 3, 4]
    whole = archrank.rank(CELLS, by="snip", batch_size=4, store=tmp_path / "other.sqlite")
    assert ranking.table["name"].tolist() == whole.table["name"].tolist()
    assert ranking.table["snip"].tolist() == whole.table["snip"].tolist()


def test_rank_and_benchmark_share_scores(tmp_path: Path) -> None:
    path = tmp_path / "scores.sqlite"
    benchmark.run(path, "digits", proxies="snip", sample=3, batch_size=4)
    with Store(path, writable=False) as store:
        names = store.sample(1)
        condition = benchmark.Settings(**store.runs()[1]).condition
        measured = dict(store.scores(1, condition)[["arch", "value"]].values.tolist())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(work, "score", lambda *_, **__: pytest.fail("it was scored already"))
        ranking = archrank.rank(
            [f"digits:{name}" for name in names], by="snip", batch_size=4, store=path
        )
    assert dict(zip(ranking.table["name"], ranking.table["snip"], strict=True)) == {
        f"digits:{name}": value for name, value in measured.items()
    }


def test_a_changed_file_holds_other_networks(tmp_path: Path) -> None:
    path, models = tmp_path / "scores.sqlite", tmp_path / "models.py"
    models.write_text(MODELS)
    before = {row.name: row.scores["params"] for row in scored(path, str(models))}
    models.write_text(MODELS.replace("8", "16"))
    after = {row.name: row.scores["params"] for row in scored(path, str(models))}
    assert before["second"] == after["second"]
    assert before["first"] != after["first"]


@pytest.mark.slow
def test_a_changed_neighbour_of_a_file_makes_other_networks(tmp_path: Path) -> None:
    path, models = tmp_path / "scores.sqlite", tmp_path / "models.py"
    models.write_text(
        "import torch\nfrom width_of_ours import WIDTH\nINPUT = (4,)\n\n\n"
        "def net():\n    return torch.nn.Linear(4, WIDTH)\n"
    )
    found = []
    with Forge(tmp_path) as forge:
        for width in (2, 10):  # sources of other lengths: by that Python knows compiled ones
            (tmp_path / "width_of_ours.py").write_text(f"WIDTH = {width}\n")
            command = ["rank", models, "--by", "params", "--store", path, "--json"]
            code, done = forge.run(*command)
            assert code == 0, done.stderr
            found.append(json.loads(done.stdout)["table"][0]["params"])
    assert found == [4 * 2 + 2, 4 * 10 + 10]


def test_what_has_no_name_is_scored_and_not_kept(tmp_path: Path) -> None:
    path = tmp_path / "scores.sqlite"
    options = {"inputs": (3, 8, 8), "batch_size": 4, "store": path}
    torch.manual_seed(0)
    first = archrank.rank([nets.narrow()], by="snip", **options)
    second = archrank.rank([nets.narrow()], by="snip", **options)
    assert first.table["snip"][0] != second.table["snip"][0]  # other weights


@pytest.mark.parametrize("given", [(4,), torch.ones(2, 4), {"x": torch.ones(2, 4)}])
def test_other_data_is_another_condition(given: Any) -> None:
    (candidate,) = collect("digits:" + space("digits").sample(1, seed=0)[0])
    conditions = [
        GivenData(given).condition(candidate),
        GivenData(given, torch.zeros(2)).condition(candidate),
        GivenData(given, own_loss=torch.nn.functional.mse_loss).condition(candidate),
        GivenData().condition(candidate),
    ]
    assert all(one is not None for one in conditions)
    assert len({repr(one) for one in conditions}) == 4
    assert GivenData(given, own_loss=lambda y, t: y.sum()).condition(candidate) is None


@pytest.mark.slow
def test_processes_and_ray_give_the_same_rows(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    alone = [row.scores for row in scored(tmp_path / "alone")]
    assert [row.scores for row in scored(tmp_path / "jobs", jobs=2)] == alone
    assert [row.scores for row in scored(tmp_path / "ray", engine="ray")] == alone
