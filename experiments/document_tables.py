"""Write the tables of the README and of ``docs/`` between their markers.

The tables come from the registries, the command line and ``experiments/results/``.

python experiments/document_tables.py
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import numpy as np
from parts import TABLES as PARTS
from transfer_pools import EXTRA

import archrank
from archrank.basics import SIZES

ROOT = Path(__file__).resolve().parent.parent
PAGES = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md")))
RESULTS = ROOT / "experiments" / "results"
_BLOCK = re.compile(r"(<!-- ([\w-]+):start -->).*?(<!-- \2:end -->)", re.DOTALL)


def cells(line: str) -> list[str]:
    """Return the cells of one row of a Markdown table."""
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def table(header: list[str], rows: list[list[str]], right: int = 0) -> str:
    """Return a Markdown table; the last ``right`` columns are aligned right."""
    left = len(header) - right
    rule = ["---"] * left + ["---:"] * right
    escaped = [[cell.replace("|", "\\|") for cell in row] for row in (header, rule, *rows)]
    return "\n".join("| " + " | ".join(row) + " |" for row in escaped)


def costs() -> list[list[str]]:
    """Return rows (label, time, range, memory) of ``results/proxies.md``; none if it is not
    there."""
    path = RESULTS / "proxies.md"
    if not path.is_file():
        return []
    lines = [line for line in path.read_text().splitlines() if line.startswith("|")]
    return [cells(line) for line in lines[2:]]


def proxy_table() -> str:
    """Tabulate the registered proxies, one row each."""
    measured = {row[0].strip("`"): row[1] for row in costs()}
    header = ["proxy", "measures", "formula", "passes", "reference", "cost"]
    rows = [
        [f"`{p.name}`", p.summary, f"`{p.formula}`", p.cost, p.reference, measured.get(p.name, "")]
        for p in archrank.proxies.list()
    ]
    if not measured:
        header, rows = header[:-1], [row[:-1] for row in rows]
    return table(header, rows, right=1 if measured else 0)


def real_labels_line() -> str:
    """Return what a few labels of real networks are worth beside what the predictor knows."""
    page = (RESULTS / "imagenet_zoo_labels.md").read_text().splitlines()
    header, *rows = [cells(line) for line in _rows_below(page, page[0])]
    taus = {row[0]: dict(zip(header, row, strict=True)) for row in rows}
    shown = "; ".join(
        f"with {count}, {taus['adapted'][count]} (from these labels alone "
        f"{taus['labels alone'][count]})"
        for count in ("10 labels", "20 labels", "50 labels")
    )
    return (
        f"Kendall's tau on real networks of families that were held out: {shown}; without labels, "
        f"{taus['no labels']['10 labels']}. [All figures]"
        "(../experiments/results/imagenet_zoo_labels.md)."
    )


def cost_table() -> str:
    """Return what whole sets cost beside the baselines, and how it was measured."""
    names = {f"`{p.name}`" for p in archrank.proxies.list()}
    rows = [row for row in costs() if row[0] not in names]
    if not rows:
        command = "python experiments/proxies.py --out experiments/results/proxies.md"
        return f"Not measured yet: `{command}`."
    text = (RESULTS / "proxies.md").read_text()
    how = [line for line in text.splitlines() if line and not line.startswith(("#", "|"))]
    return "\n\n".join([*how, table(["", "time", "range", "memory"], rows, right=3)])


def demo_table() -> str:
    """Return what ``make demo`` found, as ``results/embedded.md`` holds it."""
    path = RESULTS / "embedded.md"
    if not path.is_file():
        return "Not measured yet: `python examples/embedded_benchmark.py --report`."
    return path.read_text().partition("\n\n")[2].strip()


def demo_line() -> str:
    """Return the demo's picture in figures: tau of the default, of sizes and of the best proxy."""
    rows = [cells(line) for line in demo_table().splitlines() if line.startswith("|")][2:]
    taus = {row[0]: row[1] for row in rows}
    best = next(row[0] for row in rows if row[0] not in ("archrank (auto)", *SIZES))
    (ceiling,) = re.findall(r"agree with tau ([\d.]+\d)", demo_table())
    (interval,) = (row[2] for row in rows if row[0] == "archrank (auto)")
    return (
        "On a hundred networks of the embedded benchmark, Kendall's tau with the measured accuracy "
        f"is {taus['archrank (auto)']} for archrank (95 % interval {interval}), {taus['params']} "
        f"for parameters, {taus['flops']} for FLOPs and {taus[best]} for the best single proxy "
        f"(`{best}`). Two trainings of the same networks agree with tau {ceiling}."
    )


