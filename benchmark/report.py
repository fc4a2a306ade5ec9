"""What a store's scores are worth, as one page that needs nothing else, and as Markdown.

The same store and seed give the same page, byte for byte: nothing of when or where it was made is
in it but what is passed in.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np

from .. import __version__
from ..scoring.store import Store
from . import pictures
from .judging import judge
from .results import SHARE, TOP, Figure, Judged, Report, Result, RunReport
from .style import SCRIPT, STYLE

__all__ = ["Report", "judge", "to_html", "to_markdown", "write_report"]

_STORE = "run.sqlite"  # in commands: a page must not depend on what its store is called
_SCATTERS = 7  # of the best proxies, beside the baselines
_DASH = "\N{EN DASH}"
_MINUS = "\N{MINUS SIGN}"
_SPACE = "\N{NO-BREAK SPACE}"


def write_report(
    store: str | Path | Store,
    path: str | Path,
    *,
    run: int | None = None,
    resamples: int = 1000,
    seed: int = 0,
    date: str | None = None,
    machine: str | None = None,
) -> Report:
    """Judge the runs of a store and write the page; it appears whole or not at all.

    Args:
        store, run, resamples, seed: as ``judge`` takes.
        path: of the page.
        date, machine: printed on the page if given.

    Raises:
        InputError: as ``judge``.
    """
    report = judge(store, run, resamples=resamples, seed=seed)
    write_whole(Path(path), to_html(report, date=date, machine=machine))
    return report


def write_whole(path: Path, text: str) -> None:
    """Write a file so that no reader ever sees half of it."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


# --- what a row says ------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Column:
    """One figure of the table: heading, what it is, which way is better, how it is written."""

    name: str
    heading: str
    meaning: str
    largest: bool = True
    digits: int = 3
    width: int = 46  # of its mark


def _columns(judged: Judged) -> list[_Column]:
    digits = _label_digits(judged)
    share = f"{100 * SHARE:g}{_SPACE}%"
    return [
        _Column("tau", "tau-b", "Kendall's tau-b with the label", width=112),
        _Column("rho", "rho", "Spearman's rho with the label"),
        _Column("ndcg", f"NDCG\n@{TOP}", f"gain of the {TOP} best-scored, discounted by rank"),
        _Column(
            "precision",
            f"in the\nbest {share}",
            f"share of the best {share} that it finds",
            True,
            2,
        ),
        _Column(
            "regret", f"regret\nof {TOP}", f"best label minus best of its top {TOP}", False, digits
        ),
        _Column(
            "improvement", "over\nluck, %", f"mean label of its top {TOP} over the mean", True, 1
        ),
        _Column("partial_tau", "tau given\nsize", "Kendall's partial tau, size controlled for"),
    ]


def _label_digits(judged: Judged) -> int:
    """Decimals that tell a thousandth of the labels' spread."""
    spread = float(np.ptp(judged.truth.to_numpy(dtype=np.float64)))
    return min(6, max(0, 3 - math.floor(math.log10(spread)))) if spread > 0 else 2


_GROUPS: tuple[tuple[str, tuple[str, ...], str], ...] = (
    ("Zero-cost proxies", ("proxy",), "no labels seen"),
    ("Size", ("size",), "what any proxy has to beat"),
    ("Bounds", ("random", "ceiling"), "pure luck, and what one more training of each would reach"),
    ("Rank aggregations", ("combination",), "no labels seen"),
    ("Using labels", ("learned",), "judged only on architectures whose labels were not seen"),
)


# --- Markdown -------------------------------------------------------------------------------------


