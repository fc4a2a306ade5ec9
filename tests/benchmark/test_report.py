"""Reports of synthetic stores against scipy and sklearn, and the page in a real browser."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch  # noqa: F401  (before xgboost: two OpenMP runtimes in the other order can clash)
from PIL import Image
from scipy import stats
from sklearn.metrics import ndcg_score
from typer.testing import CliRunner

from archrank import metrics
from archrank.benchmark.judging import judge, judge_frame
from archrank.benchmark.report import to_html, to_markdown, write_report
from archrank.benchmark.resampling import FIGURES, Resamples
from archrank.cli.report import report as report_command
from archrank.data import table
from archrank.errors import InputError
from archrank.scoring.store import Score, Store
from archrank.scoring.table_runs import Settings, sample_of

Fill = Callable[[str, int, int], "float | str"]
"""(proxy, architecture's position, seed) -> value, or the reason why there is none."""

COUNT = 80
LOWER = "ntk_condition"  # a proxy of which smaller is better
NAMES = ("params", "flops", "snip", "zen", LOWER)
HOSTILE = '<script>alert("x")</script> & a|b `c`'


def settings(sample_seed: int = 0, count: int = COUNT) -> Settings:
    return Settings("digits", "digits", "digits", count, sample_seed, 8, "random", None)


def labels(chosen: Settings) -> np.ndarray:
    return table("digits").labels("digits").loc[sample_of(chosen)].to_numpy()


def plausible(chosen: Settings) -> Fill:
    """Scores that follow the labels more or less; ``plain`` fails on every fifth network."""
    truth = labels(chosen)
    noise = np.random.default_rng(5).normal(size=(len(truth), 16, 3)) * 20
    weight = {"params": 0.5, "flops": 0.5, "snip": 1.0, "zen": 0.1, LOWER: -1.0}

    def fill(proxy: str, at: int, seed: int) -> float | str:
        if proxy == "plain" and at % 5 == 0:
            return HOSTILE
        column = len(proxy) % 16
        sizes = proxy in ("params", "flops")
        return weight.get(proxy, 1.0) * truth[at] + noise[at, column, 0 if sizes else seed]

    return fill


def write(
    path: Path,
    fill: Fill,
    *,
    names: tuple[str, ...] = NAMES,
    seeds: int = 2,
    chosen: Settings | None = None,
    backwards: bool = False,
    stored: dict | None = None,
) -> Path:
    """A store as a run of the benchmark would leave it; seconds and memory are fixed."""
    chosen = chosen or settings()
    sample = sample_of(chosen)
    work = [(at, seed) for at in range(len(sample)) for seed in range(seeds)]
    with Store(path) as store:
        store.begin(stored or asdict(chosen), "digits", sample)
        for at, seed in reversed(work) if backwards else work:
            rows = []
            for index, name in enumerate(names):
                value = fill(name, at, seed)
                failed = isinstance(value, str)
                rows.append(
                    Score(
                        name,
                        1,
                        None if failed else float(value),
                        "error" if failed else "ok",
                        value if failed else None,
                        0.01 * 4**index,
                        1000 * (index + 1),
                    )
                )
            store.add(chosen.condition, "digits", sample[at], seed, rows)
    return path


@pytest.fixture(scope="module")
def plain_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("store") / "run.sqlite"
    return write(path, plausible(settings()), names=(*NAMES, "plain"))


@pytest.fixture(scope="module")
def plain_report(plain_store: Path):
    return judge(plain_store, resamples=200)


# --- resamples ------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [5, 40])
@pytest.mark.parametrize("ties", [False, True])
def test_figures_of_resamples_are_those_of_the_rows_drawn(size: int, ties: bool) -> None:
    rng = np.random.default_rng(size)
    truth, control = rng.normal(size=size) + 40, rng.normal(size=size)
    columns = [rng.normal(size=size), -truth, control, (np.arange(size) > size // 2) * 1.0]
    if ties:
        truth, columns = np.round(truth), [np.round(column) for column in columns]
    resamples = Resamples(truth, control, count=25, seed=3, top=4, share=0.2)
    for scores in columns:
        found = resamples.figures(scores)
        assert tuple(found) == FIGURES
        for at, counts in enumerate(resamples.counts):
            rows = np.repeat(np.arange(size), counts.astype(int))
            s, t, c = scores[rows], truth[rows], control[rows]
            expected = (
                metrics.kendall(s, t),
                metrics.spearman(s, t),
                metrics.ndcg(s, t, 4),
                metrics.precision_at(s, t, 0.2),
                metrics.regret(s, t, 4),
                metrics.relative_improvement(s, t, 4),
                metrics.partial_kendall(s, t, c),
                metrics.partial_spearman(s, t, c),
            )
            ours = [found[name][at] for name in FIGURES]
            np.testing.assert_allclose(ours, expected, atol=1e-9, err_msg=f"resample {at}")
        np.testing.assert_allclose(resamples.tau(scores), found["tau"])


def test_missing_scores_leave_the_same_resamples_of_the_others() -> None:
    rng = np.random.default_rng(0)
    truth, scores = rng.normal(size=50), rng.normal(size=50)
    scores[::4] = np.nan
    resamples = Resamples(truth, None, count=20, seed=0)
    found = resamples.figures(scores)
    for at, counts in enumerate(resamples.counts):
        rows = np.repeat(np.arange(50), counts.astype(int))
        rows = rows[np.isfinite(scores[rows])]
        assert found["tau"][at] == pytest.approx(metrics.kendall(scores[rows], truth[rows]))
    assert np.isnan(found["partial_tau"]).all()
    assert np.isnan(resamples.figures(np.full(50, np.nan))["tau"]).all()


def test_many_architectures_in_blocks_and_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(size=90)
    scores = truth + rng.normal(size=90)
    whole = Resamples(truth, scores + truth, count=9, seed=0).figures(scores)
    for name, value in (("_BLOCK", 16), ("_CELLS", 300), ("_KEPT", 10)):
        monkeypatch.setattr(f"archrank.benchmark.resampling.{name}", value)
    pieces = Resamples(truth, scores + truth, count=9, seed=0).figures(scores)
    for name in FIGURES:
        np.testing.assert_allclose(pieces[name], whole[name])


# --- figures --------------------------------------------------------------------------------------


def test_figures_are_scipys_and_sklearns(plain_store: Path, plain_report) -> None:
    judged = plain_report.runs[0].judged
    truth = labels(settings())
    with Store(plain_store, writable=False) as store:
        frame = store.scores(1, settings().condition)
    size = frame[frame["proxy"] == "params"].groupby("position")["value"].mean().to_numpy()
    for name in NAMES:
        rows = frame[frame["proxy"] == name]
        score = rows.groupby("position")["value"].mean().to_numpy()
        if name == LOWER:
            score = -score
        result = judged[name]
        figures = {key: figure.value for key, figure in result.figures.items()}
        assert figures["tau"] == pytest.approx(stats.kendalltau(score, truth).statistic)
        assert figures["rho"] == pytest.approx(stats.spearmanr(score, truth).statistic)
        gain = truth - truth.min()
        assert figures["ndcg"] == pytest.approx(ndcg_score([gain], [score], k=10))
        best = {*np.argsort(-score)[:4]} & {*np.argsort(-truth)[:4]}
        assert figures["precision"] == len(best) / 4
        top = truth[np.argsort(-score)[:10]]
        assert figures["regret"] == pytest.approx(truth.max() - top.max())
        assert figures["improvement"] == pytest.approx(100 * (top.mean() / truth.mean() - 1))
        if name != "params":
            partial = metrics.partial_kendall(score, truth, size)
            assert figures["partial_tau"] == pytest.approx(partial)
        over = figures["tau"] - metrics.kendall(size, truth)
        assert figures["over_params"] == pytest.approx(over)
        assert result.count == COUNT
        assert result.seconds == pytest.approx(rows["seconds"].median())
        seeds = [rows[rows["seed"] == s].sort_values("position")["value"] for s in (0, 1)]
        taus = [stats.kendalltau(one, truth).statistic for one in seeds]
        assert result.seed_spread == pytest.approx(np.std(taus, ddof=1))
        assert result.between_seeds == pytest.approx(stats.kendalltau(*seeds).statistic)
        assert result.figures["tau"].low < figures["tau"] < result.figures["tau"].high
    assert judged[LOWER].figures["tau"].value > 0.4  # turned round
    assert judged["snip"].figures["tau"].value > judged["zen"].figures["tau"].value


def test_baselines_and_combinations_are_always_there(plain_report) -> None:
    judged = plain_report.runs[0].judged
    names = [result.name for result in judged.results]
    assert len(set(names)) == len(names)
    for name in ("params", "flops", "random", "noise ceiling", "mean rank of all"):
        assert name in names
    assert abs(judged["random"].figures["tau"].value) < 0.1
    assert judged["random"].figures["tau"].low < 0 < judged["random"].figures["tau"].high
    ceiling = judged["noise ceiling"].figures["tau"].value
    assert 0.85 < ceiling < 1
    assert all(
        result.figures["tau"].value <= ceiling
        for result in judged.results
        if result.kind != "ceiling"
    )
    assert judged["ridge, 50 labels"].count == COUNT - 50
    assert "ridge, 100 labels" not in names  # too few to judge on
    assert judged["xgboost, 50 labels"].labels == 50
    assert judged["ridge, 50 labels"].figures["tau"].value > 0.3


def test_greedy_is_judged_on_labels_it_has_not_seen(tmp_path) -> None:
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(COUNT, 12))
    names = ("params", "flops", "snip", "zen", "plain", "fisher", "grasp", "naswot", "swap")
    column = {name: index for index, name in enumerate(names)}
    store = write(tmp_path / "s", lambda p, at, s: noise[at, column[p]], names=names, seeds=1)
    judged = judge(store, resamples=50).runs[0].judged
    greedy = next(v for v in judged.results if v.name.startswith("greedy"))
    # Chosen among nine columns of noise: good on its own folds, worthless on the others.
    assert abs(greedy.figures["tau"].value) < 0.2
    assert judged.greedy.held_out.low < 0.15
    assert sum(judged.greedy.chosen.values()) >= 5
    assert len(judged.greedy.folds) == 5


def test_failing_is_no_advantage(plain_report) -> None:
    judged = plain_report.runs[0].judged
    result = judged["plain"]
    assert (result.failed, result.count) == (COUNT // 5, COUNT - COUNT // 5)
    assert result.figures["tau_failed_last"].value < result.figures["tau"].value
    (failure,) = judged.failures
    assert (failure.proxy, failure.status, failure.count) == ("plain", "error", COUNT // 5)
    assert failure.reason == HOSTILE


def test_a_constant_score_and_one_that_always_fails(tmp_path) -> None:
    good = plausible(settings())

    def fill(proxy: str, at: int, seed: int) -> float | str:
        return {"zen": 3.0, "snip": "no such layer"}.get(proxy, good(proxy, at, seed))

    report = judge(write(tmp_path / "s", fill), resamples=50)
    judged = report.runs[0].judged
    assert np.isnan(judged["zen"].figures["tau"].value)
    assert judged["zen"].figures["improvement"].value == pytest.approx(0)  # as a random choice
    assert (judged["snip"].count, judged["snip"].failed) == (0, COUNT)
    page = to_html(report)
    assert "no such layer" in page
    assert "nan" not in re.sub(r"<script>.*?</script>", "", page).lower().replace("nano", "")
    json.dumps(report.to_dict(), allow_nan=False)


def test_older_versions_and_unknown_proxies_are_judged(tmp_path) -> None:
    store = write(tmp_path / "s", plausible(settings()), names=("params", "gone"))
    with Store(store) as opened:
        rows = [Score("params", 0, 1.0, "ok", None, 0.1, None)]
        opened.add(settings().condition, "digits", sample_of(settings())[0], 0, rows)
    judged = judge(store, resamples=20).runs[0].judged
    assert judged["params"].version == 1
    assert judged["params"].count == COUNT
    assert any("gone is not a proxy of this release" in note for note in judged.notes)


def test_a_run_that_is_not_finished_is_judged_on_what_it_has(tmp_path) -> None:
    frame_store = write(tmp_path / "s", plausible(settings()))
    with Store(frame_store, writable=False) as store:
        frame = store.scores(1, settings().condition)
    truth = table("digits").labels("digits").loc[sample_of(settings())]
    some = judge_frame(frame[frame["position"] < 30], truth, resamples=20)
    assert len(some.truth) == 30
    assert any("50 architectures of the sample have no scores yet" in n for n in some.notes)
    with pytest.raises(InputError, match="5 architectures have scores and a label"):
        judge_frame(frame[frame["position"] < 5], truth)


def test_rows_in_another_order_give_the_same_page(tmp_path, plain_store) -> None:
    names = (*NAMES, "plain")
    other = write(tmp_path / "other", plausible(settings()), names=names, backwards=True)
    write_report(plain_store, tmp_path / "a.html", resamples=30)
    write_report(other, tmp_path / "b.html", resamples=30)
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()
    assert not list(tmp_path.glob("*.partial"))


# --- runs -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def two_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("two") / "run.sqlite"
    first, second = settings(), settings(sample_seed=1, count=60)
    write(path, plausible(first), chosen=first)
    write(path, plausible(second), chosen=second, names=("params", "zen"), seeds=1)
    lost = asdict(first) | {"table": "nowhere", "space": "lost"}
    with Store(path) as store:
        store.begin(lost, "lost", ["x", "y"])
    return path


def test_several_runs_have_an_overview_and_one_without_labels_says_so(two_runs: Path) -> None:
    report = judge(two_runs, resamples=30)
    assert [run.judged is not None for run in report.runs] == [True, True, False]
    assert "expected a table" in report.runs[2].problem
    page = to_html(report)
    assert "tau-b in every run" in page
    assert page.count("<section") == 3
    assert "digits (run 2)" in page
    assert "Not judged" in page
    assert {*report.table["run"]} == {1, 2}
    assert "Not judged" in to_markdown(report)


def test_one_run_alone(two_runs: Path) -> None:
    report = judge(two_runs, run=2, resamples=30)
    assert [run.number for run in report.runs] == [2]
    with pytest.raises(InputError, match="run: got 9, expected one of 1, 2, 3"):
        judge(two_runs, run=9)
    with pytest.raises(InputError, match=r"no run of .* can be judged: name: got 'nowhere'"):
        judge(two_runs, run=3)


def test_labels_that_are_not_here_say_how_to_get_them(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("ARCHRANK_DATA", str(tmp_path / "empty"))
    stored = asdict(settings()) | {"space": "nasbench201", "table": "nasbench201"}
    store = write(tmp_path / "s", lambda p, at, s: 1.0, seeds=1, stored=stored)
    with pytest.raises(InputError, match="archrank data fetch nasbench201"):
        judge(store)


def test_wrong_stores_and_arguments(tmp_path) -> None:
    with pytest.raises(InputError, match="store: there is no file"):
        judge(tmp_path / "none.sqlite")
    Store(tmp_path / "empty.sqlite").close()
    with pytest.raises(InputError, match="holds no run yet"):
        judge(tmp_path / "empty.sqlite")
    with pytest.raises(InputError, match="resamples: got 0"):
        judge(tmp_path / "empty.sqlite", resamples=0)
    stored = asdict(settings()) | {"new_setting": 1}
    store = write(tmp_path / "newer", lambda p, at, s: 1.0, seeds=1, stored=stored)
    with pytest.raises(InputError, match="another release"):
        judge(store)


# --- the page -------------------------------------------------------------------------------------


def test_the_page_asks_for_nothing_else(plain_report) -> None:
    page = to_html(plain_report)
    assert not re.search(r"""(src|href)\s*=\s*["']?\s*(?!#)""", page)
    assert not re.search(r"url\(|@import|<link|<iframe|fetch\(|XMLHttpRequest", page)


def test_hostile_names_are_only_text(plain_report) -> None:
    page = to_html(plain_report, date=HOSTILE, machine='"><img onerror=x>')
    assert page.count("<script>") == 1  # the page's own
    assert "&lt;script&gt;alert(&quot;x&quot;)" in page
    assert "<img" not in page
    markdown = to_markdown(plain_report, date=HOSTILE)
    assert "<script>" not in markdown


def test_nothing_of_time_or_place_is_in_it(plain_report, tmp_path) -> None:
    page = to_html(plain_report)
    assert "Printed now" not in page
    assert "Printed now" in to_html(plain_report, date="Printed now")
    assert str(tmp_path.parent) not in page


def test_markdown_is_a_table_with_intervals(plain_report) -> None:
    text = to_markdown(plain_report, date="1 May", machine="two cores")
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len({len(re.findall(r"(?<!\\)\|", row)) for row in rows}) == 1
    tau = plain_report.runs[0].judged["snip"].figures["tau"]
    assert f"| snip | {tau.value:.3f} [{tau.low:.3f}, {tau.high:.3f}] |" in text
    assert "1 May; two cores; archrank" in text
    assert "80, drawn with seed 0; 200 resamples, seed 0" in text
    assert "archrank report run.sqlite --seed 0 --resamples 200" in text


def test_the_command_writes_page_markdown_and_json(plain_store, tmp_path) -> None:
    import typer

    app = typer.Typer()
    app.command()(report_command)
    page, markdown = tmp_path / "page.html", tmp_path / "table.md"
    words = [plain_store, "--out", page, "--markdown", markdown, "--resamples", 20, "--json"]
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["runs"][0]["rows"]
    assert page.read_text().startswith("<!DOCTYPE html>")
    assert "| score |" in markdown.read_text()
    for words, complaint in (
        ([tmp_path / "none"], "there is no file"),
        ([plain_store, "--out", plain_store], "is the store itself"),
        ([plain_store, "--out", tmp_path / "no" / "p.html"], "there is no folder"),
        ([plain_store, "--run", 7], "run: got 7"),
    ):
        result = CliRunner().invoke(app, [str(word) for word in words])
        assert result.exit_code == 2
        assert complaint in result.stderr


# --- in a browser ---------------------------------------------------------------------------------

_QUIET = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --hide-scrollbars "
    "--disable-background-networking --disable-component-update --disable-sync "
    "--virtual-time-budget=2000"
).split()


@pytest.fixture
def browse(tmp_path: Path) -> Callable[..., str]:
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    found = next((path for name in names if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip("no Chromium on this machine")

    def run(page: Path, width: int, *options: str) -> str:
        profile = tmp_path / f"profile{len(list(tmp_path.iterdir()))}"
        command = [found, *_QUIET, f"--user-data-dir={profile}", f"--window-size={width},900"]
        done = subprocess.run(
            [*command, *options, page.as_uri()],
            capture_output=True,
            text=True,
            check=True,
            timeout=90,
        )
        return done.stdout

    return run


@pytest.fixture
def page(two_runs: Path, tmp_path: Path) -> Path:
    path = tmp_path / "page.html"
    write_report(two_runs, path, resamples=30)
    return path


@pytest.mark.parametrize("width", [360, 390, 1280])
def test_the_body_does_not_scroll_sideways(browse, page: Path, width: int) -> None:
    # In a frame, since a window cannot be as narrow as a phone.
    outer = page.with_name("outer.html")
    outer.write_text(
        f"<iframe id=f src={page.name} style='border:0;width:{width}px;height:800px'></iframe>"
        "<script>onload = () => { const d = f.contentDocument, e = d.documentElement;"
        "document.title = ['measured', e.clientWidth, e.scrollWidth, "
        "d.querySelectorAll('svg').length].join(' '); }</script>"
    )
    dom = browse(outer, 1400, "--allow-file-access-from-files", "--dump-dom")
    client, scroll, pictures = re.search(r"<title>measured (\d+) (\d+) (\d+)", dom).groups()
    assert int(client) == width
    assert int(scroll) <= width
    assert int(pictures) > 20


def test_a_heading_sorts_its_table(browse, page: Path) -> None:
    script = (
        "<script>const t = document.querySelectorAll('table.sort')[1];"
        "t.tHead.querySelectorAll('button')[0].click();"
        "document.title = 'sorted ' + [...t.tBodies[0].rows].slice(1)"
        ".map((r) => r.cells[0].dataset.v).join(' ');</script></body>"
    )
    page.write_text(page.read_text().replace("</body>", script))
    names = re.search(r"<title>sorted (.*?)</title>", browse(page, 1280, "--dump-dom"))[1].split()
    assert names == sorted(names)
    assert len(names) == 3


def test_light_and_dark(browse, page: Path, tmp_path: Path) -> None:
    brightness = {}
    for theme, number in (("light", 1), ("dark", 0)):
        shot = tmp_path / f"{theme}.png"
        browse(
            page, 1280, f"--blink-settings=preferredColorScheme={number}", f"--screenshot={shot}"
        )
        pixels = np.asarray(Image.open(shot).convert("L"), dtype=float)
        assert pixels.shape[1] == 1280
        assert pixels.std() > 8  # something is on it
        brightness[theme] = pixels.mean()
    assert brightness["light"] > 200
    assert brightness["dark"] < 70
