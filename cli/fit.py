"""The command ``archrank fit``: parses, calls, prints; no logic."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .shared.amounts import shape_of
from .shared.console import errors, progress, results_only, say
from .shared.interruption import kept_in
from .shared.options import AsJson, Input, Jobs, Quiet, Seed, Task
from .shared.outputs import make_room

if TYPE_CHECKING:
    from ..predictors import Predictor


def fit(
    labels: Annotated[
        Path,
        typer.Option(
            help="A CSV file with architectures in the first column, and labels in another."
        ),
    ],
    out: Annotated[Path, typer.Option(help="The folder to write the predictor to.")],
    space: Annotated[
        str | None,
        typer.Option(
            help="The space of the architecture strings in the first column. By default the "
            "column holds models."
        ),
    ] = None,
    task: Task = None,
    input_: Input = None,
    proxies: Annotated[
        str,
        typer.Option(
            "--proxies", "--by", help="Also learn from these proxies, or from auto, if they help."
        ),
    ] = "",
    column: Annotated[
        str | None, typer.Option(help="The column with the labels. By default it is the second.")
    ] = None,
    pretrained: Annotated[
        Path | None, typer.Option(help="Train this encoder further; archrank pretrain made it.")
    ] = None,
    cost: Annotated[
        bool, typer.Option("--cost", help="Treat the labels as costs: lower is better.")
    ] = False,
    like: Annotated[
        Path | None,
        typer.Option(
            help="Learn a new device, starting from this cost predictor of other devices."
        ),
    ] = None,
    portable: Annotated[
        bool,
        typer.Option(
            help="Learn from graphs alone, so that any network can be ranked; otherwise also "
            "learn from the codes of --space, which is more accurate for its own "
            "networks."
        ),
    ] = True,
    seed: Seed = 0,
    jobs: Jobs = 1,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Fit a predictor to labelled architectures.

    Finished proxy scores are kept. If the command stops, run it again to continue.
    """
    kept = out.with_name(out.name + ".scores")
    with errors(quiet), kept_in(kept):
        from ..costs.predictor import fit_costs
        from ..predictors.fitting import fit as fit_to_labels
        from ..proxies.registry import names_in

        wanted = tuple(names_in(proxies)) if proxies else ()
        make_room("--out", out)
        with progress(quiet) as told, results_only():
            fitted: Predictor
            if cost or like is not None:
                shape = shape_of(input_)
                fitted = fit_costs(labels, space, task, shape, column, like, portable)
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
                    portable,
                )
        fitted.save(out)
        kept.unlink(missing_ok=True)
        report = getattr(fitted, "report_", {})
        if as_json:
            print(json.dumps({"labels": fitted.n_samples_, **report}, indent=2))
            return
        say(f"written: {out}")
        print(f"fitted to {fitted.n_samples_} labels")
        if not report:
            return
        weights = sorted(report["weights"].items(), key=lambda item: -item[1])
        width = max(len(name) for name, _ in weights)
        for name, weight in weights:
            tau = report["tau"][name]
            print(f"{weight:6.2f}  {name:{width}}  tau {tau:.3f} in cross-validation")
        tau = report["tau of the mean"]
        print(f"  mean  {'of all':{width}}  tau {tau:.3f} in cross-validation")