def to_markdown(
    report: Report,
    *,
    date: str | None = None,
    machine: str | None = None,
) -> str:
    """A Markdown table per run, with intervals, and how each was made."""
    parts = []
    for run in report.runs:
        parts.append(f"## {_md(run.title)}\n")
        if run.judged is None:
            parts.append(f"Not judged: {_md(run.problem)}\n")
            continue
        parts.append(_markdown_table(run.judged))
        parts += [f"{_md(note)}\n" for note in run.judged.notes]
        made = [_sample_words(run), f"{report.resamples} resamples, seed {report.seed}"]
        made += [text for text in (date, machine, f"archrank {__version__}") if text]
        parts.append(f"95 % bootstrap intervals in brackets. {_md('; '.join(made))}.\n")
        parts.append("```sh\n" + "\n".join(_commands(run, report)) + "\n```\n")
    return "\n".join(parts)


def _markdown_table(judged: Judged) -> str:
    columns = _columns(judged)
    heads = ["score", *(c.heading.replace("\n", " ") for c in columns), "s/arch", "failed", "n"]
    lines = ["| " + " | ".join(heads) + " |", "|---|" + "---:|" * (len(heads) - 1)]
    for title, kinds, _ in _GROUPS:
        rows = [result for result in judged.results if result.kind in kinds]
        if rows:
            lines.append(f"| *{title}* |" + " |" * (len(heads) - 1))
        for result in rows:
            cells = [_md(result.name)]
            cells += [_with_interval(result.figures[c.name], c.digits) for c in columns]
            cells += [_seconds(result.seconds), str(result.failed), str(result.count)]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _with_interval(figure: Figure, digits: int) -> str:
    value = _number(figure.value, digits)
    if not math.isfinite(figure.low):
        return value
    return f"{value} [{_number(figure.low, digits)}, {_number(figure.high, digits)}]"


def _md(text: str) -> str:
    """Plain words in Markdown, also inside a table."""
    text = " ".join(escape(text, quote=False).split())
    return "".join(f"\\{letter}" if letter in "\\`*_[]|#" else letter for letter in text)


# --- HTML -----------------------------------------------------------------------------------------


def to_html(report: Report, *, date: str | None = None, machine: str | None = None) -> str:
    """The page: one HTML text that asks for no other file."""
    several = len(report.runs) > 1
    body = [_header(report, date, machine)]
    if several:
        body.append(_overview(report))
        body.append(_how_to_read())
    body += [_section(run, report, several) for run in report.runs]
    body.append(_footer(report))
    titles = ", ".join(dict.fromkeys(run.title for run in report.runs))
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>archrank: {escape(titles)}</title><style>{STYLE}</style></head>\n<body><main>\n"
        + "\n".join(body)
        + f"\n</main><script>{SCRIPT}</script></body></html>\n"
    )


def _header(report: Report, date: str | None, machine: str | None) -> str:
    judged = [run for run in report.runs if run.judged is not None]
    names = {v.name for run in judged if run.judged for v in run.judged.results if v.version}
    scores = "score" if len(names) == 1 else "scores"
    on = (
        escape(report.runs[0].title)
        if len(report.runs) == 1
        else f"{len(report.runs)} samples of measured architectures"
    )
    made = " · ".join(escape(text) for text in (date, machine) if text)
    parts = [
        f"<h1>{len(names)} training-free {scores} against measured accuracy: {on}</h1>",
        '<p class="lede">How well each way of scoring a network before training orders networks '
        f"whose trained accuracy is known.{f' {made}.' if made else ''}</p>",
    ]
    if len(report.runs) > 1:
        links = "".join(f'<a href="#run{r.number}">{escape(r.title)}</a>' for r in report.runs)
        parts.append(f"<nav>{links}</nav>")
    return "\n".join(parts)


