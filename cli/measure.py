"""The command ``archrank measure``: parses, calls, prints; no logic."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from ..errors import InputError
from .console import check_writable, errors, progress, results_only, say, shape_of


def measure(
    models: Annotated[
        list[str] | None, typer.Argument(help="Models, named as for archrank rank.")
    ] = None,
    input_: Annotated[
        str | None,
        typer.Option("--input", help="Shape of one sample, as 3,224,224; default the models' own."),
    ] = None,
    device: Annotated[
        str, typer.Option(help="Device: auto (CUDA if there is one), cpu, cuda, cuda:1, ...")
    ] = "auto",
    batch_sizes: Annotated[
        str, typer.Option(help="Samples per forward, separated by commas.")
    ] = "1",
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads on the CPU; default torch's own.")
    ] = (None),
    seconds: Annotated[
        float, typer.Option(help="Seconds of timing per model and batch size.")
    ] = 1.0,
    file: Annotated[
        Path | None,
        typer.Option(help="File of more models: one per line, or the first column of a .csv."),
    ] = None,
    space: Annotated[
        str | None, typer.Option(help="Search space that all names are architectures of.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of weights and inputs.")] = 0,
    out: Annotated[
        Path | None,
        typer.Option(help="Add rows to this CSV file; what stands there is not measured again."),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Show no progress.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, and nothing else.")] = False,
) -> None:
    """Measure latency and memory of models on this machine. Exit code 1 if one cannot be."""
    with errors():
        sizes = _numbers(batch_sizes)
        shape = shape_of(input_)
        check_writable("--out", out)
        from ..costs import measuring
        from ..predictors.fitting import read_names

        names = [*(models or ()), *(read_names(file) if file is not None else ())]
        if space is not None:
            names = [f"{space}:{name}" for name in names]
        with nullcontext() if quiet else progress("measuring") as report, results_only():
            table = measuring.measure(
                names,
                shape,
                device=device,
                batch_sizes=sizes,
                threads=threads,
                seconds=seconds,
                seed=seed,
                out=out,
                progress=report,
            )
        if as_json:
            print(json.dumps(json.loads(table.to_json(orient="records")), indent=2))
        else:
            say(f"{table['machine'][0]}, {table['threads'][0]} threads, torch {table['torch'][0]}")
            print(f"{'batch':>5} {'ms':>10} {'spread':>9} {'MB':>9} {'params':>12}  name")
            for row in table.itertuples(index=False):
                figures = f"{row.latency_ms:10.3f} {row.spread_ms:9.3f} {row.memory_mb:9.1f}"
                said = f"  {row.status}: {row.reason}" if row.status != "ok" else ""
                print(f"{row.batch_size:5} {figures} {row.params:12,.0f}  {row.name}{said}")
    if (table["status"] != "ok").any():
        raise typer.Exit(1)


def _numbers(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise InputError(
            f"--batch-sizes: got {text!r}, expected whole numbers such as 1,16"
        ) from None
