"""Tables on a terminal, folded to its width, and elsewhere with one line for each row."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable, Mapping, Sequence

_LEAST = 12
"""The fewest characters that a column of text is folded to."""
_KEPT = 3
"""The first columns, which are never left out."""


def print_table(
    columns: Mapping[str, Sequence[str]], texts: Collection[str], below: Iterable[str] = ()
) -> None:
    """Print columns of numbers, aligned at their right, and of texts, which are folded.

    Where a terminal is too narrow, the last columns of numbers are left out; numbers are never
    folded. Elsewhere than in a terminal nothing is folded or left out.

    Args:
        columns: the cells of each column, by its heading.
        texts: the headings of columns of text.
        below: lines to print below the table.
    """
    from rich.console import Console
    from rich.table import Table

    console = Console(
        width=None if sys.stdout.isatty() else sys.maxsize,
        markup=False,
        emoji=False,
        highlight=False,
    )
    least = {name: _least(name, columns[name], name in texts) for name in columns}
    shown = _fitting(least, texts, console.width)
    console.width = max(console.width, _total(least, shown))
    table = Table(box=None, header_style="bold", pad_edge=False, collapse_padding=True)
    for name in shown:
        is_text = name in texts
        table.add_column(
            name,
            justify="left" if is_text else "right",
            overflow="fold",
            no_wrap=not is_text,
            min_width=least[name],
        )
    for row in zip(*(columns[name] for name in shown), strict=True):
        table.add_row(*row)
    with console.capture() as drawn:
        console.print(table)
    print("\n".join(line.rstrip() for line in drawn.get().splitlines()))
    left_out = [name for name in columns if name not in shown]
    if left_out:
        console.print(f"too narrow for {', '.join(left_out)}")
    for line in below:
        console.print(line)


def _fitting(least: Mapping[str, int], texts: Collection[str], width: int) -> list[str]:
    """Return the columns that a width has room for."""
    shown = list(least)
    for name in reversed(list(least)[_KEPT:]):
        if _total(least, shown) <= width:
            break
        if name not in texts:
            shown.remove(name)
    return shown


def _total(least: Mapping[str, int], shown: Sequence[str]) -> int:
    return sum(least[name] + 1 for name in shown) - 1


def _least(name: str, cells: Sequence[str], is_text: bool) -> int:
    """Return the fewest characters that a column takes."""
    whole = max(map(len, (name, *cells)))
    return min(_LEAST, whole) if is_text else whole