def _how_to_read() -> str:
    share = f"{100 * SHARE:g}{_SPACE}%"
    texts = (
        "<b>tau-b</b> is the share of pairs put in the right order minus the share put in the "
        "wrong one: 1 is perfect, 0 is guessing. <b>rho</b> is the correlation of ranks.",
        f"<b>NDCG@{TOP}</b>, the best {share}, <b>regret</b> and <b>over luck</b> look at the "
        f"top alone. Regret is what training only the {TOP} best-scored loses against the best of "
        "the sample, in units of the label; NDCG takes labels scaled to 0 to 1, linearly.",
        "<b>tau given size</b> is what is left of tau-b once the number of parameters is "
        "controlled for. A score near zero here says no more than how large a network is.",
        "Dots are values, <b>lines 95 % bootstrap intervals</b>: all rows of a table are judged on "
        "the same resampled architectures. The gold tick is the number of parameters. Intervals "
        "that overlap a lot do not tell two rows apart.",
        "A score is the mean over its seeds, turned so that larger is better. Its figures are over "
        "the architectures it could score (n); <b>failures last</b> counts failing as the worst "
        "score, so that failing is no advantage.",
        "The <b>noise ceiling</b> takes one training of each network as its score. Nothing can be "
        "expected to do much better than a repetition of the measurement itself.",
    )
    return (
        "<h3>How to read this</h3><div class='read'>"
        + "".join(f"<p>{text}</p>" for text in texts)
        + "</div>"
    )


def _overview(report: Report) -> str:
    """Tau-b of every row in every run, and the mean rank over the runs."""
    runs = [run for run in report.runs if run.judged is not None]
    if len(runs) < 2:
        return ""
    taus: dict[str, list[float]] = {}
    kinds: dict[str, str] = {}
    for index, run in enumerate(runs):
        assert run.judged is not None
        for result in run.judged.results:
            row = taus.setdefault(result.name, [math.nan] * len(runs))
            row[index] = result.figures["tau"].value
            kinds[result.name] = result.kind
    unlabelled = {n: row for n, row in taus.items() if kinds[n] not in ("learned", "ceiling")}
    ranked = _mean_ranks(unlabelled)

    def row_of(name: str) -> str:
        rank = ranked.get(name, math.nan)
        cells = "".join(_heat_cell(tau) for tau in taus[name])
        shown = escape(name).replace("_", "_<wbr>")
        return (
            f'<tr><td data-v="{escape(name)}">{shown}</td>'
            f'<td data-v="{_data(rank)}">{_number(rank, 1)}</td>{cells}</tr>'
        )

    bodies = []
    for title, among, what in _GROUPS:
        names = [name for name in taus if kinds[name] in among]
        names.sort(key=lambda name: (ranked.get(name, -_mean(taus[name])), name))
        if names:
            bodies.append(_group(title, what, len(runs) + 2, "".join(map(row_of, names))))
    heads = _head("score", "name", up=True) + _head("mean rank", "over the runs it is in", up=True)
    heads += "".join(_head(run.title, f"tau-b in run {run.number}") for run in runs)
    return (
        "<h3>tau-b in every run</h3><p class='small'>Mean rank is among all that see no labels, "
        "over the runs that a score has a value in. Stronger colour is larger tau-b, the other hue "
        "is below zero.</p>"
        f'<div class="scroll"><table class="sort heat"><thead><tr>{heads}</tr></thead>'
        f"{''.join(bodies)}</table></div>"
    )


def _group(title: str, what: str, columns: int, rows: str) -> str:
    """Rows of one kind under their heading; they are sorted among themselves."""
    return (
        f'<tbody><tr class="group"><th colspan="{columns}">{escape(title)} '
        f"<span>{escape(what)}</span></th></tr>{rows}</tbody>"
    )


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if math.isfinite(value)]
    return sum(known) / len(known) if known else -math.inf


def _mean_ranks(taus: dict[str, list[float]]) -> dict[str, float]:
    """Name -> mean of its ranks (1 = best) over the runs it has a value in."""
    from scipy.stats import rankdata

    names = list(taus)
    table = np.array([taus[name] for name in names])
    ranks = np.full(table.shape, np.nan)
    for column in range(table.shape[1]):
        known = np.isfinite(table[:, column])
        ranks[known, column] = rankdata(-table[known, column])
    found = {}
    for name, row in zip(names, ranks, strict=True):
        known = row[np.isfinite(row)]
        if len(known):
            found[name] = float(known.mean())
    return found


