"""Shared code of the experiments: the description of the machine, resumable files, and pages.

Each finished piece of work is written at once as a line of JSON. A script that was killed can be
started again and then does what is missing. Pages are written from these lines alone, so
``--tables`` can write them again.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import shlex
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import stats

from archrank.files import written_whole

RESULTS = Path(__file__).parent / "results"
STORES = RESULTS / "stores"


# --- the machine ----------------------------------------------------------------------------------


def processor() -> str:
    """Name the processor, or at least its architecture."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def machine() -> str:
    """Name what figures were measured on: processor, cores and torch."""
    return f"{processor()}, {os.cpu_count()} cores, torch {torch.__version__}"


def command_line() -> str:
    """Write how this script was called, for ``made_by``."""
    return shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])


def made_by(command: str, *others: str, also: str = "") -> str:
    """Write the line of a page that says how, when and where its figures were made.

    Args:
        command: without ``python experiments/``.
        others: that follow it, such as ``--tables``.
        also: what else is to be known of the machine: threads, versions.
    """
    then = "".join(f", then `{other}`" for other in others)
    today = datetime.date.today()
    on = machine() + (f", {also}" if also else "")
    return f"`python experiments/{command}`{then}, {today}. Machine: {on}."


# --- lines ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Lines:
    """A file of finished work, one mapping a line; it only ever grows."""

    path: Path

    def read(self, **key: Any) -> list[dict[str, Any]]:
        """Read the lines with these entries; one that was cut off is none."""
        found = []
        for text in self.path.read_text().splitlines() if self.path.exists() else ():
            with suppress(json.JSONDecodeError):
                line = json.loads(text)
                if all(line.get(name) == value for name, value in key.items()):
                    found.append(line)
        return found

    def append(self, line: Mapping[str, Any]) -> None:
        """Add a line, behind one that was cut off too."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        whole = not self.path.exists() or self.path.read_bytes()[-1:] in (b"", b"\n")
        with self.path.open("a") as file:
            file.write(("" if whole else "\n") + json.dumps(line, default=float) + "\n")

    def keep(self, key: Mapping[str, Any], **made: Any) -> None:
        """Add what was made of a key, and print it but for tables."""
        self.append({**key, **made})
        shown = [value for value in made.values() if not isinstance(value, dict | list)]
        print(*key.values(), *shown, flush=True)

    def missing(self, keys: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        """Choose the keys, all of the same entries, that no line holds."""
        if not keys:
            return []
        done = [{name: line.get(name) for name in keys[0]} for line in self.read()]
        return [key for key in keys if key not in done]


# --- pages ----------------------------------------------------------------------------------------


def interval(values: Sequence[float], digits: int = 3) -> str:
    """Write the mean and half the 95 % interval of it (Student's t), such as over seeds."""
    mean = f"{np.mean(values):.{digits}f}"
    if len(values) < 2:
        return mean
    half = stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / len(values) ** 0.5
    return f"{mean} ± {half:.{digits}f}"


def markdown_table(
    headings: Sequence[str], rows: Iterable[Sequence[object]], numbers: bool = False
) -> list[str]:
    """Write a table in Markdown, line by line.

    Args:
        headings: of the columns.
        rows: their cells; those of no row make a table of headings alone.
        numbers: whether all columns but the first are set right.
    """
    rule = "|---|" + ("---:|" if numbers else "---|") * (len(headings) - 1)
    lines = [
        "|" + "|".join(f" {cell} " if cell != "" else " " for cell in row) + "|"
        for row in (headings, *rows)
    ]
    return [lines[0], rule, *lines[1:]]


def write_page(path: Path, lines: Sequence[str]) -> None:
    """Write a page whole or not at all."""
    with written_whole(path) as partial:
        partial.write_text("\n".join(lines) + "\n")


def folder_of(work: Path | None) -> Path:
    """Return the folder for what is kept between runs, or an end to this one."""
    if work is None:
        raise SystemExit("--work: say a folder outside the repository")
    return work


def parser(description: str, tables: bool = False) -> argparse.ArgumentParser:
    """Make a parser of a script's own words.

    Args:
        description: the script's docstring.
        tables: whether the page can be written anew from what was measured.
    """
    made = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    if tables:
        made.add_argument("--tables", action="store_true", help="write the page, measure nothing")
    return made


def measure_and_write(
    description: str,
    page: Path,
    measure: Callable[..., None],
    tables: Callable[[], Sequence[str]],
    seeds: int | None = None,
) -> None:
    """Do what a script's arguments ask for: measure what is missing, and write the page.

    Args:
        description: the script's docstring.
        page: what is written.
        measure: of so many seeds, where there are some.
        tables: lines of the page.
        seeds: how many by default.
    """
    options = parser(description, tables=True)
    if seeds is not None:
        options.add_argument("--seeds", type=int, default=seeds, help="how many, from 0")
    arguments = options.parse_args()
    torch.set_num_threads(1)
    if not arguments.tables:
        measure(*([] if seeds is None else [arguments.seeds]))
    write_page(page, tables())