def space_table() -> str:
    """Tabulate the search spaces, one row each."""
    header = ["space", "what", "architectures", "built for", "reference"]
    rows = []
    for name in archrank.data.spaces():
        one = archrank.data.space(name)
        size = "not counted"
        if one.size is not None:
            size = f"{one.size:,}" if one.size < 1e8 else f"{one.size:.1e}"
        tasks = list(one.tasks)
        tasks = tasks if len(tasks) < 12 else [*tasks[:9], f"{len(tasks) - 9} more"]
        rows.append([f"`{name}`", one.title, size, ", ".join(tasks), one.reference])
    return table(header, rows)


def set_table() -> str:
    """Tabulate the tables of measured figures, one row each."""
    from archrank.data.tables.catalogue import TABLES, data_set, sets_of
    from archrank.data.tables.sources import sources

    public = {source.set for source in sources() if source.fetchable}
    header = ["table", "what", "labels", "made by", "licence of the source", "how to get it"]
    rows = []
    for name, facts in TABLES.items():
        owners = [data_set(owner) for owner in sets_of(name)]
        tasks = [task.name for task in facts.tasks]
        if all(owner.embedded for owner in owners):
            how = "comes with archrank"
        elif {owner.name for owner in owners} <= public:
            how = f"`archrank data fetch {name}`"
        else:
            how = f"`archrank data import {' or '.join(owner.name for owner in owners)} PATH`"
        rows.append(
            [
                f"`{name}`",
                facts.title,
                ", ".join(tasks[:3]) + (f" and {len(tasks) - 3} more" if len(tasks) > 3 else ""),
                ", ".join(dict.fromkeys(task.label for task in facts.tasks)) or "hardware only",
                "; ".join(dict.fromkeys(owner.licence for owner in owners)),
                how,
            ]
        )
    return table(header, rows)


SHOWN = ("params", "flops", "activations", "auto", "az_nas", "near", "gradsign", "synflow")


def tau_table() -> str:
    """Tabulate Kendall's tau of a few scores in every measured space, as
    ``results/benchmark.md`` has it."""
    lines = (RESULTS / "benchmark.md").read_text().splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("| score |"))
    rows = {}
    for line in lines[start:]:
        if not line.startswith("|"):
            break
        label, *values = cells(line)
        rows[label.strip("`")] = [value.split(" ")[0] for value in values]
    spaces = cells(lines[start])[1:]
    return table(
        ["space", *(f"`{name}`" for name in SHOWN)],
        [[space, *(rows[name][i] for name in SHOWN)] for i, space in enumerate(spaces)],
        right=len(SHOWN),
    )


def transfer_table() -> str:
    """Tabulate families left out, without labels and with 50."""
    header = ["family held out", "n", "`params`", "`flops`", "`activations`", "no labels"]
    how = (
        "Spearman's rho of the default ranking on families that were held out, with their "
        "relatives. Figures are means over tasks and seeds. "
        "[transfer.md](../experiments/results/transfer.md) has other rules, other numbers of "
        "labels, intervals, dates and the machine."
    )
    return f"{how}\n\n" + table(
        [*header, "50 labels", "50 labels, from scratch"], _families(), right=7
    )