def _heat_cell(tau: float) -> str:
    if not math.isfinite(tau):
        return f'<td class="none" data-v="">{_DASH}</td>'
    hue = "accent" if tau >= 0 else "warm"
    return (
        f'<td class="t" data-v="{_data(tau)}" style="--t:{abs(tau):.3f};--hue:var(--{hue})">'
        f"{_number(tau, 2)}</td>"
    )


def _section(run: RunReport, report: Report, several: bool) -> str:
    parts = [f'<section id="run{run.number}">']
    if several:
        parts.append(f"<h2>{escape(run.title)}</h2>")
    parts.append(_facts(run))
    if run.judged is None:
        parts.append(f'<p class="warn">Not judged: {escape(run.problem)}</p></section>')
        return "\n".join(parts)
    judged = run.judged
    if run.facts.get("label", "trained") != "trained":
        parts.append(
            f'<p class="warn">The labels are {escape(run.facts["label"])}, not measured by '
            "training each network alone.</p>"
        )
    parts += [f'<p class="warn">{escape(note)}</p>' for note in judged.notes]
    if not several:
        parts.append(_how_to_read())
    parts.append("<h3>All scores</h3>" + _main_table(judged))
    parts.append(_scatters(run, judged))
    parts.append(_cost(judged))
    heat = pictures.agreement(judged.agreement)
    if heat:
        parts.append(
            "<h3>Which scores say the same</h3><figure><div class='scroll fixed'>"
            f"{heat}</div><figcaption>Kendall's tau-b between any two scores, those that agree "
            "beside one another. A dark block is one opinion told several times.</figcaption>"
            "</figure>"
        )
    parts.append(_greedy(judged))
    parts.append(_failures(judged))
    commands = "\n".join(_commands(run, report))
    parts.append(f"<h3>To repeat this</h3><pre>{escape(commands)}</pre></section>")
    return "\n".join(part for part in parts if part)


def _facts(run: RunReport) -> str:
    settings, facts = run.settings, run.facts
    label = facts.get("label", "")
    epochs = f", {facts['epochs']} epochs" if facts.get("epochs") else ""
    shown = [
        ("Space", str(settings.get("space", ""))),
        ("Table", facts.get("title") or str(settings.get("table", ""))),
        ("Task", str(settings.get("task", ""))),
        ("Label", f"{facts.get('metric', '')}; {label}{epochs}" if facts else ""),
        ("Architectures", _sample_words(run)),
        ("Scoring seeds", str(_seeds(run)) if run.judged else ""),
        ("Batch", _batch_words(run)),
    ]
    if run.ceiling:
        between, to_mean = run.ceiling["between"], run.ceiling["to_mean"]
        shown.append(
            (
                "Noise ceiling (whole table)",
                f"{between:.3f} between two trainings, {to_mean:.3f} of one with the mean of "
                f"{run.ceiling['seeds']:.0f}",
            )
        )
    shown.append(("Licence of the labels", facts.get("licence", "")))
    items = "".join(
        f"<div><dt>{escape(key)}</dt><dd>{escape(value)}</dd></div>"
        for key, value in shown
        if value
    )
    more = [facts.get("notes", ""), *facts.get("provenance", "").splitlines()]
    lines = "".join(f"<li>{escape(line)}</li>" for line in more if line)
    details = (
        f"<details><summary>Where the labels come from</summary><ul class='plain'>{lines}</ul>"
        "</details>"
        if lines
        else ""
    )
    return f'<dl class="facts">{items}</dl>{details}'


def _sample_words(run: RunReport) -> str:
    asked, seed = run.settings.get("sample"), run.settings.get("sample_seed")
    judged = len(run.judged.truth) if run.judged is not None else 0
    count = f"{judged} of {run.sampled}" if judged != run.sampled else f"{run.sampled}"
    return f"{count}, all with a label" if asked is None else f"{count}, drawn with seed {seed}"


