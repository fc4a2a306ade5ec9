"""Ranking within limits: who is left out and why, where costs come from, the front."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from torch import nn
from typer.testing import CliRunner

import archrank
from archrank.cli.app import app
from archrank.cli.shared.amounts import amounts
from archrank.costs import CostPredictor
from archrank.costs.memory import inference_memory
from archrank.data import space
from archrank.errors import InputError
from archrank.formats import number
from archrank.predictors import with_context
from archrank.ranking.table import Ranking


def net(width: int, depth: int = 1) -> nn.Module:
    layers: list[nn.Module] = [nn.Flatten(), nn.Linear(48, width)]
    for _ in range(depth):
        layers += [nn.ReLU(), nn.Linear(width, width)]
    return nn.Sequential(*layers, nn.ReLU(), nn.Linear(width, 10))


NETS = {f"w{width}": net(width) for width in (4, 8, 16, 32)}
INPUT = (3, 4, 4)
CELLS = space("digits").sample(30, seed=0)


def ranked(**options: object) -> Ranking:
    return archrank.rank(NETS, INPUT, **{"by": "params", **options})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One that says the latency of these networks and of architectures of ``digits``: FLOPs."""
    folder = tmp_path_factory.mktemp("latency") / "model"
    graphs = [
        archrank.trace(net(width, depth), INPUT) for width in range(2, 40) for depth in (1, 2)
    ]
    costs = [graph.flops / 1e3 for graph in graphs]
    CostPredictor(("sizes", "classes")).fit(graphs, costs).save(folder)
    return folder


@pytest.mark.parametrize("cost", ["params", "flops", "activations", "memory"])
def test_those_beyond_a_limit_are_left_out(cost: str) -> None:
    graphs = {name: archrank.trace(module, INPUT) for name, module in NETS.items()}
    values = {
        name: inference_memory(graph).peak / 1e6 if cost == "memory" else getattr(graph, cost)
        for name, graph in graphs.items()
    }
    limit = values["w16"]  # itself within
    found = ranked(limits={cost: limit})
    assert set(found.table["name"]) == {"w4", "w8", "w16"}
    (one,) = found.excluded.itertuples(index=False)
    assert (one.name, one.cost, one.limit) == ("w32", cost, limit)
    assert one.value == pytest.approx(values["w32"])
    assert f"is more than {limit:.6g}" in one.reason
    assert found.table["rank"].tolist() == [1, 2, 3]
    assert found.failures.empty


