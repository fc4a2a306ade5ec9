"""``rank``: order, combination, failures, seeds, processes."""

from __future__ import annotations

import json
import re
import warnings
import weakref
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tiny_networks as nets
import torch
from scipy import stats
from torch import nn

import archrank
from archrank.errors import ArchrankWarning, InputError
from archrank.predictors import Ridge, Sample
from archrank.predictors.features.evidence import KINDS, MEASURED, PROXIES
from archrank.ranking import order

SHAPE = (3, 8, 8)
OPTIONS = {"inputs": SHAPE, "batch_size": 8}


def names(ranking: archrank.Ranking) -> list[str]:
    return ranking.table["name"].tolist()


def test_order_by_one_proxy() -> None:
    ranking = archrank.rank([nets.narrow, nets.wide, nets.deep], by="params", **OPTIONS)
    params = ranking.table["params"].tolist()
    assert params == sorted(params, reverse=True)
    assert ranking.table["rank"].tolist() == [1, 2, 3]
    assert ranking.best == names(ranking)[0]
    assert ranking.failures.empty


def test_default_is_the_pretrained_predictor() -> None:
    candidates = {"a": nets.narrow, "b": nets.wide, "c": nets.deep}
    ranking = archrank.rank(candidates, **OPTIONS)
    table = ranking.table.set_index("name").loc[list(candidates)]
    assert {*KINDS, *MEASURED} <= set(table.columns)
    samples = [
        Sample(archrank.trace(build(), SHAPE), scores=dict(row[list(PROXIES)].dropna()))
        for build, (_, row) in zip(candidates.values(), table.iterrows(), strict=True)
    ]
    expected, std = archrank.load_predictor().zero_shot.judge(samples)
    assert table["score"].tolist() == pytest.approx(expected)
    assert table["std_error"].tolist() == pytest.approx(std)


@pytest.mark.filterwarnings("ignore::archrank.predictors.OutOfFamilyWarning")
def test_a_network_of_nan_is_not_ranked_by_its_size() -> None:
    ranking = archrank.rank([nets.narrow_of_nan, nets.narrow], **OPTIONS)
    assert ranking.best == "narrow"
    table = ranking.table.set_index("name")
    assert np.isnan(table.loc["narrow_of_nan", "score"])
    reasons = ranking.failures.set_index(["name", "proxy"])["reason"]
    assert "is a number" in reasons["narrow_of_nan", "auto"]


def test_adding_a_candidate_moves_no_other() -> None:
    few = {"a": nets.narrow, "b": nets.wide}
    alone = archrank.rank(few, **OPTIONS).table.set_index("name")["score"]
    more = archrank.rank({**few, "c": nets.deep}, **OPTIONS).table.set_index("name")["score"]
    assert more[["a", "b"]].tolist() == pytest.approx(alone[["a", "b"]].tolist())


def test_networks_of_real_size_are_ranked_by_their_graphs_alone() -> None:
    def build() -> nn.Module:
        return nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.ReLU(), nn.Flatten())

    ranking = archrank.rank({"net": build}, (3, 96, 96), batch_size=2)
    assert "top-1 high" in str(ranking)
    costly = archrank.rank({"net": build}, (3, 96, 96), batch_size=2, costs=["memory"])
    heading = str(costly).splitlines()[0]  # an interval gives way to a cost that was asked for
    assert "memory_mb" in heading
    assert "top-1 low" not in heading
    table = ranking.table
    assert table["top-1 low"][0] < table["top-1"][0] < table["top-1 high"][0]
    assert table["near"].isna().all()
    full = archrank.rank({"net": build}, (3, 96, 96), batch_size=2, level="full").table
    assert full["score"].tolist() == pytest.approx(table["score"].tolist())
    assert np.isfinite(full["near"][0])


def test_a_recipe_moves_the_accuracy_that_is_expected() -> None:
    def build() -> nn.Module:
        return nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.ReLU(), nn.Flatten())

    def expected(**options: object) -> float:
        return float(archrank.rank({"net": build}, (3, 96, 96), **options).table["top-1"][0])

    assert expected() == pytest.approx(expected(recipe="in1k"))
    assert expected(recipe="augreg_in21k_ft_in1k") > expected(recipe="in1k")
    with pytest.raises(InputError, match="recipe: got 'a b'"):
        archrank.rank({"net": build}, (3, 96, 96), recipe="a b")


