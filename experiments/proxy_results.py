"""Result pages of the stores that ``run_benchmark.py`` filled.

Run from the repository: ``ARCHRANK_DATA=FOLDER python experiments/proxy_results.py``. The script
measures nothing. For each store it writes ``experiments/results/NAME.md`` with every figure. For
all stores together it writes ``experiments/results/benchmark.md``: the tau of the scores that
matter in every space, and our figures beside published ones.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
from common import RESULTS, STORES, machine, made_by, markdown_table, parser, write_page
from published_proxy_figures import FIGURES, REASONS

from archrank.benchmark.judging import judge
from archrank.benchmark.report import to_markdown
from archrank.benchmark.results import Figure, Report, Result, RunReport
from archrank.data import table
from archrank.metrics import kendall
from archrank.scoring.table_runs import Settings

OVERVIEW = (
    *("params", "flops", "activations", "auto", "az_nas", "te_nas", "vote"),
    *("gradsign", "synflow", "logsynflow", "naswot", "zico", "near", "meco", "zen"),
    *("az_expressivity", "jacob_cov", "snip", "grad_norm"),
)
CLOSE = 0.05
OUR_NAMES = {"nwot": "naswot", "jacov": "jacob_cov"}
ENOUGH = 20


def with_interval(result: Result, name: str) -> str:
    """Write a figure and its interval."""
    figure = result.figures[name]
    if not math.isfinite(figure.value):
        return "-"
    return f"{figure.value:.3f} [{figure.low:.2f}, {figure.high:.2f}]"


def rows_of(run: RunReport) -> dict[str, Result]:
    """Return the rows of a judged run by name."""
    return {} if run.judged is None else {result.name: result for result in run.judged.results}


def overview(reports: dict[str, Report]) -> list[str]:
    """Tabulate one row per score, one column per space and task: tau with interval."""
    runs = [run for report in reports.values() for run in report.runs if "params" in rows_of(run)]
    titles = [f"{run.title} (n={run.judged.truth.size})" for run in runs if run.judged]
    rows = []
    for name in OVERVIEW:
        results = [rows_of(run).get(name) for run in runs]
        cells = ["-" if result is None else with_interval(result, "tau") for result in results]
        rows.append([f"`{name}`", *cells])
    ceilings = [f"{run.ceiling['to_mean']:.3f}" if run.ceiling else "-" for run in runs]
    return markdown_table(("score", *titles), [*rows, ["noise ceiling", *ceilings]])


def beside_published(reports: dict[str, Report]) -> list[str]:
    """Tabulate ours and theirs, with the reason where they differ by more than .05."""
    rows = []
    for run in runs_of(reports):
        where = str(run.settings["space"]), str(run.settings["task"])
        ours = rows_of(run)
        for proxy, published in FIGURES.get(where, {}).items():
            for metric, value, source in published if proxy in ours else ():
                name = "tau" if metric == "tau" else "rho"
                figure = ours[proxy].figures[name]
                rows.append(
                    [
                        ", ".join(where),
                        f"`{proxy}`",
                        metric,
                        with_interval(ours[proxy], name),
                        f"{value:.3f}",
                        f"{figure.value - value:+.3f}",
                        source,
                        reason(where[0], proxy, figure, value),
                    ]
                )
    headings = (
        *("space, task", "proxy", "figure", "ours", "published", "difference", "source"),
        "why",
    )
    return markdown_table(headings, rows)


def runs_of(reports: dict[str, Report]) -> Iterator[RunReport]:
    """Yield the runs of all stores."""
    for report in reports.values():
        yield from report.runs


def reason(space: str, proxy: str, figure: Figure, published: float) -> str:
    """Say why ours is not theirs, where it is not."""
    if abs(figure.value - published) <= CLOSE:
        return ""
    if figure.low <= published <= figure.high:
        return "within the interval"
    return REASONS.get((space, proxy), "not found yet")


def same_architectures(reports: dict[str, Report]) -> list[str]:
    """Tabulate our scores beside those that NASLib's code gave the very same architectures."""
    rows = []
    for run in runs_of(reports):
        if run.judged is None:
            continue
        settings = Settings(**run.settings)
        theirs = table(settings.table).proxies
        for column in theirs.columns:
            task, _, name = column.partition("/")
            proxy = OUR_NAMES.get(name, name)
            ours = run.judged.scores.get(proxy)
            if task != settings.task or ours is None:
                continue
            both = pd.DataFrame({"ours": ours, "theirs": theirs[column].reindex(ours.index)})
            both = both.assign(truth=run.judged.truth).dropna()
            if len(both) >= ENOUGH:
                pairs = (("ours", "truth"), ("theirs", "truth"), ("ours", "theirs"))
                taus = [kendall(both[a].to_numpy(), both[b].to_numpy()) for a, b in pairs]
                cells = [f"{tau:.3f}" for tau in taus]
                rows.append([f"{settings.space}, {task}", f"`{proxy}`", len(both), *cells])
    headings = (
        *("space, task", "proxy", "architectures", "ours, tau", "NASLib's, tau"),
        "between them, tau",
    )
    return markdown_table(headings, rows)


def main() -> None:
    """Write all pages."""
    options = parser(__doc__)
    options.add_argument("--resamples", type=int, default=1000)
    options.add_argument("--stores", type=Path, default=STORES)
    options.add_argument("--out", type=Path, default=RESULTS)
    arguments = options.parse_args()
    date = str(datetime.date.today())
    reports: dict[str, Report] = {}
    for path in sorted(arguments.stores.glob("*.sqlite")):
        report = judge(path, resamples=arguments.resamples)
        reports[path.stem] = report
        page = to_markdown(report, date=date, machine=machine())
        write_page(arguments.out / f"{path.stem}.md", [f"# Proxies on {path.stem}", "", page])
        print(path.stem, flush=True)
    made = made_by("run_benchmark.py", "python experiments/proxy_results.py")
    pages = ", ".join(f"[{name}]({name}.md)" for name in reports)
    lines = [
        "# Proxies against measured accuracy",
        "",
        f"{made} Samples: seed 0, random among the architectures of the table that have a label. "
        f"95 % bootstrap intervals over architectures ({arguments.resamples} resamples). Every "
        f"figure of every proxy: {pages}.",
        "",
        "TransNAS-Bench-101 trains on images of 256x256; networks are scored on 64x64 here. "
        "Labels of NAS-Bench-301 are a surrogate's predictions.",
        "",
        "## Kendall's tau-b",
        "",
        *overview(reports),
        "",
        "## Beside published figures",
        "",
        *beside_published(reports),
        "",
        "## The same architectures, scored by NASLib",
        "",
        "NB-Suite-Zero holds scores that NASLib's code computed, on its own batch and "
        "initialisation. Architectures of our sample that both have a value for.",
        "",
        *same_architectures(reports),
    ]
    write_page(arguments.out / "benchmark.md", lines)


if __name__ == "__main__":
    main()
