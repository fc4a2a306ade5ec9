"""The command ``archrank rank``: parses, calls, prints; no logic."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import InputError
from .shared.amounts import amounts, megabytes, shape_of
from .shared.console import errors, progress, results_only, say
from .shared.interruption import STORE_KEEPS, kept_in
from .shared.options import (
    Address,
    AsJson,
    Batch,
    Combine,
    Data,
    Device,
    Engine,
    Input,
    Jobs,
    Level,
    LossName,
    OutTable,
    Quiet,
    Seed,
    Seeds,
    Specs,
)
from .shared.outputs import check_picture, check_writable, write_file
from .shared.tables import print_table

if TYPE_CHECKING:
    from ..ranking.table import Ranking


def rank(
    specs: Specs,
    input_: Input = None,
    data: Data = None,
    loss: LossName = None,
    by: Annotated[
        str,
        typer.Option(
            help="What to rank by: auto (the pretrained predictor), proxies separated by "
            "commas (archrank proxies lists them), the folder of a fitted predictor, or "
            "a|b for proxy a controlled for proxy b."
        ),
    ] = "auto",
    level: Annotated[
        Level,
        typer.Option(
            help="What the predictor may compute: graphs alone, so that no network is run, "
            "proxies of one forward pass (quick), or all proxies (full). By default it "
            "depends on the image size of each network."
        ),
    ] = "auto",
    budget: Annotated[
        float | None,
        typer.Option(
            help="The time in seconds. The level is the first of auto, quick and graphs whose "
            "estimated time fits."
        ),
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(help="The training recipe, as in the tags of timm's checkpoints: a1_in1k."),
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(
            help="Learn from trained candidates: a CSV file with their names and accuracies. Rows "
            "without an accuracy are left out."
        ),
    ] = None,
    column: Annotated[
        str | None,
        typer.Option(help="The column of --labels with the accuracies. By default the second."),
    ] = None,
    top: Annotated[
        int | None,
        typer.Option(min=1, help="List only this many candidates to train first, with reasons."),
    ] = None,
    combine: Annotated[
        Combine, typer.Option(help="How to combine several scores into one.")
    ] = "mean_rank",
    seeds: Seeds = 1,
    seed: Seed = 0,
    device: Device = "auto",
    jobs: Jobs = 1,
    batch: Batch = 64,
    max_params: Annotated[
        str | None, typer.Option(help="Leave out networks with more parameters, as in 5M.")
    ] = None,
    max_flops: Annotated[
        str | None, typer.Option(help="Leave out networks with more multiply-adds, as in 300M.")
    ] = None,
    max_memory: Annotated[
        str | None,
        typer.Option(help="Leave out networks whose forward pass needs more memory, as in 500MB."),
    ] = None,
    max_latency: Annotated[
        str | None, typer.Option(help="Leave out networks whose forward pass takes longer, in ms.")
    ] = None,
    max_train_memory: Annotated[
        str | None,
        typer.Option(
            help="Leave out networks whose training step with --batch samples needs more "
            "memory, as in 24GB."
        ),
    ] = None,
    device_speed: Annotated[
        str | None,
        typer.Option(
            help="Predict the latency on this device, as in rtx4090, or rtx4090@64 for a batch"
            " of 64; archrank costs --devices lists the devices."
        ),
    ] = None,
    confidence: Annotated[
        float,
        typer.Option(help="Leave out networks that meet --max-latency with a smaller probability."),
    ] = 0.5,
    latency_by: Annotated[
        Path | None,
        typer.Option(
            help="Predict the latency with this saved cost predictor instead of measuring it."
        ),
    ] = None,
    front: Annotated[
        str | None,
        typer.Option(
            help="List the Pareto front of the score and this cost: params, flops, memory or "
            "latency."
        ),
    ] = None,
    store: Annotated[
        Path | None,
        typer.Option(help="Keep scores in this file, and use the scores that it already holds."),
    ] = None,
    engine: Engine = "local",
    address: Address = None,
    out: OutTable = None,
    plot: Annotated[
        Path | None,
        typer.Option(
            help="Draw the ranking into this file (png, svg, pdf), or its front with --front."
        ),
    ] = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Order candidates, the most promising first.

    The exit code is 0 if every candidate is ranked, 1 if one could not be ranked, and 2 on wrong
    usage.
    """
    with errors(quiet), kept_in(store, "" if store else STORE_KEEPS):
        shape = shape_of(input_)
        limits = amounts(params=max_params, flops=max_flops, latency=max_latency)
        limits |= _memory(max_memory, max_train_memory)
        check_writable("--out", out)
        check_writable("--plot", plot)
        check_picture("--plot", plot)
        check_writable("--store", store)
        from ..ranking import order
        from ..scoring.named_data import DataSource

        with progress(quiet) as report, results_only():
            result = order.rank(
                specs,
                shape if data is None else DataSource(data, shape),
                by=by,
                loss=loss,
                level=level,
                budget=budget,
                recipe=recipe,
                measured=_measured(labels, column),
                combine=combine,
                seeds=seeds,
                seed=seed,
                device=device,
                jobs=jobs,
                batch_size=batch,
                limits=limits,
                costs=() if front is None else (front,),
                latency=latency_by,
                speed=device_speed,
                confidence=confidence,
                store=store,
                engine=engine,
                address=address,
                progress=report,
            )
        if result.latency:
            say(f"latency: {result.latency}")
        if as_json:
            print(result.to_json(front, top))
        else:
            _show(result, top)
            if top is not None and result.shortlist(top).empty:
                say("nothing is left to train: every candidate that is ranked has a label")
            if front is not None:
                names = ", ".join(result.front(front)["name"])
                print(f"front of score and {front}, cheapest first: {names}")
        if out is not None:
            write_file("--out", out, result.to_csv)
        if plot is not None:
            picture = result.plot if front is None else partial(result.plot_front, front)
            write_file("--plot", plot, picture)
    # A proxy without a value was named above; it is not a failure of the run.
    failed = int(result.table["rank"].isna().sum())
    if failed:
        say(f"{failed} of {len(result)} candidates could not be ranked")
        raise typer.Exit(1)


def _measured(labels: Path | None, column: str | None) -> Any:
    """Return the file of labels, or those of one of its columns by name."""
    if column is None:
        return labels
    if labels is None:
        raise InputError(f"--column: got {column!r} without --labels, whose column it is")
    import pandas as pd

    from ..predictors.label_files import read_labels

    names, values = read_labels(labels, column)
    return pd.Series(values, names)


def _memory(forward: str | None, training: str | None) -> dict[str, float]:
    """Return the limits of memory in MB, by the names of costs."""
    given = {
        "memory": megabytes("--max-memory", forward),
        "train_memory": megabytes("--max-train-memory", training),
    }
    return {cost: size for cost, size in given.items() if size is not None}


def _show(result: Ranking, top: int | None = None) -> None:
    """Print the summary of a ranking, or of those to train first."""
    from ..ranking.summary import notes, summarise, summarise_shortlist

    summary = summarise(result) if top is None else summarise_shortlist(result.shortlist(top))
    columns = {name: summary[name].tolist() for name in summary.columns}
    print_table(columns, ("name", "because"), notes(result, marked=top is None))