def test_the_level_graphs_runs_nothing() -> None:
    table = archrank.rank({"a": nets.narrow, "b": nets.wide}, level="graphs", **OPTIONS).table
    assert "near" not in table or table["near"].isna().all()
    assert table["name"].tolist() == ["b", "a"]
    with pytest.raises(InputError, match="level: got 'graphs', but naswot run the networks"):
        archrank.rank([nets.narrow], by="auto,naswot", level="graphs", **OPTIONS)
    with pytest.raises(InputError, match="level: got 'fast'"):
        archrank.rank([nets.narrow], level="fast", **OPTIONS)


@pytest.mark.parametrize("level", ["quick", "full"])
def test_a_network_of_no_numbers_has_no_rank_at_any_level(level) -> None:
    def broken() -> nn.Module:
        net = nets.wide()
        for weight in net.parameters():
            nn.init.constant_(weight, float("nan"))
        return net

    table = archrank.rank({"a": nets.narrow, "nan": broken}, level=level, **OPTIONS).table
    assert table.set_index("name")["rank"].isna().to_dict() == {"a": False, "nan": True}


def test_the_level_quick_takes_one_forward_pass() -> None:
    table = archrank.rank({"a": nets.narrow, "b": nets.wide}, level="quick", **OPTIONS).table
    assert np.isfinite(table["near"]).all()
    assert "zico" not in table or table["zico"].isna().all()
    asked = archrank.rank([nets.narrow], by="auto,snip", level="quick", **OPTIONS).table
    assert np.isfinite(asked[["snip", "near"]].to_numpy()).all()


@pytest.mark.parametrize(
    ("costs", "level"), [((1.0,), "auto"), ((9.0, 2.0), "quick"), ((9.0, 9.0, 9.0), "graphs")]
)
def test_a_budget_takes_the_first_level_that_fits(monkeypatch, costs, level) -> None:
    estimates = iter(costs)
    monkeypatch.setattr(order, "seconds_needed", lambda *_, **__: next(estimates))
    few = {"a": nets.narrow, "b": nets.wide}
    table = archrank.rank(few, budget=5.0, **OPTIONS).table
    expected = archrank.rank(few, level=level, **OPTIONS).table
    assert table["score"].tolist() == expected["score"].tolist()


@pytest.mark.slow
def test_a_budget_is_kept_for_real() -> None:
    table = archrank.rank({"a": nets.narrow, "b": nets.wide}, budget=1e-6, **OPTIONS).table
    assert "near" not in table or table["near"].isna().all()
    table = archrank.rank({"a": nets.narrow, "b": nets.wide}, budget=3600, **OPTIONS).table
    assert np.isfinite(table["zico"]).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"budget": 0}, "budget: got 0, expected seconds"),
        ({"budget": "x"}, "budget: got 'x', expected seconds"),
        ({"budget": float("nan")}, "budget: got nan, expected seconds"),
        ({"budget": 9, "level": "full"}, "budget: it chooses the level"),
        ({"budget": 9, "by": "naswot"}, "budget: by names proxies"),
    ],
)
def test_budgets_that_leave_no_choice_are_told(options, message) -> None:
    with pytest.raises(InputError, match=message):
        archrank.rank([nets.narrow], **{**OPTIONS, **options})


def test_scores_are_those_of_score() -> None:
    net = nets.deep()
    ranking = archrank.rank([net], by="snip,gradsign", seed=3, **OPTIONS)
    scores = archrank.score(net, SHAPE, proxies=["snip", "gradsign"], seed=3, batch_size=8)
    for name in ("snip", "gradsign"):
        assert ranking.table[name][0] == pytest.approx(scores[name].value, rel=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [1, 2])
def test_a_double_of_a_network_that_fails_is_scored_itself(jobs: int) -> None:
    ranking = archrank.rank([nets.narrow_of_nan, nets.narrow], by="snip", jobs=jobs, **OPTIONS)
    table = ranking.table.set_index("name")
    assert np.isfinite(table.loc["narrow", "snip"])
    assert ranking.failures["name"].tolist() == ["narrow_of_nan"]


def test_identical_graphs_are_scored_once() -> None:
    built = []

    def count(scored, total, name) -> None:
        built.append(name)

    ranking = archrank.rank(
        [nets.narrow, nets.narrow_again, nets.wide], by="snip", progress=count, **OPTIONS
    )
    table = ranking.table.set_index("name")
    assert table.loc["narrow_again", "same_as"] == "narrow"
    assert table.loc["narrow_again", "snip"] == table.loc["narrow", "snip"]
    assert table.loc["narrow", "rank"] == table.loc["narrow_again", "rank"]
    assert built == ["narrow", "narrow_again", "wide"]


