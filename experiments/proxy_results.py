"""Result pages of the stores that ``run_benchmark.py`` filled.

Run from the repository: ``ARCHRANK_DATA=FOLDER python experiments/proxy_results.py``. It measures
nothing. For each store it writes ``experiments/results/NAME.md`` with every figure, and for all of
them ``experiments/results/benchmark.md``: tau of the scores that matter in every space, and ours
beside published figures.
"""

from __future__ import annotations

import argparse
import datetime
import math
import platform
from pathlib import Path

import pandas as pd
import torch
from published_proxy_figures import FIGURES, REASONS

from archrank.benchmark.judging import judge
from archrank.benchmark.report import to_markdown
from archrank.benchmark.results import Report, Result, RunReport
from archrank.data import table
from archrank.metrics import kendall
from archrank.scoring.table_runs import Settings

FOLDER = Path(__file__).parent / "results"
OVERVIEW = (
    *("params", "flops", "activations", "auto", "az_nas", "te_nas", "vote"),
    *("gradsign", "synflow", "logsynflow", "naswot", "zico", "near", "meco", "zen"),
    *("az_expressivity", "jacob_cov", "snip", "grad_norm"),
)
CLOSE = 0.05
OUR_NAMES = {"nwot": "naswot", "jacov": "jacob_cov"}
ENOUGH = 20


def machine() -> str:
    """Processor, threads and torch, as the figures' machine."""
    return f"{platform.processor() or platform.machine()}, 2 cores, torch {torch.__version__}"


def with_interval(result: Result, name: str) -> str:
    """A figure and its interval."""
    figure = result.figures[name]
    if not math.isfinite(figure.value):
        return "-"
    return f"{figure.value:.3f} [{figure.low:.2f}, {figure.high:.2f}]"


def rows_of(run: RunReport) -> dict[str, Result]:
    """The rows of a judged run by name."""
    return {} if run.judged is None else {result.name: result for result in run.judged.results}


def overview(reports: dict[str, Report]) -> list[str]:
    """One line per score, one column per space and task: tau with interval."""
    runs = [run for report in reports.values() for run in report.runs if "params" in rows_of(run)]
    titles = [f"{run.title} (n={run.judged.truth.size})" for run in runs if run.judged]
    lines = [
        "| score | " + " | ".join(titles) + " |",
        "|---|" + "---|" * len(runs),
    ]
    for name in OVERVIEW:
        cells = []
        for run in runs:
            result = rows_of(run).get(name)
            cells.append("-" if result is None else with_interval(result, "tau"))
        lines.append(f"| `{name}` | " + " | ".join(cells) + " |")
    lines.append(
        "| noise ceiling | "
        + " | ".join(f"{run.ceiling['to_mean']:.3f}" if run.ceiling else "-" for run in runs)
        + " |"
    )
    return lines


def beside_published(reports: dict[str, Report]) -> list[str]:
    """Ours and theirs, with the reason where they differ by more than .05."""
    lines = [
        "| space, task | proxy | figure | ours | published | difference | source | why |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for report in reports.values():
        for run in report.runs:
            space, task = str(run.settings["space"]), str(run.settings["task"])
            rows = rows_of(run)
            for proxy, published in FIGURES.get((space, task), {}).items():
                if proxy not in rows:
                    continue
                for metric, value, source in published:
                    figure = rows[proxy].figures["tau" if metric == "tau" else "rho"]
                    difference = figure.value - value
                    inside = figure.low <= value <= figure.high
                    if abs(difference) <= CLOSE:
                        why = ""
                    elif inside:
                        why = "within the interval"
                    else:
                        why = REASONS.get((space, proxy), "not found yet")
                    lines.append(
                        f"| {space}, {task} | `{proxy}` | {metric} | "
                        f"{figure.value:.3f} [{figure.low:.2f}, {figure.high:.2f}] | {value:.3f} | "
                        f"{difference:+.3f} | {source} | {why} |"
                    )
    return lines


def same_architectures(reports: dict[str, Report]) -> list[str]:
    """Our scores beside those that NASLib's code gave the very same architectures."""
    lines = [
        "| space, task | proxy | architectures | ours, tau | NASLib's, tau | between them, tau |",
        "|---|---|---|---|---|---|",
    ]
    for report in reports.values():
        for run in report.runs:
            if run.judged is None:
                continue
            settings = Settings(**run.settings)
            theirs = table(settings.table).proxies
            for column in theirs.columns:
                task, _, name = column.partition("/")
                ours = run.judged.scores.get(OUR_NAMES.get(name, name))
                if task != settings.task or ours is None:
                    continue
                both = pd.DataFrame({"ours": ours, "theirs": theirs[column].reindex(ours.index)})
                both = both.assign(truth=run.judged.truth).dropna()
                if len(both) >= ENOUGH:
                    taus = [
                        kendall(both[first].to_numpy(), both[second].to_numpy())
                        for first, second in (
                            ("ours", "truth"),
                            ("theirs", "truth"),
                            ("ours", "theirs"),
                        )
                    ]
                    cells = " | ".join(f"{tau:.3f}" for tau in taus)
                    lines.append(
                        f"| {settings.space}, {task} | `{OUR_NAMES.get(name, name)}` "
                        f"| {len(both)} | {cells} |"
                    )
    return lines


def main() -> None:
    """Write all pages."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--stores", type=Path, default=FOLDER / "stores")
    parser.add_argument("--out", type=Path, default=FOLDER)
    arguments = parser.parse_args()
    date = str(datetime.date.today())
    reports: dict[str, Report] = {}
    for path in sorted(arguments.stores.glob("*.sqlite")):
        report = judge(path, resamples=arguments.resamples)
        reports[path.stem] = report
        page = to_markdown(report, date=date, machine=machine())
        (arguments.out / f"{path.stem}.md").write_text(f"# Proxies on {path.stem}\n\n{page}")
        print(path.stem, flush=True)
    head = (
        f"`python experiments/run_benchmark.py`, then `python experiments/proxy_results.py`, "
        f"{date}. Machine: {machine()}. Samples: seed 0, random among the "
        "architectures of the table that have a label. 95 % bootstrap intervals over architectures "
        f"({arguments.resamples} resamples). Every figure of every proxy: "
        + ", ".join(f"[{name}]({name}.md)" for name in reports)
        + "."
    )
    text = [
        "# Proxies against measured accuracy",
        "",
        head,
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
        "",
    ]
    (arguments.out / "benchmark.md").write_text("\n".join(text))


if __name__ == "__main__":
    main()
