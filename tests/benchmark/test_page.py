"""What the page says, by the table's own figures, and how it looks in a real browser."""

from __future__ import annotations

import math
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from stores import COUNT, plausible, settings, write

from archrank.benchmark.conclusion import conclusion
from archrank.benchmark.judging import judge
from archrank.benchmark.page.cost_picture import Point, best_for_their_time, cost_against_quality
from archrank.benchmark.page.main_table import main_table
from archrank.benchmark.report import to_html, write_report
from archrank.benchmark.wording import best, columns


def test_the_sentence_on_top_says_what_the_table_says(plain_report) -> None:
    judged = plain_report.runs[0].judged
    first = next(result for result in judged.results if result.kind == "proxy")
    assert all(
        result.figures["tau"].value <= first.figures["tau"].value
        for result in judged.results
        if result.kind == "proxy"
    )
    tau, over = first.figures["tau"], first.figures["over_params"]
    said = conclusion(judged)
    page = to_html(plain_report)
    assert f'<p class="conclusion">{said}</p>' in page
    assert f"Of 4 proxies, {first.name} orders these {COUNT} networks best" in said
    for value in (tau.value, tau.low, tau.high, judged["params"].figures["tau"].value):
        assert f"{value:.3f}" in said
    assert f"<span>{tau.value:.3f}</span>" in page
    assert over.low > 0
    assert "better than the number of parameters" in said


def test_the_sentence_without_size_and_without_any_order(tmp_path) -> None:
    good = plausible(settings())
    alone = write(tmp_path / "a", good, names=("snip",), seeds=1)
    assert re.fullmatch(
        r"snip orders these 80 networks: tau-b 0\.\d{3} \(95 %: 0\.\d{3} to 0\.\d{3}\)\.",
        conclusion(judge(alone, resamples=20).runs[0].judged),
    )
    constant = write(tmp_path / "b", lambda p, at, s: 1.0, names=("snip", "zen"), seeds=1)
    judged = judge(constant, resamples=20).runs[0].judged
    assert conclusion(judged) == "No proxy orders these 80 networks."


def test_all_that_tie_for_best_are_marked(tmp_path) -> None:
    good = plausible(settings())
    names = ("params", "snip", "zen", "plain")

    def fill(proxy: str, at: int, seed: int) -> float | str:
        return good("snip" if proxy == "plain" else proxy, at, seed)  # the two are one score

    report = judge(write(tmp_path / "s", fill, names=names), resamples=20)
    judged = report.runs[0].judged
    assert best(judged, columns(judged)[0]) == ["plain", "snip"]
    assert conclusion(judged).startswith("Of 3 proxies, plain and snip order these")
    rows = {row.cells[0].sorted_by: row for g in main_table(judged).groups for row in g.rows}
    for at in range(1, 8):
        marked = {name for name, row in rows.items() if row.cells[at].kind == "best"}
        known = {
            name: float(row.cells[at].text.replace("\N{MINUS SIGN}", "-"))
            for name, row in rows.items()
            if name in names and row.cells[at].kind != "none"
        }
        choose = min if columns(judged)[at - 1].name == "regret" else max
        assert marked == {n for n, value in known.items() if value == choose(known.values())}


def test_many_reasons_of_failures_are_folded_away(tmp_path) -> None:
    good = plausible(settings())

    def fill(proxy: str, at: int, seed: int) -> float | str:
        return f"reason {at}" if proxy == "zen" and at < 30 else good(proxy, at, seed)

    page = to_html(judge(write(tmp_path / "s", fill), resamples=20))
    shown, _, folded = page.partition("<summary>10 more, less frequent</summary>")
    assert [text.count("error: reason ") for text in (shown, folded)] == [20, 10]


_SECONDS, _TAU = st.floats(1e-6, 1e3), st.floats(-1, 1) | st.just(math.nan)


@given(st.lists(st.tuples(_SECONDS, _TAU), min_size=1, max_size=9))
def test_what_is_best_for_its_time(pairs: list[tuple[float, float]]) -> None:
    points = [Point(f"p{i}", "proxy", *pair) for i, pair in enumerate(pairs)]
    known = [point for point in points if math.isfinite(point.tau)]
    expected = {
        point.tau
        for point in known
        if not any(other.seconds <= point.seconds and other.tau > point.tau for other in known)
        and not any(other.seconds < point.seconds and other.tau == point.tau for other in known)
    }
    found = best_for_their_time(points)
    assert {point.tau for point in found} == expected
    assert [p.seconds for p in found] == sorted(p.seconds for p in found)
    for width, height in ((900, 460), (360, 380)):
        picture = cost_against_quality(points, {"noise ceiling": 0.9}, width, height)
        assert picture.count("<circle") == len(known)
        centres = [float(x) for x in re.findall(r'cx="([-\d.]+)"', picture)]
        assert all(0 < x < width for x in centres)


def _luminance(colour: np.ndarray) -> float:
    """Relative luminance as WCAG defines it."""
    linear = np.where(colour <= 0.03928, colour / 12.92, ((colour + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize("hue", ["accent", "soft"])
def test_dots_are_seen_on_the_paper(plain_report, theme: int, hue: str) -> None:
    """Three to one, what WCAG asks of graphics."""
    style = re.search(r"<style>(.*?)</style>", to_html(plain_report), re.S)[1]
    opacity = float(re.search(r"\.dots \{[^}]*opacity: ([\d.]+)", style)[1])
    colours = {
        name: np.array([int(text[i : i + 2], 16) for i in (0, 2, 4)]) / 255
        for name in (hue, "paper")
        for text in [re.findall(rf"--{name}: #(\w{{6}})", style)[theme]]
    }
    shown = opacity * colours[hue] + (1 - opacity) * colours["paper"]
    light = sorted([_luminance(shown), _luminance(colours["paper"])])
    assert (light[1] + 0.05) / (light[0] + 0.05) >= 3


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