def test_candidates_are_dropped_one_at_a_time() -> None:
    alive: list[weakref.ref[nn.Module]] = []

    def make(width: int):
        def build() -> nn.Module:
            assert sum(ref() is not None for ref in alive) == 0, "an earlier candidate is held"
            net = nets.Tiny(width)
            alive.append(weakref.ref(net))
            return net

        return build

    ranking = archrank.rank({str(w): make(w) for w in (4, 5, 6)}, by="snip,naswot", **OPTIONS)
    assert len(alive) == 3
    assert ranking.failures.empty


def test_failures_are_rows_with_reasons() -> None:
    ranking = archrank.rank(
        [nets.raises, nets.wide, nets.with_nan, nets.without_rectifier],
        by="naswot,snip",
        **OPTIONS,
    )
    failures = ranking.failures.set_index(["name", "proxy"])
    assert "this builder is broken" in failures.loc[("raises", "all"), "reason"]
    for proxy in ("naswot", "snip"):
        assert failures.loc[("with_nan", proxy), "status"] == "non-finite"
    assert "head.weight" in failures.loc[("with_nan", "snip"), "reason"]
    assert "rectifier" in failures.loc[("without_rectifier", "naswot"), "reason"]
    table = ranking.table.set_index("name")
    assert pd.isna(table.loc["raises", "rank"])
    assert set(names(ranking)[2:]) == {"raises", "with_nan"}
    # what lacks one proxy is ranked by the other
    assert table.loc["without_rectifier", "rank"] >= 1


def test_best_is_never_one_that_failed() -> None:
    ranking = archrank.rank({"wrong": lambda: 3}, by="params", **OPTIONS)
    with pytest.raises(InputError, match="no candidate could be ranked"):
        _ = ranking.best


def test_a_summary_has_nine_columns_and_details_the_rest() -> None:
    by = "params,snip,gradsign,naswot,zen,synflow_log,l2_norm,plain"
    ranking = archrank.rank([nets.narrow, nets.wide], by=by, seeds=2, costs=["memory"], **OPTIONS)
    headings = re.findall(r"<th>([^<]*)</th>", ranking._repr_html_())
    assert len(headings) == 9
    assert headings[:4] == ["rank", "name", "score", "std_error"]
    assert {"params", "flops", "memory_mb"} <= set(headings)
    rest = ranking.details
    assert {*headings, *rest.columns} == {*ranking.table.columns}
    assert {"plain", "plain std", "depth", "seconds"} <= {*rest.columns}
    frame = ranking.to_frame()
    assert frame.equals(ranking.table)
    frame["score"] = 0.0
    assert not frame.equals(ranking.table)


def test_zero_is_zero() -> None:
    # A module that is given has no other weights under another seed, and its size explains itself.
    ranking = archrank.rank(
        {"a": nets.Tiny(4), "b": nets.Tiny(9), "c": nets.Tiny(6)}, by="l2_norm", seeds=3, **OPTIONS
    )
    assert ranking.table["std_error"].tolist() == [0.0] * 3
    explained = archrank.rank(
        [nets.narrow, nets.wide, nets.deep], by="params|params,flops|params", **OPTIONS
    )
    assert (explained.table["params|params"] == 0).all()
    assert "e-1" not in str(explained)


def test_what_many_have_in_common_is_said_once() -> None:
    made = {f"net {w}": nets.Tiny(w) for w in range(3, 15)}
    ranking = archrank.rank(made, (3, 8, 8, 8), by="snip")
    assert len(ranking.failures) == 12
    lines = [line for line in str(ranking).splitlines() if "cannot trace" in line]
    assert len(lines) == 1
    assert lines[0].startswith("net 3, net 4, net 5 and 9 more: ")
    assert "did you mean (8, 8, 8)?" in lines[0]


def test_one_wrong_shape_is_one_message_whatever_the_networks() -> None:
    made = {"conv": lambda: torch.nn.Conv2d(3, 4, 3), "linear": lambda: torch.nn.Linear(8, 2)}
    ranking = archrank.rank(made, (8, 3, 16, 9), by="params")
    assert ranking.failures["reason"].nunique() == 2
    assert str(ranking).count("did you mean (3, 16, 9)?") == 1
    assert "conv and linear: unsupported: " in str(ranking)


