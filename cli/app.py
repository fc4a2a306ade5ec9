"""The command ``archrank``: parses, calls, prints; no logic.

Everything that needs torch is imported inside the commands, so that ``--help`` is quick.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .. import __version__
from ..errors import ArchrankError, InputError, MissingExtraError, UnsupportedModelError
from .benchmark import benchmark
from .console import amounts, check_writable, errors, progress, results_only, say, shape_of
from .data import data
from .measure import measure
from .predict import fit, predict, pretrain
from .report import report

if TYPE_CHECKING:
    from torch import nn

    from ..ranking.ranking import Ranking

app = typer.Typer(
    name="archrank",
    help="Rank neural architectures before anyone trains them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

app.command()(benchmark)
app.command()(report)
app.command()(measure)
app.command()(fit)
app.command()(predict)
app.command()(pretrain)
app.add_typer(data)

SPEC_HELP = (
    "models.py, models.py:name, timm:resnet18, 'timm:mobilenetv3*', 'torchvision:*', "
    "hiaml:z-z-a22-l20 (an architecture of a search space)"
)
Input = Annotated[
    str | None,
    typer.Option("--input", help="Shape without batch dimension, as 3,224,224; else their own."),
]
Seed = Annotated[int, typer.Option(help="Seed of weights and data.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...")]
Batch = Annotated[int, typer.Option("--batch", min=1, help="Samples per batch.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, and nothing else.")]
Model = Annotated[str, typer.Argument(help=SPEC_HELP)]


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


@app.command()
def rank(
    specs: Annotated[list[str], typer.Argument(help=SPEC_HELP)],
    input_: Input = None,
    by: Annotated[
        str, typer.Option(help="Proxies, with commas; a|b: a controlled for b.")
    ] = "auto",
    combine: Annotated[str, typer.Option(help="mean_rank, log_rank or vote.")] = "mean_rank",
    seeds: Annotated[int, typer.Option(min=1, help="Builds per candidate, averaged.")] = 1,
    seed: Seed = 0,
    device: Device = "auto",
    jobs: Annotated[int, typer.Option(min=1, help="Processes that share the candidates.")] = 1,
    batch: Batch = 64,
    max_params: Annotated[str | None, typer.Option(help="As 5M; those beyond are left out.")] = (
        None
    ),
    max_flops: Annotated[str | None, typer.Option(help="Multiply-adds of a sample.")] = None,
    max_memory: Annotated[str | None, typer.Option(help="MB of a sample's forward.")] = None,
    max_latency: Annotated[str | None, typer.Option(help="ms of a sample's forward.")] = None,
    latency_by: Annotated[
        Path | None, typer.Option(help="Saved cost predictor; else latency is measured here.")
    ] = None,
    front: Annotated[
        str | None, typer.Option(help="Pareto front of score and params, flops, memory, latency.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write the table as CSV.")] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Write a picture (png, svg, pdf); with --front of it.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Order candidates, best first. Exit code 1 if one could not be ranked, 2 on wrong usage."""
    with errors():
        shape = shape_of(input_)
        limits = amounts(params=max_params, flops=max_flops, memory=max_memory, latency=max_latency)
        check_writable("--out", out)
        check_writable("--plot", plot)
        _check_picture("--plot", plot)
        from ..ranking import ranking

        with progress() as report, results_only():
            result = ranking.rank(
                specs,
                shape,
                by,
                combine=combine,
                seeds=seeds,
                seed=seed,
                device=device,
                jobs=jobs,
                batch_size=batch,
                limits=limits,
                costs=() if front is None else (front,),
                latency=latency_by,
                progress=report,
            )
        if result.latency:
            say(f"latency: {result.latency}")
        if as_json:
            print(result.to_json(front))
        else:
            _show(result, by)
            if front is not None:
                names = ", ".join(result.front(front)["name"])
                print(f"front of score and {front}, cheapest first: {names}")
        if out is not None:
            _write("--out", out, result.to_csv)
        if plot is not None:
            picture = result.plot if front is None else partial(result.plot_front, front)
            _write("--plot", plot, picture)
    # A proxy that does not apply to a network is told of above and is no failure of the run.
    failed = set(result.failures.loc[result.failures["status"] != "unsupported", "name"])
    failed |= set(result.table.loc[result.table["rank"].isna(), "name"])
    if failed:
        say(f"{len(failed)} of {len(result)} candidates not ranked, or not by every proxy")
        raise typer.Exit(1)


