"""The command ``archrank predict``: parses, calls, prints; no logic."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from ..errors import InputError
from ..formats import number
from .shared.console import errors, progress, results_only
from .shared.options import AsJson, Jobs, NamesFile, OutTable, Quiet
from .shared.outputs import check_writable, write_file
from .shared.tables import print_table


def predict(
    model: Annotated[
        Path, typer.Argument(metavar="MODEL", help="The folder that archrank fit wrote.")
    ],
    candidates: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="CANDIDATES",
            help="Architectures of the predictor's space, or models as in archrank rank.",
        ),
    ] = None,
    file: NamesFile = None,
    out: OutTable = None,
    jobs: Jobs = 1,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Predict labels of architectures, best first."""
    with errors(quiet):
        from ..predictors import predicting
        from ..predictors.label_files import read_names
        from ..predictors.loading import load_predictor

        names = list(candidates or ())
        if file is not None:
            names += read_names(file)
        if not names:
            raise InputError("CANDIDATES: got none; name some, or give --file")
        check_writable("--out", out)
        with progress(quiet) as report, results_only():
            table = predicting.predict(load_predictor(model), names, jobs, report)
        if out is not None:
            write_file("--out", out, lambda path: table.to_csv(path, index=False))
        if as_json:
            print(json.dumps(json.loads(table.to_json(orient="records")), indent=2))
            return
        columns = {
            "predicted": [f"{value:.6g}" for value in table["predicted"]],
            "std": table["std"].map(number).tolist(),
            "name": table["name"].tolist(),
        }
        if table["std"].isna().all():  # it does not say how certain it is
            del columns["std"]
        print_table(columns, ("name",))