def test_one_criterion_that_is_the_score_is_a_line_not_a_column() -> None:
    made = [nets.narrow, nets.wide, nets.deep]
    heading, *_, last = str(archrank.rank(made, by="naswot", **OPTIONS)).splitlines()
    assert "naswot" not in heading.split()
    assert last == "score: naswot"
    for by in ("ntk_condition", "params", "naswot,snip"):  # of another sign, a size, several
        heading = str(archrank.rank(made, by=by, **OPTIONS)).splitlines()[0]
        assert {*by.split(",")} <= {*heading.split()}
    learnt = archrank.rank(
        made, by="params", measured={"narrow": 1.0, "wide": 3.0, "deep": 2.0}, **OPTIONS
    )
    assert "params" in str(learnt).splitlines()[0].split()


def test_an_error_that_all_candidates_share_is_no_column() -> None:
    made = [nets.narrow, nets.wide, nets.deep]
    ranking = archrank.rank(made, level="graphs", **OPTIONS)
    (error,) = set(ranking.table["std_error"])
    heading, *_, last = str(ranking).splitlines()
    assert "std_error" not in heading
    assert last.startswith(f"The standard error of every score is {error:.4g}:")
    assert "std_error" in str(archrank.rank(made, by="snip", seeds=2, **OPTIONS)).splitlines()[0]


def test_all_failing_is_still_a_table() -> None:
    ranking = archrank.rank([nets.raises], by="snip,naswot", **OPTIONS)
    assert ranking.table["score"].isna().all()
    assert len(ranking.failures) == 1
    assert "raises" in str(ranking)


def test_builder_of_something_else_is_a_failure() -> None:
    ranking = archrank.rank({"wrong": lambda: 3, "right": nets.wide}, by="params", **OPTIONS)
    assert "built a int" in ranking.failures["reason"][0]


def test_seeds_are_averaged_and_spread() -> None:
    together = archrank.rank([nets.narrow, nets.wide], by="snip", seeds=3, **OPTIONS)
    each = [archrank.rank([nets.narrow, nets.wide], by="snip", seed=s, **OPTIONS) for s in range(3)]
    for name in ("narrow", "wide"):
        values = [r.table.set_index("name").loc[name, "snip"] for r in each]
        row = together.table.set_index("name").loc[name]
        assert row["snip"] == pytest.approx(np.mean(values))
        assert row["snip std"] == pytest.approx(np.std(values, ddof=1))
        assert row["std_error"] == pytest.approx(row["snip std"] / 3**0.5)


def test_same_seed_same_table_and_no_trace_in_the_random_state() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = archrank.rank([nets.narrow, nets.wide], seed=1, **OPTIONS)
    assert torch.equal(torch.get_rng_state(), before)
    second = archrank.rank([nets.narrow, nets.wide], seed=1, **OPTIONS)
    drop = ["seconds"]
    pd.testing.assert_frame_equal(first.table.drop(columns=drop), second.table.drop(columns=drop))


def test_control_removes_what_the_control_explains() -> None:
    ranking = archrank.rank(
        {str(w): nets.Tiny(w) for w in (4, 6, 8, 10)}, by="params|flops", **OPTIONS
    )
    assert ranking.table["params|flops"].tolist() == pytest.approx([0] * 4)
    assert ranking.table["rank"].tolist() == [1] * 4


@pytest.mark.slow
def test_processes_give_the_same_table_and_survive_a_killed_one() -> None:
    candidates = [nets.narrow, nets.kills_its_process, nets.narrow_again, nets.wide, nets.raises]
    done = []
    parallel = archrank.rank(
        candidates, by="snip", jobs=2, progress=lambda d, t, n: done.append((d, t)), **OPTIONS
    )
    alone = archrank.rank(
        [c for c in candidates if c is not nets.kills_its_process], by="snip", **OPTIONS
    )
    table, expected = parallel.table.set_index("name"), alone.table.set_index("name")
    for name in ("narrow", "narrow_again", "wide"):
        assert table.loc[name, "snip"] == pytest.approx(expected.loc[name, "snip"], rel=1e-4)
    assert table.loc["narrow_again", "same_as"] == "narrow"
    reasons = parallel.failures.set_index("name")["reason"]
    assert "died 2 times" in reasons["kills_its_process"]
    assert "broken" in reasons["raises"]
    assert done[-1] == (5, 5)


