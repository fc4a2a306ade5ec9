"""The command ``archrank costs``: parses, calls, prints; no logic."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .shared.amounts import megabytes, shape_of
from .shared.console import errors, progress, results_only, say
from .shared.options import SPEC_HELP, AsJson, Input, OutTable, Quiet
from .shared.outputs import check_writable, write_file
from .shared.tables import print_table

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
            if not quiet and table["status"].eq("ok").any():
                _explain(table)
        if out is not None:
            write_file("--out", out, lambda path: table.to_csv(path, index=False))
    if (table["status"] != "ok").any():
        raise typer.Exit(1)


def _show(table: pd.DataFrame, confidence: float) -> None:
    from ..formats import number

    good = table[table["status"] == "ok"]
    columns = {
        "device": good["device"].tolist(),
        "batch": [f"{size:.0f}" for size in good["batch_size"]],
        "ms": good["ms"].map(number).tolist(),
        f"{confidence:.0%} interval": [
            f"{number(low)} to {number(high)}"
            for low, high in zip(good["low_ms"], good["high_ms"], strict=True)
        ],
        "images/s": good["images_per_second"].map(number).tolist(),
        "MB": [number(size, 3) for size in good["memory_mb"]],
        "train MB": [number(size, 3) for size in good["train_memory_mb"]],
        "fits": good["largest_batch"].astype(float).map(number).tolist(),
        "bound by": good["bound_by"].tolist(),
        "name": [
            f"{name} *" if beyond else name
            for name, beyond in zip(good["name"], good["beyond"], strict=True)
        ],
    }
    if good["largest_batch"].isna().all():
        del columns["fits"]
    failed = table[table["status"] != "ok"].drop_duplicates(["name", "reason"])
    reasons = [f"{row.name}: {row.status}: {row.reason}" for row in failed.itertuples(index=False)]
    if len(good):
        print_table(columns, ("device", "bound by", "name"), reasons)
    else:
        print("\n".join(reasons))


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