def _batch_words(run: RunReport) -> str:
    settings = run.settings
    if "batch" not in settings:
        return ""
    size = settings.get("resolution")
    return f"{settings['batch']} samples, {settings.get('data')}" + (
        "" if size is None else f", {size} pixels"
    )


def _seeds(run: RunReport) -> int:
    assert run.judged is not None
    return max((v.seeds for v in run.judged.results if v.version is not None), default=1)


# --- the main table -------------------------------------------------------------------------------


def _main_table(judged: Judged) -> str:
    columns = _columns(judged)
    scales = {
        column.name: pictures.spanning(
            [result.figures[column.name] for result in judged.results], column.width
        )
        for column in columns
    }
    params = next((v.figures for v in judged.results if v.name == "params"), {})
    best = {column.name: _best(judged, column) for column in columns}
    spread = any(math.isfinite(v.seed_spread) for v in judged.results)
    failing = any(v.failed or v.waiting for v in judged.results)
    heads = _head("score", "name", up=True)
    for column in columns:
        axis = pictures.axis(scales["tau"]) if column.name == "tau" else ""
        heads += _head(column.heading, column.meaning, up=not column.largest, beside=axis)
    heads += _head("tau minus\nparams", "difference of the tau-b, on the same architectures")
    if spread:
        heads += _head(
            "spread\nof seeds", "standard deviation of tau-b over scoring seeds", up=True
        )
        heads += _head("between\nseeds", "mean tau-b between two scoring seeds")
    heads += _head("time", "median seconds per architecture", up=True)
    heads += _head("memory", "median peak memory per architecture", up=True)
    if failing:
        heads += _head("failures\nlast", "tau-b with failures ranked last")
        heads += _head("failed", "architectures without a value")
    heads += _head("n", "architectures that the figures are over")

    def row(result: Result) -> str:
        name = escape(result.name)
        note = f' title="{escape(result.note)}"' if result.note else ""
        # Long names may be broken at their underscores where there is little room.
        cells = [f'<td data-v="{name}"{note}>{name.replace("_", "_<wbr>")}</td>']
        for column in columns:
            figure = result.figures[column.name]
            reference = params.get(column.name)
            mark = pictures.interval(
                figure,
                scales[column.name],
                None if reference is None else reference.value,
                small=column.name != "tau",
            )
            winner = result.name == best[column.name]
            words = _interval_words(figure, column.digits)
            cells.append(_cell(figure.value, column.digits, mark, winner, words))
        over = result.figures.get("over_params", Figure(math.nan))
        cells.append(_cell(over.value, 3, "", False, _interval_words(over), signed=True))
        if spread:
            cells.append(_cell(result.seed_spread, 3))
            cells.append(_cell(result.between_seeds, 2))
        cells.append(_written(result.seconds, _seconds))
        cells.append(_written(result.memory, _memory))
        if failing:
            last = result.figures.get("tau_failed_last", Figure(math.nan))
            cells.append(_cell(last.value, 3, "", False, _interval_words(last)))
            waiting = f" +{result.waiting} not tried" if result.waiting else ""
            failed = f"{result.failed}" if result.failed else _DASH
            cells.append(f'<td data-v="{result.failed}">{failed}{waiting}</td>')
        cells.append(f'<td data-v="{result.count}">{result.count}</td>')
        return f'<tr class="{result.kind}">{"".join(cells)}</tr>'

    bodies = []
    for title, kinds, what in _GROUPS:
        rows = [row(result) for result in judged.results if result.kind in kinds]
        if rows:
            bodies.append(_group(title, what, heads.count("<th"), "".join(rows)))
    notes = "".join(
        f"<li><b>{escape(v.name)}</b>: {escape(v.note)}</li>" for v in judged.results if v.note
    )
    return (
        "<p class='small'>A heading sorts its column. The dot marks the best proxy of a column. "
        "Intervals in figures: rest on a number.</p>"
        f'<div class="scroll"><table class="sort"><thead><tr>{heads}</tr></thead>'
        f"{''.join(bodies)}</table></div>"
        f"<details><summary>What the rows below the proxies are</summary>"
        f"<ul class='plain'>{notes}</ul></details>"
    )