def test_lambdas_cannot_go_to_processes() -> None:
    with pytest.raises(InputError, match="jobs"):
        archrank.rank({"a": lambda: nets.wide(), "b": nets.wide}, jobs=2, **OPTIONS)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"by": "gradsgn"}, "gradsign"),
        ({"by": ""}, "by"),
        ({"by": "gradsign|"}, "proxy"),
        ({"combine": "mean"}, "combine"),
        ({"seeds": 0}, "seeds"),
        ({"jobs": 0}, "jobs"),
        ({"device": "warp"}, "device"),
        ({"candidates": []}, "candidates"),
        ({"candidates": [3]}, "candidates"),
        ({"candidates": ["no_such_file.py"]}, "no_such_file.py"),
        ({"inputs": None}, "inputs"),
    ],
)
def test_wrong_usage_names_the_argument(arguments, named) -> None:
    given_arguments = {"candidates": [nets.wide], **OPTIONS, **arguments}
    with pytest.raises(InputError, match=named):
        archrank.rank(given_arguments.pop("candidates"), **given_arguments)


def test_files(tmp_path) -> None:
    ranking = archrank.rank([nets.narrow, nets.raises], by="snip,naswot", **OPTIONS)
    ranking.to_csv(tmp_path / "table.csv")
    assert pd.read_csv(tmp_path / "table.csv")["name"].tolist() == names(ranking)
    assert [p.name for p in tmp_path.iterdir()] == ["table.csv"]
    record = json.loads(ranking.to_json())
    assert record["table"][1]["score"] is None
    assert record["failures"][0]["name"] == "raises"
    assert "<table" in ranking._repr_html_()
    assert "Failures" in ranking._repr_html_()


@pytest.mark.parametrize("count", [1, 3, 45])
def test_picture(tmp_path, count) -> None:
    pytest.importorskip("matplotlib")
    ranking = archrank.rank(
        {f"a long name of a network {w}": nets.Tiny(w + 1, 1) for w in range(count)},
        by="params,l2_norm",
        **OPTIONS,
    )
    figure = ranking.plot(tmp_path / "picture.png")
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert len(labels) == count
    assert labels[0] == f"1  {ranking.best}"


class TestNeighbours:
    """Whether the one above is truly better."""

    def test_from_seeds(self) -> None:
        made = {f"width {w}": (lambda w=w: nets.Tiny(w)) for w in (4, 5, 30)}
        table = archrank.rank(made, (3, 8, 8), by="synflow_log", seeds=4, batch_size=4).table
        error = table["std_error"]
        for row in range(1, 3):
            step = table["score"][row - 1] - table["score"][row]
            chance = stats.norm.cdf(step / np.hypot(error[row - 1], error[row]))
            assert table["above"][row] == pytest.approx(chance)
        assert np.isnan(table["above"][0])
        assert table["above"][1] > table["above"][2] > 0.5  # 30 is far from both, 5 is near 4

    def test_nothing_is_known_of_one_proxy_and_seed(self) -> None:
        made = {"a": lambda: nets.Tiny(4), "b": lambda: nets.Tiny(8)}
        assert archrank.rank(made, (3, 8, 8), by="params").table["above"].isna().all()

    def test_from_predicted_deviations(self, tmp_path: Path) -> None:
        made = {f"width {w}": (lambda w=w: nets.Tiny(w)) for w in (4, 5, 6, 7, 8, 10, 12, 16)}
        graphs = [archrank.trace(make(), (3, 8, 8)) for make in made.values()]
        Ridge(("statistics",)).fit(graphs, np.log([g.params for g in graphs])).save(tmp_path / "m")
        table = archrank.rank(made, (3, 8, 8), by=str(tmp_path / "m")).table
        _, std = Ridge.load(tmp_path / "m").predict(graphs, return_std=True)
        expected = pd.Series(std, index=list(made))[table["name"]]
        assert table["std_error"].tolist() == pytest.approx(expected.tolist())
        std = table["std_error"].to_numpy()
        step, error = -np.diff(table["score"]), np.hypot(std[1:], std[:-1])
        assert table["above"][1:].to_numpy() == pytest.approx(stats.norm.cdf(step / error))


def test_a_network_with_fewer_outputs_than_classes_is_warned_of_once() -> None:
    images, classes = torch.randn(12, 3, 8, 8), torch.arange(12)
    few, enough = (
        torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, n), torch.nn.ReLU())
        for n in (10, 12)
    )
    with pytest.warns(ArchrankWarning, match="12 classes, but 1 of 2 candidates .*few") as told:
        archrank.rank({"few": few, "enough": enough}, images, classes, by="params,snip")
    assert len(told) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        archrank.rank({"enough": enough}, images, classes, by="params,snip")
        archrank.rank({"few": few}, images, classes, by="params,snip", loss=_first_output)


def _first_output(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return outputs[:, 0].mean()
