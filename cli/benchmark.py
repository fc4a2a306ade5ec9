"""The command ``archrank benchmark``: scores a sample of a measured space into a store."""

from __future__ import annotations

import json
import shlex
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .shared.console import errors, progress, results_only
from .shared.interruption import kept_in
from .shared.options import Address, AsJson, Batch, Device, Engine, Jobs, Quiet, Seeds, Task
from .shared.outputs import check_writable

if TYPE_CHECKING:
    from ..scoring.table_runs import Outcome


def benchmark(
    space: Annotated[
        str, typer.Option(help="The space whose networks are scored, as nasbench201 or digits.")
    ],
    store: Annotated[
        Path,
        typer.Option(help="The file that keeps the scores; it is created if it does not exist."),
    ],
    task: Task = None,
    table: Annotated[
        str | None,
        typer.Option(help="The table with the labels. By default it is that of the space."),
    ] = None,
    proxies: Annotated[
        str, typer.Option("--proxies", "--by", help="The proxies, separated by commas.")
    ] = "all",
    sample: Annotated[
        int | None,
        typer.Option(min=1, help="The number of architectures. By default all that have a label."),
    ] = None,
    sample_seed: Annotated[int, typer.Option(min=0, help="The seed of the sample.")] = 0,
    seeds: Seeds = 1,
    batch: Batch = 64,
    data: Annotated[
        str, typer.Option(help="The images: random, digits, mnist or cifar10.")
    ] = "random",
    resolution: Annotated[
        int | None,
        typer.Option(
            min=1, help="The height and width of the images. By default the networks decide."
        ),
    ] = None,
    jobs: Jobs = 1,
    device: Device = "cpu",
    engine: Engine = "local",
    address: Address = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Score a sample of architectures whose accuracy is known.

    Finished scores are always kept. If the command stops, run it again to continue. Proxies that
    have no value for some network are listed and are not a failure. The exit code is 1 if the store
    cannot be written, and 2 on wrong usage.
    """
    with errors(quiet), kept_in(store):
        check_writable("--store", store)
        from .. import benchmark as benchmarks

        with progress(quiet) as report, results_only():
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