def _best(judged: Judged, column: _Column) -> str | None:
    """The proxy or size with the best value of a column."""
    sign = 1.0 if column.largest else -1.0
    found = [
        (sign * result.figures[column.name].value, result.name)
        for result in judged.results
        if result.kind in ("proxy", "size")
        and math.isfinite(result.figures[column.name].value)
        and result.count > len(judged.truth) / 2
    ]
    return max(found, key=lambda pair: pair[0])[1] if found else None


def _head(text: str, meaning: str, up: bool = False, beside: str = "") -> str:
    """A heading that sorts; ``up`` if the smallest is to come first."""
    first = "up" if up else "down"
    button = f'<button type="button" title="{escape(meaning)}">{escape(text)}</button>'
    content = f'<span class="cell">{beside}{button}</span>' if beside else button
    return f'<th scope="col" data-first="{first}">{content}</th>'


def _cell(
    value: float,
    digits: int,
    mark: str = "",
    best: bool = False,
    words: str = "",
    signed: bool = False,
) -> str:
    kind = "best" if best else ("" if math.isfinite(value) else "none")
    attributes = f' class="{kind}"' if kind else ""
    attributes += f' title="{escape(words)}"' if words else ""
    text = _number(value, digits)
    if signed and value > 0:
        text = f"+{text}"
    content = f'<span class="cell">{mark}<span>{text}</span></span>' if mark else text
    return f'<td data-v="{_data(value)}"{attributes}>{content}</td>'


def _written(value: float, write: Callable[[float], str]) -> str:
    kind = "" if math.isfinite(value) else ' class="none"'
    return f'<td data-v="{_data(value)}"{kind}>{write(value)}</td>'


def _interval_words(figure: Figure, digits: int = 3) -> str:
    if not math.isfinite(figure.low):
        return ""
    return f"95 %: {_number(figure.low, digits)} to {_number(figure.high, digits)}"


# --- the pictures ---------------------------------------------------------------------------------


def _scatters(run: RunReport, judged: Judged) -> str:
    proxies = [v for v in judged.results if v.kind == "proxy" and _finite(v)][:_SCATTERS]
    sizes = [v for v in judged.results if v.kind == "size" and _finite(v)]
    direction = -1.0 if run.facts.get("better") == "lower" else 1.0
    truth = np.array(judged.truth, dtype=np.float64)

    def plot(result: Result) -> str:
        score = np.array(judged.scores[result.name], dtype=np.float64)
        caption = f"tau-b {_number(result.figures['tau'].value, 3)}"
        picture = pictures.scatter(score, truth, direction, result.name, caption)
        return f'<div class="{"base" if result.kind == "size" else ""}">{picture}</div>'

    plots = "".join(plot(result) for result in (*proxies, *sizes))
    if not plots:
        return ""
    metric = escape(run.facts.get("metric", "label"))
    return (
        "<h3>The best proxies, and size, architecture by architecture</h3>"
        f"<p class='small'>Across: rank by score. Up: {metric}.</p><div class='many'>{plots}</div>"
    )


def _cost(judged: Judged) -> str:
    points = [
        (v.name, v.kind, v.seconds, v.figures["tau"].value)
        for v in judged.results
        if v.kind in ("proxy", "size", "combination")
    ]
    names = {"ceiling": "noise ceiling"}
    reference = {names[v.kind]: v.figures["tau"].value for v in judged.results if v.kind in names}
    picture = pictures.cost_against_quality(points, reference)
    if not picture:
        return ""
    return (
        "<h3>Cost against quality</h3><figure><div class='scroll wide'>"
        f"{picture}</div><figcaption>tau-b against the time of one architecture. The line joins "
        "what is best for its time; rings are rank aggregations, at the cost of all their "
        "members. Scores asked for together share passes, so their times depend on their company."
        "</figcaption></figure>"
    )


