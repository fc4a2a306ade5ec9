"""The command ``archrank costs``: parses, calls, prints; no logic."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .shared.amounts import megabytes, shape_of
from .shared.console import errors, progress, results_only, say
from .shared.options import SPEC_HELP, AsJson, Input, OutTable, Quiet
from .shared.places import check_writable, write_file

if TYPE_CHECKING:
    import pandas as pd


def costs(
    specs: Annotated[list[str] | None, typer.Argument(metavar="CANDIDATES", help=SPEC_HELP)] = None,
    on: Annotated[
        str, typer.Option(help="The devices, separated by commas; --devices lists them.")
    ] = "rtx4090,rtx3090,i9-10940x",
    input_: Input = None,
    batch: Annotated[
        str | None,
        typer.Option(
            help="The number of samples in a step, or several numbers separated by commas. By "
            "default 64, or the largest batch that was measured on the device."
        ),
    ] = None,
    training: Annotated[
        bool | None,
        typer.Option("--training/--inference", help="Predict a training step, or a forward pass."),
    ] = None,
    compiled: Annotated[
        bool | None,
        typer.Option("--compiled/--eager", help="Predict for torch.compile, or for eager mode."),
    ] = None,
    layout: Annotated[str | None, typer.Option(help="The memory format: nchw or nhwc.")] = None,
    precision: Annotated[
        str | None, typer.Option(help="The precision: amp (torch's autocast) or fp32.")
    ] = None,
    confidence: Annotated[
        float, typer.Option(help="The probability that the interval contains the measured time.")
    ] = 0.9,
    memory: Annotated[
        str | None,
        typer.Option(help="Find the largest batch that fits into this much memory, as in 24GB."),
    ] = None,
    optimiser: Annotated[
        str, typer.Option(help="The optimiser: sgd, momentum, rmsprop, adam, adamw, lamb or lion.")
    ] = "adamw",
    checkpoints: Annotated[
        bool,
        typer.Option(
            "--checkpoints",
            help="Train with checkpointing: keep few activations and compute the rest again.",
        ),
    ] = False,
    devices: Annotated[
        bool,
        typer.Option(
            "--devices", help="List the devices and the settings under which they were measured."
        ),
    ] = False,
    out: OutTable = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Predict latency and memory on devices that you do not have.

    The exit code is 1 if a model cannot be traced.
    """
    with errors(quiet):
        from ..costs.devices import SETTINGS
        from ..costs.estimating import estimate
        from ..errors import InputError

        if devices:
            for one in SETTINGS:
                print(f"{one.name:20} {one.described}; {one.source}")
            return
        if not specs:
            raise InputError("CANDIDATES: got none, expected at least one, as timm:resnet50")
        check_writable("--out", out)
        size = megabytes("--memory", memory)
        how: dict[str, Any] = {"compiled": compiled, "training": training}
        how |= {"layout": layout, "precision": precision}
        with progress(quiet, "tracing") as report, results_only():
            table = estimate(
                specs,
                shape_of(input_),
                on=[name.strip() for name in on.split(",")],
                batch_sizes=None if batch is None else _sizes(batch),
                level=confidence,
                fits_in=None if size is None else size * 1e6,
                optimiser=optimiser,
                checkpoints=checkpoints,
                progress=report,
                **how,
            )
        if as_json:
            print(json.dumps(json.loads(table.to_json(orient="records")), indent=2))
        else:
            _show(table, confidence)
            if not quiet:
                _explain(table)
        if out is not None:
            write_file("--out", out, lambda path: table.to_csv(path, index=False))
    if (table["status"] != "ok").any():
        raise typer.Exit(1)


def _show(table: pd.DataFrame, confidence: float) -> None:
    ends = f"{confidence:.0%} interval"
    fits = table["largest_batch"].notna().any()
    print(
        f"{'device':18} {'batch':>5} {'ms':>8} {ends:>19} {'images/s':>8} {'MB':>7} {'train MB':>9}"
        f"{'  fits' if fits else ''}  {'bound by':8}  name"
    )
    for row in table.itertuples(index=False):
        if row.status != "ok":
            print(f"{row.status}: {row.reason}  {row.name}")
            continue
        interval = f"{row.low_ms:.4g} to {row.high_ms:.4g}"
        print(
            f"{row.device:18} {row.batch_size:5.0f} {row.ms:8.4g} {interval:>19} "
            f"{row.images_per_second:8.4g} {row.memory_mb:7.0f} {row.train_memory_mb:9.0f}"
            f"{f' {row.largest_batch:5.0f}' if fits else ''}  {row.bound_by:8}  {row.name}"
            f"{' *' if row.beyond else ''}"
        )


def _explain(table: pd.DataFrame) -> None:
    """Say what the columns mean."""
    say(
        "ms: of one batch; train MB: memory of a training step; bound by: what takes most of the "
        "time: multiply-adds (work), moving tensors (bytes) or starting operators (starts)"
    )
    if table["beyond"].eq(True).any():
        say("* nothing so quick or so slow was measured there: the interval may not hold")


def _sizes(text: str) -> list[int]:
    from ..errors import InputError

    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise InputError(f"--batch: got {text!r}, expected whole numbers such as 1,16") from None
