"""The command ``archrank data``: lists, fetches, imports and verifies published figures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import InputError
from .shared.console import errors, say
from .shared.options import AsJson

if TYPE_CHECKING:
    from ..data.fetching import Outcome

data = typer.Typer(
    name="data",
    help="List, fetch, import and verify figures of trained networks.",
    no_args_is_help=True,
    rich_markup_mode=None,
    epilog="Example: archrank data fetch nasbench201",
)

Name = Annotated[
    str,
    typer.Argument(metavar="NAME", help="A table or a set, as `archrank data list` names them."),
]


@data.command("list", epilog="Example: archrank data list --json")
def list_(as_json: AsJson = False) -> None:
    """List all tables, and say which of them are installed."""
    with errors():
        from ..data.fetching import data_folder
        from ..data.tables.catalogue import TABLES, data_set, path_of, sets_of
        from ..data.tables.sources import sources

        folder = data_folder()
        public = {source.set for source in sources() if source.fetchable}
        facts = [
            {
                "name": name,
                "title": table.title,
                "space": table.space,
                "tasks": [task.name for task in table.tasks],
                "licence": "; ".join(data_set(owner).licence for owner in sets_of(name)),
                "here": all(
                    path_of(table.parts[part].file, folder).is_file() for part in table.index
                ),
                "public": set(sets_of(name)) <= public,
            }
            for name, table in TABLES.items()
        ]
        if as_json:
            print(json.dumps({"folder": str(folder), "tables": facts}, indent=2))
            return
        print(f"data folder: {folder}")
        width = max(map(len, TABLES))
        for row in facts:
            state = "here" if row["here"] else "to fetch" if row["public"] else "to import"
            print(f"{row['name']:{width}}  {state:9}  {row['title']}")
        print(
            "here: installed; to fetch: archrank data fetch NAME; to import: archrank data import"
        )


@data.command(epilog="Example: archrank data fetch nasbench201")
def fetch(
    name: Name,
    timeout: Annotated[
        float, typer.Option(min=1, help="How many seconds a server may be silent.")
    ] = 30.0,
    as_json: AsJson = False,
) -> None:
    """Download the public files of a table, verify and convert them.

    If the command stops, run it again to continue.
    """
    with errors():
        from ..data.fetching import fetch as fetch_set
        from ..data.tables import sets_of

        def progress(done: int, total: int, file: str) -> None:
            if done < total:
                say(f"{done + 1}/{total} {file}")

        outcomes = [fetch_set(one, timeout=timeout, progress=progress) for one in sets_of(name)]
        _show(outcomes, as_json)


@data.command("import", epilog="Example: archrank data import hw_gpt_bench downloads/")
def import_(
    name: Name,
    path: Annotated[
        Path, typer.Argument(metavar="PATH", help="A file, a folder, or a zip archive of files.")
    ],
    as_json: AsJson = False,
) -> None:
    """Import files that you already have.

    Public files are verified and converted, and tables are checked.
    """
    with errors():
        from ..data.fetching import import_files
        from ..data.tables import sets_of

        sets = sets_of(name)
        if len(sets) > 1:
            raise InputError(
                f"NAME: the figures of {name!r} are in several sets; import each by its own name: "
                f"{', '.join(sets)}"
            )
        _show([import_files(sets[0], path)], as_json)


@data.command(epilog="Example: archrank data verify nasbench201")
def verify(
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help="A table or a set. By default it is all of them."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check the files in the data folder.

    The exit code is 1 if a file is damaged, or if a table that you named is missing.
    """
    with errors():
        from ..data.fetching import verify as verify_set
        from ..data.tables import sets_of

        sets = [None] if name is None else sets_of(name)
        findings = [finding for one in sets for finding in verify_set(one)]
        if as_json:
            from dataclasses import asdict

            print(json.dumps([asdict(finding) for finding in findings], indent=2))
        else:
            for found in findings:
                line = f"{found.status:8} {found.name}/{found.file}  {found.reason}"
                print(line.rstrip())
    bad = {"damaged"} if name is None else {"damaged", "missing"}
    if any(finding.status in bad for finding in findings):
        raise typer.Exit(1)


def _show(outcomes: list[Outcome], as_json: bool) -> None:
    if as_json:
        from dataclasses import asdict

        print(json.dumps([asdict(outcome) for outcome in outcomes], indent=2))
        return
    for outcome in outcomes:
        come = f"{len(outcome.fetched)} files came, {len(outcome.present)} were there"
        print(f"{outcome.name}: {come}")
        for name in outcome.written:
            print(f"  written: {name}.parquet")
        for name in outcome.kept:
            print(f"  left as it was: {name}.parquet")
        for file in outcome.unavailable:
            print(f"  without a known public place: {file} (its columns are left out)")
