"""The command ``archrank report``: parses, calls, prints; no logic."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from ..errors import InputError
from ..files import written_whole
from .shared.console import errors, say
from .shared.options import AsJson, Seed
from .shared.outputs import check_writable

Store = Annotated[
    Path, typer.Argument(metavar="STORE", help="The file that archrank benchmark wrote.")
]
Out = Annotated[
    Path | None,
    typer.Option(
        help="The file of the page. By default it has the name of the store, with the suffix .html."
    ),
]


def report(
    store: Store,
    out: Out = None,
    markdown: Annotated[
        Path | None, typer.Option(help="Also write a Markdown table into this file.")
    ] = None,
    run: Annotated[int | None, typer.Option(help="Judge only the run with this number.")] = None,
    seed: Seed = 0,
    resamples: Annotated[
        int, typer.Option(min=1, help="The number of bootstrap resamples behind the intervals.")
    ] = 1000,
    date: Annotated[str | None, typer.Option(help="Print this date on the page.")] = None,
    machine: Annotated[
        str | None, typer.Option(help="Print this description of the machine on the page.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Compare the scores of a store with measured labels.

    The result is one page, which works offline.
    """
    with errors():
        page = store.with_suffix(".html") if out is None else out
        for option, path in (("--out", page), ("--markdown", markdown)):
            check_writable(option, path)
            if path is not None and path.absolute() == store.absolute():
                raise InputError(f"{option}: {str(path)!r} is the store itself; name another file")
        from ..benchmark import report as reports
        from ..benchmark.conclusion import conclusion

        found = reports.write_report(
            store, page, run=run, resamples=resamples, seed=seed, date=date, machine=machine
        )
        say(f"written: {page}")
        if markdown is not None:
            with written_whole(markdown) as partial:
                text = reports.to_markdown(found, date=date, machine=machine)
                partial.write_text(text, encoding="utf-8")
            say(f"written: {markdown}")
        for one in found.runs:
            if one.problem:
                say(f"run {one.number} ({one.title}) is not judged: {one.problem}")
            if one.judged is not None and not as_json:
                print(f"{one.title}: {conclusion(one.judged)}")
        if as_json:
            print(json.dumps(found.to_dict(), indent=2))
