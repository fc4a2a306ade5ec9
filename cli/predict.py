"""The command ``archrank predict``: parses, calls, prints; no logic."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from ..errors import InputError
from .console import check_writable, errors, progress, results_only
from .options import Jobs


def predict(
    model: Annotated[Path, typer.Argument(help="Folder that archrank fit wrote.")],
    candidates: Annotated[
        list[str] | None, typer.Argument(help="Architectures of its space, or models.")
    ] = None,
    file: Annotated[
        Path | None, typer.Option(help="File of more: one per line, or the first column of a .csv.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write the table to this file as CSV.")] = None,
    jobs: Jobs = 1,
    quiet: Annotated[bool, typer.Option("--quiet", help="Show no progress.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, and nothing else.")] = False,
) -> None:
    """Predict labels of architectures, best first."""
    with errors():
        from ..predictors import predicting
        from ..predictors.fitting import read_names
        from ..predictors.loading import load_predictor

        names = list(candidates or ())
        if file is not None:
            names += read_names(file)
        if not names:
            raise InputError("candidates: got none; name some, or give --file")
        check_writable("--out", out)
        with nullcontext() if quiet else progress() as report, results_only():
            table = predicting.predict(load_predictor(model), names, jobs, report)
        if out is not None:
            table.to_csv(out, index=False)
        if as_json:
            print(json.dumps(json.loads(table.to_json(orient="records")), indent=2))
            return
        for row in table.itertuples(index=False):
            print(f"{row.predicted:12.6g} ± {row.std:<10.3g} {row.name}")
