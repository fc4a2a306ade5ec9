"""The command ``archrank fit``: parses, calls, prints; no logic."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .console import errors, make_room, progress, results_only, say, shape_of
from .options import Jobs

if TYPE_CHECKING:
    from ..predictors import Predictor


def fit(
    labels: Annotated[Path, typer.Option(help="CSV file: a column of architectures, then labels.")],
    out: Annotated[Path, typer.Option(help="Folder that the predictor is written to.")],
    space: Annotated[str | None, typer.Option(help="Search space of the architectures.")] = None,
    task: Annotated[str | None, typer.Option(help="Task that the networks are built for.")] = None,
    input_: Annotated[
        str | None, typer.Option("--input", help="Shape of one sample, as 3,32,32.")
    ] = None,
    proxies: Annotated[
        str,
        typer.Option(help="Proxies to learn from, with commas; auto keeps them where they help."),
    ] = "",
    column: Annotated[
        str | None, typer.Option(help="Name of the column of labels; default the second.")
    ] = (None),
    pretrained: Annotated[
        Path | None, typer.Option(help="Encoder from archrank pretrain, to train further.")
    ] = None,
    cost: Annotated[bool, typer.Option("--cost", help="Labels are costs: less is better.")] = False,
    like: Annotated[
        Path | None,
        typer.Option(help="Cost predictor of other devices, to learn a new device from."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of everything random.")] = 0,
    jobs: Jobs = 1,
    quiet: Annotated[bool, typer.Option("--quiet", help="Show no progress.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, and nothing else.")] = False,
) -> None:
    """Fit a predictor to labelled architectures. If it is stopped at scoring, run it again."""
    with errors():
        from ..costs.fitting import fit_costs
        from ..predictors.fitting import fit as fit_to_labels
        from ..proxies.registry import names_in

        wanted = tuple(names_in(proxies)) if proxies else ()
        kept = out.with_name(out.name + ".scores")
        make_room("--out", out)
        with nullcontext() if quiet else progress() as told, results_only():
            fitted: Predictor
            if cost or like is not None:
                fitted = fit_costs(labels, space, task, shape_of(input_), column, like)
            else:
                fitted = fit_to_labels(
                    labels,
                    space,
                    task,
                    shape_of(input_),
                    "auto" if wanted == ("auto",) else wanted,
                    column,
                    seed,
                    pretrained,
                    jobs,
                    kept,
                    told,
                )
        fitted.save(out)
        kept.unlink(missing_ok=True)
        report = getattr(fitted, "report_", {})
        if as_json:
            print(json.dumps({"labels": fitted.n_samples_, **report}, indent=2))
            return
        say(f"written: {out}")
        print(f"fitted to {fitted.n_samples_} labels")
        for name, weight in sorted(report.get("weights", {}).items(), key=lambda item: -item[1]):
            print(f"{weight:6.2f}  {name:28} tau {report['tau'][name]:.3f} in cross-validation")
        if report:
            print(f"  mean  {'of all':28} tau {report['tau of the mean']:.3f} in cross-validation")