@app.command()
def graph(
    model: Model,
    input_: Input = None,
    draw: Annotated[Path | None, typer.Option(help="Write a picture (svg).")] = None,
    save: Annotated[Path | None, typer.Option(help="Write the graph for Graph.load.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show the computation graph of a model (or of a saved graph), and draw or save it."""
    with errors():
        shape = shape_of(input_)
        check_writable("--draw", draw)
        check_writable("--save", save)
        from collections import Counter

        from ..graphs import Graph, trace

        if Path(model).is_file() and not model.endswith(".py"):
            name, traced = Path(model).name, Graph.load(model)
        else:
            with results_only():
                name, module, shape = _one(model, shape)
                traced = trace(module, shape)
        facts: dict[str, Any] = {
            "name": name,
            "params": traced.params,
            "flops": traced.flops,
            "product_flops": traced.product_flops,
            "activations": traced.activations,
            "depth": traced.depth,
            "nodes": len(traced),
            "hash": traced.hash,
            "operators": dict(Counter(traced.operators).most_common()),
            "unknown_operators": dict(traced.unknown_operators),
        }
        if as_json:
            print(json.dumps(facts, indent=2))
        else:
            for key, value in facts.items():
                if isinstance(value, dict):
                    value = ", ".join(f"{k} {v}" for k, v in value.items()) or "none"
                print(f"{key:18}{f'{value:,}' if isinstance(value, int) else value}")
        if draw is not None:
            _write("--draw", draw, lambda path: traced.draw(path, title=name))
        if save is not None:
            _write("--save", save, traced.save)


@app.command()
def score(
    model: Model,
    input_: Input = None,
    by: Annotated[str, typer.Option(help="Proxies, with commas, or all.")] = "all",
    seed: Seed = 0,
    device: Device = "auto",
    batch: Batch = 64,
    as_json: AsJson = False,
) -> None:
    """Score one model by proxies. Exit code 1 if one has no value."""
    with errors():
        shape = shape_of(input_)
        import torch

        from ..proxies import score as score_model
        from ..proxies.planner import usable_device

        torch.manual_seed(seed)
        with results_only():
            name, module, shape = _one(model, shape)
            scores = score_model(
                module, shape, None, by, seed=seed, device=usable_device(device), batch_size=batch
            )
        if as_json:
            from dataclasses import asdict

            print(json.dumps({"name": name, "scores": [asdict(r) for r in scores.values()]}))
        else:
            for r in scores.values():
                value = "-" if r.value is None else f"{r.value:.6g}"
                peak = "?" if r.peak_memory is None else f"{r.peak_memory / 1e6:.1f}"
                cost = f"{r.seconds:7.3f} s {peak:>7} MB"
                print(f"{r.name:16}{value:>13} {cost}  {r.status}  {r.reason or ''}".rstrip())
    if any(r.value is None for r in scores.values()):
        raise typer.Exit(1)


@app.command()
def proxies(as_json: AsJson = False) -> None:
    """List all proxies, and the scores of whole populations, with their facts."""
    with errors():
        from dataclasses import asdict

        from ..proxies import list as all_proxies
        from ..ranking.aggregation import POPULATION

        shown = (
            "name version summary formula reference higher_is_better needs options mode "
            "initialisation dtype deterministic labels cost"
        ).split()
        facts = [{name: getattr(p, name) for name in shown} for p in all_proxies()]
        populations = [asdict(population) for population in POPULATION.values()]
        if as_json:
            print(json.dumps({"proxies": facts, "populations": populations}, indent=2))
            return
        for p in facts:
            better = "higher" if p["higher_is_better"] else "lower"
            print(f"{p['name']}: {p['summary']}")
            print(f"    {p['formula']}")
            print(f"    {better} is better; cost: {p['cost']}; {p['reference']}")
            if p["options"]:
                options = ",".join(f"{name}={value}" for name, value in p["options"].items())
                print(f"    options: {p['name']}[{options}]")
        print("\nScores of whole populations, for archrank rank --by:")
        for q in populations:
            print(f"{q['name']}: {q['summary']}")
            print(f"    {q['formula']}")
            print(f"    of {', '.join(q['proxies'])}; {q['reference']}")


def _show(result: Ranking, by: str) -> None:
    """The columns that fit 80 characters; the others are in the CSV and the JSON.

    Of the pretrained predictor only the score, not the evidence that it is made of.

    Folded to the width of a terminal; elsewhere one line per candidate, however long its name.
    """
    from rich.console import Console
    from rich.table import Table

    from ..predictors.features.evidence import KINDS, PROXIES
    from ..ranking.ranking import SURE

    by_seed = {f"{name} std" for name in result.table.columns}
    asked = [name.strip() for name in by.split(",")]
    parts = {*KINDS, *PROXIES, "auto"} if "auto" in asked else set()
    hidden = {"above", "seconds", "same_as", "activations", "depth"} | by_seed | parts
    columns = [n for n in result.table.columns if n not in hidden or (n in asked and n != "auto")]
    table = Table(box=None, header_style="bold", pad_edge=False, collapse_padding=True)
    for name in columns:
        is_name = name == "name"
        table.add_column(name, justify="left" if is_name else "right", overflow="fold")
    unsure = (result.table["above"] < SURE).to_numpy()
    for row, mark in zip(result.table[columns].itertuples(index=False), unsure, strict=True):
        rank, *others = map(_short, row)
        table.add_row(f"~{rank}" if mark else rank, *others)
    width = None if sys.stdout.isatty() else sys.maxsize
    console = Console(width=width, markup=False, emoji=False, highlight=False)
    console.print(table)
    if unsure.any():
        console.print(f"~: the one above is better with a chance below {SURE:.0%}")
    for failure in result.failures.itertuples(index=False):
        console.print(f"{failure.name}: {failure.proxy}: {failure.status}: {failure.reason}")
    for one in result.excluded.itertuples(index=False):
        console.print(f"{one.name}: left out: {one.reason}")


def _short(value: Any) -> str:
    if isinstance(value, str):
        return value
    number = float("nan") if str(value) == "<NA>" else float(value)
    if number != number:
        return "-"
    if number == int(number) and abs(number) < 1000:
        return str(int(number))
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(number) >= size:
            return f"{number / (1e3 if unit == 'k' else size):.4g}{unit}"
    return f"{number:.4g}"


def _one(spec: str, shape: Any) -> tuple[str, nn.Module, Any]:
    from ..scoring.candidates import collect

    found = collect(spec)
    if len(found) > 1:
        names = ", ".join(c.name for c in found[:8])
        raise InputError(
            f"MODEL: got {spec!r}, which stands for {len(found)} models, expected one; "
            f"add its name, as in models.py:name (there are {names})"
        )
    try:
        module = found[0].build()
    except ArchrankError:
        raise
    except Exception as error:  # the user's own builder may raise anything
        raise UnsupportedModelError(
            f"MODEL: {found[0].name!r} cannot be built ({type(error).__name__}: {error})"
        ) from error
    shape = (
        shape
        or found[0].inputs
        or (getattr(module, "pretrained_cfg", None) or {}).get("input_size")
    )
    if shape is None:
        raise InputError(
            f"--input: {spec!r} does not say its input; pass it, as in --input 3,32,32"
        )
    return found[0].name, module, shape


def _check_picture(option: str, path: Path | None) -> None:
    """Say before long work that matplotlib is missing or cannot write such a file."""
    if path is None:
        return
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("plotting", "matplotlib", "plots", error) from error
    known = Figure().canvas.get_supported_filetypes()
    if path.suffix[1:].lower() not in known:
        raise InputError(
            f"{option}: {str(path)!r} has no known suffix, expected .{', .'.join(sorted(known))}"
        )


def _write(option: str, path: Path, write: Callable[[Path], Any]) -> None:
    try:
        write(path)
    except OSError as error:
        raise InputError(f"{option}: {str(path)!r} cannot be written ({error})") from error
    say(f"written: {path}")


if __name__ == "__main__":
    main()
