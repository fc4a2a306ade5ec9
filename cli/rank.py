"""The command ``archrank rank``: parses, calls, prints; no logic."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .console import (
    amounts,
    check_picture,
    check_writable,
    errors,
    kept_in,
    progress,
    results_only,
    say,
    shape_of,
    write_file,
)
from .options import SPEC_HELP, AsJson, Batch, Data, Device, Input, LossName, Seed

if TYPE_CHECKING:
    from ..ranking.table import Ranking


def rank(
    specs: Annotated[list[str], typer.Argument(help=SPEC_HELP)],
    input_: Input = None,
    data: Data = None,
    loss: LossName = None,
    by: Annotated[
        str,
        typer.Option(
            help="auto, proxies with commas, a|b (a controlled for b), or a saved predictor."
        ),
    ] = "auto",
    combine: Annotated[
        str, typer.Option(help="How several become one score: mean_rank, log_rank or vote.")
    ] = "mean_rank",
    seeds: Annotated[
        int, typer.Option(min=1, help="Initialisations of each candidate, averaged.")
    ] = 1,
    seed: Seed = 0,
    device: Device = "auto",
    jobs: Annotated[
        int, typer.Option(min=1, help="Number of processes that share the candidates.")
    ] = 1,
    batch: Batch = 64,
    max_params: Annotated[
        str | None, typer.Option(help="Most parameters, as 5M; candidates beyond are left out.")
    ] = (None),
    max_flops: Annotated[
        str | None, typer.Option(help="Most multiply-adds of one sample, as 300M.")
    ] = None,
    max_memory: Annotated[
        str | None, typer.Option(help="Most memory of one sample's forward, in MB.")
    ] = None,
    max_latency: Annotated[
        str | None, typer.Option(help="Longest forward of one sample, in ms.")
    ] = None,
    latency_by: Annotated[
        Path | None,
        typer.Option(help="Folder of a cost predictor that says latency; default measured here."),
    ] = None,
    front: Annotated[
        str | None,
        typer.Option(help="Show the Pareto front of score and params, flops, memory or latency."),
    ] = None,
    store: Annotated[
        Path | None, typer.Option(help="Keep scores in this file, and go on with what it holds.")
    ] = None,
    engine: Annotated[
        str, typer.Option(help="Where to score: local, or ray for a Ray cluster.")
    ] = "local",
    address: Annotated[
        str | None, typer.Option(help="Address of the Ray cluster; default one on this machine.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write the table to this file as CSV.")] = None,
    plot: Annotated[
        Path | None,
        typer.Option(help="Write a picture (png, svg, pdf); with --front, one of the front."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Order candidates, best first. Exit code 1 if one could not be ranked, 2 on wrong usage."""
    with errors():
        shape = shape_of(input_)
        limits = amounts(params=max_params, flops=max_flops, memory=max_memory, latency=max_latency)
        check_writable("--out", out)
        check_writable("--plot", plot)
        check_picture("--plot", plot)
        from ..ranking import order
        from ..scoring.sources import DataSource

        with kept_in(store), progress() as report, results_only():
            result = order.rank(
                specs,
                shape if data is None else DataSource(data, shape),
                by=by,
                loss=loss,
                combine=combine,  # type: ignore[arg-type]  # it is checked there
                seeds=seeds,
                seed=seed,
                device=device,
                jobs=jobs,
                batch_size=batch,
                limits=limits,
                costs=() if front is None else (front,),
                latency=latency_by,
                store=store,
                engine=engine,  # type: ignore[arg-type]  # it is checked there
                address=address,
                progress=report,
            )
        if result.latency:
            say(f"latency: {result.latency}")
        if as_json:
            print(result.to_json(front))
        else:
            _show(result)
            if front is not None:
                names = ", ".join(result.front(front)["name"])
                print(f"front of score and {front}, cheapest first: {names}")
        if out is not None:
            write_file("--out", out, result.to_csv)
        if plot is not None:
            picture = result.plot if front is None else partial(result.plot_front, front)
            write_file("--plot", plot, picture)
    # What a single proxy cannot say is told of above, and is no failure of the run.
    failed = int(result.table["rank"].isna().sum())
    if failed:
        say(f"{failed} of {len(result)} candidates could not be ranked")
        raise typer.Exit(1)


def _show(result: Ranking) -> None:
    """Print the summary of a ranking.

    It is folded to the width of a terminal; elsewhere each candidate has one line, however long
    its name.
    """
    from rich.console import Console
    from rich.table import Table

    from ..ranking.summary import notes, summarise

    summary = summarise(result)
    table = Table(box=None, header_style="bold", pad_edge=False, collapse_padding=True)
    for name in summary.columns:
        is_name = name == "name"
        table.add_column(name, justify="left" if is_name else "right", overflow="fold")
    for row in summary.itertuples(index=False):
        table.add_row(*row)
    width = None if sys.stdout.isatty() else sys.maxsize
    console = Console(width=width, markup=False, emoji=False, highlight=False)
    console.print(table)
    for line in notes(result):
        console.print(line)