def test_those_left_out_are_not_scored() -> None:
    """A forward that raises is not run."""

    class Loud(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(4, 999)

        def forward(self, x: object) -> object:
            assert x.is_meta, "it was run"  # type: ignore[attr-defined]
            return self.linear(x)

    found = archrank.rank(
        {"loud": Loud(), "quiet": nn.Linear(4, 2)}, (4,), by="naswot,params", limits={"params": 100}
    )
    assert found.table["name"].tolist() == ["quiet"]
    assert found.excluded["name"].tolist() == ["loud"]
    assert found.failures["proxy"].tolist() == ["naswot"]


def test_every_limit_that_is_broken_is_told() -> None:
    found = ranked(limits={"params": 700, "flops": 600})
    by_name = found.excluded.groupby("name")["cost"].apply(list).to_dict()
    assert by_name["w32"] == ["params", "flops"]


def test_nobody_left_names_the_nearest() -> None:
    smallest = archrank.trace(NETS["w4"], INPUT).params
    said = rf"none of 4 candidates .* nearest is 'w4' \(params {smallest} is more than 10, "
    with pytest.raises(InputError, match=said):
        ranked(limits={"params": 10})
    with pytest.raises(InputError, match=f"{number(smallest / 10, 3)} times the limit"):
        ranked(limits={"params": 10})


def test_equal_networks_are_left_out_together() -> None:
    twins = {"a": net(32), "b": net(32), "small": net(4)}
    found = archrank.rank(twins, INPUT, by="params", limits={"params": 1000})
    assert sorted(found.excluded["name"]) == ["a", "b"]


@pytest.mark.slow
def test_several_processes_leave_out_the_same() -> None:
    names = [f"digits:{arch}" for arch in CELLS[:6]]
    graphs = {name: space("digits").graph(name.partition(":")[2]) for name in names}
    limit = float(np.median([graph.params for graph in graphs.values()]))
    one = archrank.rank(names, by="params", limits={"params": limit}, costs=["memory"])
    two = archrank.rank(names, by="params", limits={"params": limit}, costs=["memory"], jobs=2)
    assert one.excluded.equals(two.excluded)
    assert one.table.drop(columns="seconds").equals(two.table.drop(columns="seconds"))
    assert set(one.excluded["name"]) == {n for n, g in graphs.items() if g.params > limit}


def test_latency_by_a_predictor(predictor: Path) -> None:
    flops = {name: archrank.trace(module, INPUT).flops / 1e3 for name, module in NETS.items()}
    limit = (flops["w8"] * flops["w16"]) ** 0.5
    found = ranked(limits={"latency": limit}, latency=predictor)
    assert sorted(found.table["name"]) == ["w4", "w8"]
    assert found.latency == f"predicted by {predictor}"
    values = found.table.set_index("name")["latency_ms"]
    assert values["w8"] == pytest.approx(flops["w8"], rel=0.05)


def test_latency_measured_here() -> None:
    class Slow(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.Sequential(*[nn.Linear(400, 400) for _ in range(40)])

        def forward(self, x: object) -> object:
            return self.layers(x)

    quick = nn.Linear(400, 2)
    quick.train()
    found = archrank.rank(
        {"slow": Slow(), "quick": quick}, (400,), by="params", costs=["latency"], device="cpu"
    )
    values = found.table.set_index("name")["latency_ms"]
    assert values["slow"] > values["quick"] > 0
    assert found.latency.startswith("measured on ")
    assert quick.training
    limit = float(values["slow"] * values["quick"]) ** 0.5
    within = archrank.rank(
        {"slow": Slow(), "quick": quick},
        *((400,), "params"),
        limits={"latency": limit},
        device="cpu",
    )
    assert within.table["name"].tolist() == ["quick"]


def test_latency_that_nobody_knows(tmp_path: Path) -> None:
    """A predictor of several devices does not know which one is meant."""
    read = [archrank.trace(net(width), INPUT) for width in range(2, 14)]
    from archrank.predictors import samples

    both = [s for d in (0, 1) for s in with_context(samples(read), np.full((12, 1), d))]
    several = CostPredictor(("sizes",)).fit(both, [*range(1, 13), *range(2, 14)])
    several.save(tmp_path / "several")
    with pytest.raises(InputError, match=r"latency_ms is not known \(context: got \(\)"):
        ranked(limits={"latency": 5.0}, latency=tmp_path / "several")
    several.on(1).save(tmp_path / "one")
    assert len(ranked(limits={"latency": 50.0}, latency=tmp_path / "one").table) == 4


def test_predicted_costs_rank_upwards(predictor: Path) -> None:
    assert ranked(by=str(predictor)).table["name"].tolist() == ["w4", "w8", "w16", "w32"]


def test_the_front() -> None:
    nets = {"small": net(4), "deep": net(8, 3), "wide": net(32)}
    found = archrank.rank(nets, INPUT, by="params", costs=["memory"])
    assert found.front("memory")["name"].tolist() == ["small", "deep", "wide"]
    cheap = archrank.rank(nets, INPUT, by="activations|params", costs=["memory"])
    front = cheap.front("memory")
    scores, costs = front["score"].to_numpy(), front["memory_mb"].to_numpy()
    assert (np.diff(scores) > 0).all()
    assert (np.diff(costs) > 0).all()
    for row in cheap.table.itertuples():
        beaten = (front["score"] >= row.score) & (front["memory_mb"] <= row.memory_mb)
        assert beaten.any()


def test_pictures_of_the_front(tmp_path: Path) -> None:
    found = ranked(costs=["memory"])
    figure = found.plot_front("memory", tmp_path / "front.png")
    assert (tmp_path / "front.png").stat().st_size > 5000
    (axes,) = figure.axes
    assert {text.get_text() for text in axes.texts} == set(NETS)
    assert "memory" in axes.get_xlabel()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"limits": {"weight": 3}}, "limits: got 'weight', expected one of params, flops"),
        ({"limits": {"params": 0}}, "limits: got 0 for params"),
        ({"limits": {"params": "5M"}}, "limits: got '5M' for params"),
        ({"limits": {"params": float("nan")}}, "limits: got nan"),
        ({"costs": ["weight"]}, "costs: got 'weight'"),
        ({"latency": "nowhere"}, "latency: 'nowhere' is not a folder of a saved predictor"),
        ({"limits": {"latency": 1.0}, "jobs": 2}, "jobs: latency is measured, which needs jobs=1"),
    ],
)
def test_wrong_arguments(options: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=said):
        ranked(**options)
    with pytest.raises(InputError, match="cost: latency was not asked for"):
        ranked().front("latency")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "archrank.cli.app", "rank", *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "COLUMNS": "200"},
    )


@pytest.mark.slow
def test_the_command(tmp_path: Path) -> None:
    names = [f"digits:{arch}" for arch in CELLS[:5]]
    params = [space("digits").graph(arch).params for arch in CELLS[:5]]
    limit = sorted(params)[2]
    picture = tmp_path / "front.svg"
    done = run(
        *(*names, "--by", "flops", "--max-params", str(limit), "--max-memory", "500"),
        *("--front", "memory", "--plot", str(picture), "--json"),
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert {row["name"] for row in found["table"]} | {e["name"] for e in found["excluded"]} == {
        *names
    }
    assert len(found["table"]) == 3
    assert set(found["front"]) <= {row["name"] for row in found["table"]}
    assert all(row["memory_mb"] > 0 for row in found["table"])
    assert picture.stat().st_size > 1000


@pytest.mark.slow
def test_the_command_when_nobody_is_left() -> None:
    words = (f"digits:{CELLS[0]}", "--by", "params", "--max-flops", "0.001k")
    done = CliRunner().invoke(app, ["rank", *words], env={"COLUMNS": "200"})
    assert done.exit_code == 2
    assert "none of 1 candidates is within them; the nearest is" in done.stderr
    assert "Traceback" not in done.stderr


def test_amounts() -> None:
    assert amounts(params="5M", flops="0.3G", memory=None, latency="1e2") == {
        "params": 5e6,
        "flops": 0.3e9,
        "latency": 100.0,
    }
    for wrong in ("soon", "", "M", "-5", "0k", "inf", "nan", "5m"):
        with pytest.raises(InputError, match=r"--max-latency: got .*, expected a number larger"):
            amounts(latency=wrong)