def _finite(result: Result) -> bool:
    return math.isfinite(result.figures["tau"].value)


# --- the small tables -----------------------------------------------------------------------------


def _greedy(judged: Judged) -> str:
    found = judged.greedy
    if found is None:
        return ""
    folds = ", ".join(_number(tau, 3) for tau in found.folds)
    chosen = ", ".join(f"{escape(n)} ({c})" for n, c in found.chosen.items())
    low, high = _number(found.held_out.low, 3), _number(found.held_out.high, 3)
    return (
        "<h3>A greedy choice of proxies</h3><p>Chosen on all folds but one, judged on that one: "
        f"mean held-out tau-b <b>{_number(found.held_out.value, 3)}</b> ({low} to {high}); by fold "
        f"{folds}.</p><p class='small'>Chosen in how many of the {len(found.folds)} folds: "
        f"{chosen}.</p>"
    )


def _failures(judged: Judged) -> str:
    if not judged.failures:
        return "<h3>Failures</h3><p>None: every score has a value on every architecture.</p>"
    rows = "".join(
        f'<tr><td data-v="{escape(f.proxy)}">{escape(f.proxy)}</td>'
        f'<td data-v="{f.count}">{f.count}</td>'
        f'<td class="text" data-v="{escape(f.status)}">{escape(f.status)}: {escape(f.reason)}</td>'
        "</tr>"
        for f in judged.failures
    )
    return (
        "<h3>Failures</h3><p class='small'>Architectures on which a score has no value under at "
        "least one seed, by reason.</p><div class='scroll'><table><thead><tr><th>score</th>"
        "<th>architectures</th><th style='text-align:left'>why</th></tr></thead>"
        f"<tbody>{rows}</tbody></table></div>"
    )


# --- words ----------------------------------------------------------------------------------------


def _commands(run: RunReport, report: Report) -> list[str]:
    settings = run.settings
    words = ["archrank", "benchmark", "--space", str(settings.get("space", ""))]
    if run.judged is not None:
        names = [v.name for v in run.judged.results if v.version is not None]
        words += ["--proxies", ",".join(sorted(names)), "--seeds", str(_seeds(run))]
    for key in ("task", "table", "sample", "sample_seed", "batch", "data", "resolution"):
        if settings.get(key) is not None:
            words += [f"--{key.replace('_', '-')}", str(settings[key])]
    words += ["--store", _STORE]
    numbers = ["--seed", str(report.seed), "--resamples", str(report.resamples)]
    return [shlex.join(words), shlex.join(["archrank", "report", _STORE, *numbers])]


def _footer(report: Report) -> str:
    return (
        f'<footer class="small">archrank {escape(__version__)}; {report.resamples} bootstrap '
        f"resamples, seed {report.seed}. This page needs no network.</footer>"
    )


def _number(value: float, digits: int) -> str:
    if not math.isfinite(value):
        return _DASH
    text = f"{value:.{digits}f}"
    if float(text) == 0:
        text = text.lstrip("-")
    return text.replace("-", _MINUS)


def _data(value: float) -> str:
    return f"{value:.6g}" if math.isfinite(value) else ""


def _seconds(value: float) -> str:
    return _in_units(value, ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")))


def _memory(value: float) -> str:
    return _in_units(value, ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1.0, "B")))


def _in_units(value: float, units: Sequence[tuple[float, str]]) -> str:
    if not math.isfinite(value):
        return _DASH
    size, unit = next((one for one in units if value >= one[0]), units[-1])
    amount = value / size
    digits = 0 if amount >= 100 or amount == 0 else 1 if amount >= 10 else 2
    return f"{amount:.{digits}f} {unit}"
