"""The command ``archrank measure``: parses, calls, prints; no logic."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import InputError
from .shared.amounts import shape_of
from .shared.console import errors, progress, results_only, say
from .shared.interruption import kept_in
from .shared.options import SPEC_HELP, AsJson, Device, Input, NamesFile, Quiet, Seed
from .shared.outputs import check_writable, make_room
from .shared.tables import print_table

if TYPE_CHECKING:
    import pandas as pd


def measure(
    models: Annotated[
        list[str] | None, typer.Argument(metavar="CANDIDATES", help=SPEC_HELP)
    ] = None,
    input_: Input = None,
    device: Device = "auto",
    batch_sizes: Annotated[
        str,
        typer.Option(
            help="The number of samples in a forward pass, or several numbers separated by commas."
        ),
    ] = "1",
    threads: Annotated[
        int | None, typer.Option(min=1, help="The number of CPU threads. By default torch decides.")
    ] = None,
    seconds: Annotated[
        float, typer.Option(help="How many seconds to time each model at each batch size.")
    ] = 1.0,
    file: NamesFile = None,
    space: Annotated[
        str | None, typer.Option(help="Read all names as architectures of this space.")
    ] = None,
    seed: Seed = 0,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Append the rows to this CSV file, and do not repeat measurements that it holds."
        ),
    ] = None,
    calibrate: Annotated[
        Path | None,
        typer.Option(
            help="Learn the speed of this machine from the measurements and write a predictor "
            "to this folder, for archrank costs --on and archrank rank --latency-by. "
            "Without candidates, a small set of timm models is measured."
        ),
    ] = None,
    networks: Annotated[
        int, typer.Option(min=1, max=20, help="How many models of that small set to measure.")
    ] = 10,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Measure latency and memory of models on this machine.

    The exit code is 1 if a model cannot be measured.
    """
    with errors(quiet), kept_in(out, "" if out else "--out FILE keeps what was measured"):
        sizes = _numbers(batch_sizes)
        shape = shape_of(input_)
        check_writable("--out", out)
        if calibrate is not None:
            make_room("--calibrate", calibrate)
        from ..costs import calibrating, measuring
        from ..predictors.label_files import read_names

        names = [*(models or ()), *(read_names(file) if file is not None else ())]
        if space is not None:
            names = [f"{space}:{name}" for name in names]
        if calibrate is not None and not names:
            names = list(calibrating.CALIBRATION[:networks])
        with progress(quiet, "measuring") as report, results_only():
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
            if calibrate is not None:
                calibrating.calibrated(table, names, shape).save(calibrate)
        if calibrate is not None:
            say(f"written: {calibrate}")
        if as_json:
            print(json.dumps(json.loads(table.to_json(orient="records")), indent=2))
        else:
            say(f"{table['machine'][0]}, threads: {table['threads'][0]}, torch {table['torch'][0]}")
            _show(table)
            if not quiet:
                say("ms: the median; spread: from the first to the third quartile, in ms")
    if (table["status"] != "ok").any():
        raise typer.Exit(1)


def _show(table: pd.DataFrame) -> None:
    good = table[table["status"] == "ok"]
    failed = table[table["status"] != "ok"]
    columns = {
        "batch": [str(size) for size in good["batch_size"]],
        "ms": [f"{time:.3f}" for time in good["latency_ms"]],
        "spread": [f"{time:.3f}" for time in good["spread_ms"]],
        "MB": [f"{size:.1f}" for size in good["memory_mb"]],
        "params": [f"{size:,.0f}" for size in good["params"]],
        "name": good["name"].tolist(),
    }
    reasons = [
        f"{row.name}, batch {row.batch_size}: {row.status}: {row.reason}"
        for row in failed.itertuples(index=False)
    ]
    if len(good):
        print_table(columns, ("name",), reasons)
    else:
        print("\n".join(reasons))


def _numbers(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise InputError(
            f"--batch-sizes: got {text!r}, expected whole numbers such as 1,16"
        ) from None
