"""The command ``archrank``: its commands, one file each, and how it ends.

Everything that needs torch is imported inside the commands, so that ``--help`` is quick.
"""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from .. import __version__
from .benchmark import benchmark
from .data import data
from .fit import fit
from .graph import graph
from .measure import measure
from .predict import predict
from .pretrain import pretrain
from .proxies import proxies
from .rank import rank
from .report import report
from .score import score

app = typer.Typer(
    name="archrank",
    help="Rank neural architectures before anyone trains them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for command in (rank, graph, score, proxies, benchmark, report, measure, fit, predict, pretrain):
    app.command()(command)
app.add_typer(data)


def main() -> None:
    """Entry point of the console script."""
    try:
        app()
    except BrokenPipeError:  # the reader (head, less) has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"archrank {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None: ...


if __name__ == "__main__":
    main()
