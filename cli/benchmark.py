"""The command ``archrank benchmark``: scores a sample of a measured space into a store."""

from __future__ import annotations

import json
import shlex
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .console import errors, kept_in, progress, results_only

if TYPE_CHECKING:
    from ..scoring.table_runs import Outcome


def benchmark(
    space: Annotated[
        str, typer.Option(help="Search space whose networks are scored: nasbench201, digits, ...")
    ],
    store: Annotated[
        Path, typer.Option(help="File that scores are kept in; made if it is not there.")
    ],
    task: Annotated[str | None, typer.Option(help="Task of the table; default its first.")] = None,
    table: Annotated[
        str | None, typer.Option(help="Table of the labels; default the space's own.")
    ] = None,
    proxies: Annotated[str, typer.Option(help="Proxies, separated by commas, or all.")] = "all",
    sample: Annotated[
        int | None,
        typer.Option(min=1, help="How many architectures; default all that have a label."),
    ] = None,
    sample_seed: Annotated[int, typer.Option(min=0, help="Seed of the draw of architectures.")] = 0,
    seeds: Annotated[
        int, typer.Option(min=1, help="How many initialisations and batches of each network.")
    ] = 1,
    batch: Annotated[int, typer.Option(min=1, help="Samples per batch.")] = 64,
    data: Annotated[
        str, typer.Option(help="Images to score on: random, cifar10, digits, ...")
    ] = "random",
    resolution: Annotated[
        int | None,
        typer.Option(min=1, help="Height and width of the images; default the networks' own."),
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Number of processes that share the work.")] = 1,
    device: Annotated[
        str, typer.Option(help="Device: auto (CUDA if there is one), cpu, cuda, cuda:1, ...")
    ] = "cpu",
    engine: Annotated[
        str, typer.Option(help="Where to score: local, or ray for every core of a Ray cluster.")
    ] = "local",
    address: Annotated[
        str | None, typer.Option(help="Address of the Ray cluster; default one on this machine.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Show no progress.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, and nothing else.")] = False,
) -> None:
    """Score a sample of architectures whose accuracy is known. Run it again to go on.

    Whatever ends it, what was finished is kept and not repeated. Proxies without a value for some
    network are listed, and are no failure: exit code 1 means that the store cannot be written, 2
    wrong usage.
    """
    with errors():
        from .. import benchmark as benchmarks

        with kept_in(store), nullcontext() if quiet else progress() as report, results_only():
            outcome = benchmarks.run(
                store,
                space,
                task,
                table=table,
                proxies=proxies,
                sample=sample,
                sample_seed=sample_seed,
                seeds=seeds,
                batch_size=batch,
                data=data,
                resolution=resolution,
                jobs=jobs,
                device=device,
                engine=engine,
                address=address,
                progress=report,
            )
    if as_json:
        print(json.dumps({"store": str(store), **asdict(outcome)}, indent=2))
    else:
        _show(outcome, store)


def _show(outcome: Outcome, store: Path) -> None:
    there = outcome.total - outcome.scored
    print(f"scored: {outcome.scored} (architecture, seed) pairs; {there} were there already")
    for failure in outcome.failures:
        print(f"no value: {failure.proxy}: {failure.count}, mostly: {_one_line(failure.reason)}")
    print(f"next: archrank report {shlex.quote(str(store))}")


def _one_line(reason: str) -> str:
    return " ".join(reason.split())