def level_table() -> str:
    """Return what each level of a ranking is worth, and what it costs."""
    fixed = (RESULTS / "fixed_scale.md").read_text().splitlines()
    names, *rows = [cells(line) for line in _rows_below(fixed, fixed[0])]
    (mean,) = (row for row in rows if row[0] == "mean")
    costs = (RESULTS / "proxy_costs.md").read_text().splitlines()
    columns, *networks = [
        cells(line) for line in _rows_below(costs, "## Over the size of the network")
    ]
    passes = {row[0]: dict(zip(columns, row, strict=True)) for row in networks}
    levels = (("graphs", "graphs alone", ""), ("quick", "quick", "quick"))
    made = []
    for level, column, cost in (*levels, ("full", "fixed scale", "evidence")):
        took = [passes[n][cost] if cost else "0" for n in ("NAS-Bench-201", "resnet50")]
        made.append([f'`"{level}"`', mean[names.index(column)], *took])
    how = (
        "Spearman's rho is a mean over 13 families that were held out "
        "([fixed_scale.md](../experiments/results/fixed_scale.md)). The cost is in units of one "
        "forward and backward pass ([proxy_costs.md](../experiments/results/proxy_costs.md)). "
        "Networks for images of 96 pixels or more are ranked by expected top-1 instead, at no cost."
    )
    header = ["level", "rho without labels", "cost, NAS-Bench-201", "cost, ResNet-50"]
    return f"{how}\n\n" + table(header, made, right=3)


def family_table() -> str:
    """Return the same in short."""
    header = ["family", "params", "FLOPs", "activations", "archrank, no labels", "50 labels"]
    chosen = [[row[i] for i in (0, 2, 3, 4, 5, 6)] for row in _families()]
    return table(header, chosen, right=5)


def _families() -> list[list[str]]:
    """Return rows (family, n, params, FLOPs, activations, no labels, 50 labels, 50 from scratch).

    As ``results/transfer.md`` has them; the mean is over families.
    """
    page = (RESULTS / "transfer.md").read_text().splitlines()
    header, *rows = [cells(line) for line in _rows_below(page, "## Without labels")]
    shown = [header.index(n) for n in ("n", "params", "FLOPs", "activations", "TransferRank")]
    few = [cells(line) for line in _rows_below(page, "## With a few labels: rho")]
    at = few[0].index("50 labels")
    learnt = {(row[0], row[1]): row[at].split(" ")[0] for row in few[1:]}
    families = [
        [
            row[0],
            *(row[i].split(" ")[0] for i in shown),
            *(learnt.get((row[0], name), "") for name in ("TransferRank", "ArchRank from scratch")),
        ]
        for row in rows
        if row[0] not in EXTRA
    ]
    means = [f"{np.mean([float(row[i]) for row in families]):.3f}" for i in range(2, 6)]
    return [*families, ["mean", "", *means, "", ""]]


def real_line() -> str:
    """Say how real networks are ordered by their graphs alone: torchvision's first weights."""
    lines = (RESULTS / "torchvision_v1.md").read_text().splitlines()
    _, *rows = [cells(line) for line in _rows_below(lines, lines[0])]
    taus = {row[0]: row[1].partition(" ") for row in rows}
    value, _, interval = taus["shipped predictor"]
    (new,) = (row[2].partition(" ")[0] for row in rows if row[0] == "shipped predictor")
    return (
        f"Real networks are ranked from their graphs alone. On torchvision's 78 first weights, "
        f"Kendall's tau with the published top-1 is {value} {interval}; it is {taus['params'][0]} "
        f"for parameters, {taus['flops'][0]} for FLOPs and {taus['activations'][0]} for "
        "activations. On networks whose name is not in the training data, tau is "
        f"{new}. No choice was made by looking at these weights."
    )


