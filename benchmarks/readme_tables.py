"""Write the README's tables from the registry and from ``benchmarks/results/``.

python benchmarks/readme_tables.py
"""

from __future__ import annotations

import re
from pathlib import Path

import archrank

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
RESULTS = ROOT / "benchmarks" / "results"


def cells(line: str) -> list[str]:
    """The cells of one row of a Markdown table."""
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def table(header: list[str], rows: list[list[str]], right: int = 0) -> str:
    """A Markdown table; the last ``right`` columns are aligned right."""
    left = len(header) - right
    rule = ["---"] * left + ["---:"] * right
    escaped = [[cell.replace("|", "\\|") for cell in row] for row in (header, rule, *rows)]
    return "\n".join("| " + " | ".join(row) + " |" for row in escaped)


def costs() -> list[list[str]]:
    """Rows (label, time, range, memory) of ``results/proxies.md``; none if it is not there."""
    path = RESULTS / "proxies.md"
    if not path.is_file():
        return []
    lines = [line for line in path.read_text().splitlines() if line.startswith("|")]
    return [cells(line) for line in lines[2:]]


def proxy_table() -> str:
    """One row per registered proxy."""
    measured = {row[0].strip("`"): row[1] for row in costs()}
    header = ["proxy", "measures", "formula", "passes", "reference", "cost"]
    rows = [
        [f"`{p.name}`", p.summary, f"`{p.formula}`", p.cost, p.reference, measured.get(p.name, "")]
        for p in archrank.proxies.list()
    ]
    if not measured:
        header, rows = header[:-1], [row[:-1] for row in rows]
    return table(header, rows, right=1 if measured else 0)


def cost_table() -> str:
    """What whole sets cost beside the baselines, and how it was measured."""
    names = {f"`{p.name}`" for p in archrank.proxies.list()}
    rows = [row for row in costs() if row[0] not in names]
    if not rows:
        return (
            "Not measured yet: `python benchmarks/proxies.py --out benchmarks/results/proxies.md`."
        )
    text = (RESULTS / "proxies.md").read_text()
    how = [line for line in text.splitlines() if line and not line.startswith(("#", "|"))]
    return "\n\n".join([*how, table(["", "time", "range", "memory"], rows, right=3)])


def filled(readme: str) -> str:
    """The README with its tables written anew between their marks."""
    for mark, content in (("proxies", proxy_table()), ("costs", cost_table())):
        block = f"<!-- {mark}:start -->\n{content}\n<!-- {mark}:end -->"
        pattern = f"<!-- {mark}:start -->.*<!-- {mark}:end -->"
        readme, count = re.subn(pattern, lambda _, block=block: block, readme, flags=re.DOTALL)
        assert count == 1, f"the README has {count} blocks {mark!r}, expected 1"
    return readme


if __name__ == "__main__":
    README.write_text(filled(README.read_text()))
