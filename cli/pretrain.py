"""The command ``archrank pretrain``: parses, calls, prints; no logic."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from ..errors import InputError
from .console import errors, make_room, progress, results_only, say, shape_of


def pretrain(
    out: Annotated[Path, typer.Option(help="Folder that the encoder is written to.")],
    candidates: Annotated[
        list[str] | None, typer.Argument(help="Models to learn from, beside those of spaces.")
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(help="As default: make the shipped predictor, from published labels."),
    ] = None,
    without: Annotated[
        str, typer.Option(help="Families that the recipe leaves out, with their relatives.")
    ] = "",
    scores: Annotated[
        Path | None, typer.Option(help="Folder of the recipe's scores; default beside --out.")
    ] = None,
    jobs: Annotated[
        int, typer.Option(min=1, help="Number of processes that score for the recipe.")
    ] = 1,
    spaces: Annotated[
        str, typer.Option(help="Search spaces to draw networks from, separated by commas.")
    ] = "",
    networks: Annotated[
        int, typer.Option(min=1, help="How many networks to draw, in equal parts from all spaces.")
    ] = 1000,
    input_: Annotated[
        str | None, typer.Option("--input", help="Shape of one sample, as 3,32,32.")
    ] = None,
    encoder: Annotated[
        str, typer.Option(help="Kind of encoder: kgnn, gin, gat, flow or transformer.")
    ] = "kgnn",
    width: Annotated[int, typer.Option(min=2, help="Width of the encoder's vectors.")] = 128,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over all networks.")] = 40,
    batch: Annotated[int, typer.Option(min=2, help="Networks per batch.")] = 256,
    statistics: Annotated[
        float,
        typer.Option(min=0, help="Weight of predicting size and depth; that of the contrast is 1."),
    ] = 0.0,
    device: Annotated[str, typer.Option(help="Device: cpu, cuda, cuda:1, ...")] = "cpu",
    seed: Annotated[int, typer.Option(min=0, help="Seed of everything random.")] = 0,
    quiet: Annotated[bool, typer.Option("--quiet", help="Show no progress.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, and nothing else.")] = False,
) -> None:
    """Train an encoder of graphs without labels, or make the pretrained predictor (--recipe).

    If it is stopped, run it again to go on.
    """
    with errors():
        if recipe is not None:
            _make(recipe, out, scores, _listed(without), jobs, quiet, as_json)
            return
        from ..predictors import Pretraining
        from ..predictors.neural import corpus

        pretraining = Pretraining(
            encoder,
            {"width": width, "dropout": 0.1},
            projection=max(1, width // 2),
            statistics=statistics,
            epochs=epochs,
            batch_size=batch,
            device=device,
            random_state=seed,
        )
        make_room("--out", out)
        names = _listed(spaces)
        with nullcontext() if quiet else progress("graphs") as report, results_only():
            graphs = corpus.graphs_to_learn_from(
                names, networks, tuple(candidates or ()), shape_of(input_), seed, report
            )
        with nullcontext() if quiet else progress("epochs") as report, results_only():
            trained = corpus.pretrain(pretraining, graphs, out, report)
        losses = trained.history_
        if as_json:
            print(json.dumps({"networks": len(graphs), "losses": losses}, indent=2))
            return
        say(f"written: {out}")
        print(f"learnt from {len(graphs)} networks: loss {losses[0]:.4g} to {losses[-1]:.4g}")


def _make(
    recipe: str,
    out: Path,
    scores: Path | None,
    without: tuple[str, ...],
    jobs: int,
    quiet: bool,
    as_json: bool,
) -> None:
    if recipe != "default":
        raise InputError(f"--recipe: got {recipe!r}, expected 'default'")
    from ..predictors.pretrained import recipe as recipes

    make_room("--out", out)
    kept = out.with_name(out.name + ".scores") if scores is None else scores
    with nullcontext() if quiet else progress("scoring") as report, results_only():
        made = recipes.make(out, kept, jobs, without, report)
    families = list(made.family_prior_["families"])
    if as_json:
        print(json.dumps({"families": families}, indent=2))
        return
    say(f"written: {out}")
    print(f"learnt of {len(families)} families: {', '.join(families)}")


def _listed(names: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in names.split(",") if name.strip())