def _rows_below(lines: list[str], title: str) -> list[str]:
    """Return the rows of the first table below a title, its header first, without the rule."""
    after = lines[lines.index(title) :]
    start = next(i for i, line in enumerate(after) if line.startswith("|"))
    rows = []
    for line in after[start:]:
        if not line.startswith("|"):
            break
        rows.append(line)
    return [rows[0], *rows[2:]]


def option_tables() -> str:
    """Return what every command of the shell takes, as its help says."""
    import typer

    from archrank.cli.app import app

    parts = []
    for name, command in _commands(typer.main.get_command(app)):
        taken = [one for one in command.params if one.name != "help"]
        rows = [[_written(one), _meaning(one), _default(one)] for one in taken]
        parts.append(f"### `archrank {name}`\n\n{' '.join(command.help.split())}")
        if rows:
            parts.append(table(["argument or option", "what", "default"], rows))
        if command.epilog:
            parts.append(f"```sh\n{command.epilog.removeprefix('Example: ')}\n```")
    return "\n\n".join(parts)


def _commands(group: Any) -> list[tuple[str, Any]]:
    """Return names and commands, those of groups with the group's name before."""
    found = []
    for name, command in group.commands.items():
        inner = _commands(command) if hasattr(command, "commands") else [("", command)]
        found += [(f"{name} {below}".strip(), one) for below, one in inner]
    return found


def _written(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return f"`{parameter.metavar}`"
    return ", ".join(f"`{option}`" for option in parameter.opts)


def _meaning(parameter: Any) -> str:
    """Return a help text, with nothing in it that Markdown takes for emphasis, and the choices."""
    text = re.sub(r"([*_])", r"\\\1", parameter.help or "")
    kind = parameter.type_descriptor.annotation
    choices = get_args(kind) if get_origin(kind) is Literal else ()
    return f"{text} One of {', '.join(f'`{one}`' for one in choices)}." if choices else text


def _default(parameter: Any) -> str:
    if parameter.required:
        return "required"
    given = parameter.default
    nothing = given is None or given is False or given == "" or callable(given)
    return "" if nothing else f"`{given}`"


def experiment_table() -> str:
    """Tabulate the scripts of ``experiments/``: their names and how their docstrings begin."""
    rows = []
    for script in sorted((ROOT / "experiments").glob("*.py")):
        tree = ast.parse(script.read_text())
        if any(isinstance(node, ast.If) for node in tree.body):  # those that are called
            sentence = (ast.get_docstring(tree) or "").partition("\n\n")[0]
            meant = " ".join(sentence.split()).replace("``", "`")
            rows.append([f"`experiments/{script.name}`", meant])
    return table(["script", "what it finds out"], rows)


def choosing_table() -> str:
    """Return what each step of choosing gained, of ``results/choosing.md``."""
    lines = (RESULTS / "choosing.md").read_text().splitlines()
    return "\n".join(line for line in lines if line.startswith("|"))


TABLES: dict[str, Callable[[], str]] = {
    "proxies": proxy_table,
    "taus": tau_table,
    "transfer": transfer_table,
    "costs": cost_table,
    "sets": set_table,
    "spaces": space_table,
    "demo": demo_table,
    "demo-line": demo_line,
    "families": family_table,
    "levels": level_table,
    "real-labels": real_labels_line,
    "real-line": real_line,
    "options": option_tables,
    "experiments": experiment_table,
    "choosing": choosing_table,
    **PARTS,
}
"""Mark -> what is written between ``<!-- mark:start -->`` and ``<!-- mark:end -->``."""


def filled(page: str) -> str:
    """Return a page with the tables that it has written anew between their marks."""
    return _BLOCK.sub(lambda found: f"{found[1]}\n{TABLES[found[2]]()}\n{found[3]}", page)


def marks(page: str) -> list[str]:
    """Return the names of the tables that a page has."""
    return [found[2] for found in _BLOCK.finditer(page)]


if __name__ == "__main__":
    for path in PAGES:
        path.write_text(filled(path.read_text()))
