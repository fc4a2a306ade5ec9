"""The command ``archrank pretrain``: parses, calls, prints; no logic."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from ..errors import InputError
from .shared.amounts import shape_of
from .shared.console import errors, progress, results_only, say
from .shared.interruption import kept_in
from .shared.options import AsJson, Device, Input, Jobs, Quiet, Seed
from .shared.outputs import make_room


def pretrain(
    out: Annotated[Path, typer.Option(help="The folder to write the encoder to.")],
    candidates: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="CANDIDATES",
            help="Models to learn from, in addition to those drawn from spaces.",
        ),
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(help="Make one of the shipped predictors: default or gennape."),
    ] = None,
    without: Annotated[
        str, typer.Option(help="Families that the recipe holds out, with their relatives.")
    ] = "",
    scores: Annotated[
        Path | None,
        typer.Option(
            help="The folder with the scores of the recipe. By default it is next to --out."
        ),
    ] = None,
    jobs: Jobs = 1,
    spaces: Annotated[
        str, typer.Option(help="The spaces to draw networks from, separated by commas.")
    ] = "",
    networks: Annotated[
        int, typer.Option(min=1, help="The number of networks to draw, the same from each space.")
    ] = 1000,
    input_: Input = None,
    encoder: Annotated[
        str, typer.Option(help="The encoder to train: kgnn, gin, gat, flow or transformer.")
    ] = "gin",
    width: Annotated[int, typer.Option(min=2, help="The length of the encoder's vectors.")] = 64,
    epochs: Annotated[int, typer.Option(min=1, help="The number of epochs.")] = 30,
    batch: Annotated[
        int, typer.Option(min=2, help="The number of networks in a training step.")
    ] = 64,
    objectives: Annotated[
        str,
        typer.Option(
            help="The objectives: best, published (GENNAPE's), or names with weights as in "
            "statistics=1,counts=0.3. Others are masked, contrast, spectral and sizes."
        ),
    ] = "best",
    wirings: Annotated[
        int, typer.Option(min=0, help="The number of randomly wired networks to add.")
    ] = 0,
    device: Device = "cpu",
    seed: Seed = 0,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Train an encoder of graphs without labels.

    With --recipe, make one of the shipped predictors instead.

    If the command stops, run it again to continue.
    """
    with errors(quiet):
        if recipe is not None:
            _make(recipe, out, scores, _listed(without), jobs, quiet, as_json)
            return
        from ..predictors import Pretraining
        from ..predictors.neural import corpus
        from ..predictors.neural.pretraining import usual_options

        form = Pretraining.published if objectives == "published" else Pretraining
        pretraining = form(
            encoder=encoder,
            options=usual_options(encoder, width),
            projection=max(1, width // 2),
            objectives=_weights(objectives),
            epochs=epochs,
            batch_size=batch,
            device=device,
            random_state=seed,
        )
        make_room("--out", out)
        names = _listed(spaces)
        checkpoint = corpus.checkpoint_of(out)
        with (
            kept_in(checkpoint, "a checkpoint is written every 30 seconds of training"),
            progress(quiet, "graphs") as report,
            results_only(),
        ):
            graphs = corpus.graphs_to_learn_from(
                names, networks, tuple(candidates or ()), shape_of(input_), seed, report, wirings
            )
        with (
            kept_in(checkpoint, "a checkpoint is written every 30 seconds"),
            progress(quiet, "epochs") as report,
            results_only(),
        ):
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
    if recipe not in ("default", "gennape"):
        raise InputError(f"--recipe: got {recipe!r}, expected 'default' or 'gennape'")
    from ..predictors.pretrained import gennape_recipe, transfer_recipe

    make_room("--out", out)
    kept = out.with_name(out.name + ".scores") if scores is None else scores
    advice = "finished scores and checkpoints are kept as soon as there are some"
    with kept_in(kept, advice), progress(quiet, "scoring") as report, results_only():
        if recipe == "gennape":
            families = list(gennape_recipe.make(out, without, report).families_ or ())
        else:
            made = transfer_recipe.make(out, kept, jobs, without, report)
            families = list(made.reference_["families"])
    if as_json:
        print(json.dumps({"families": families}, indent=2))
        return
    say(f"written: {out}")
    print(f"learnt from {len(families)} families: {', '.join(families)}")


def _weights(given: str) -> str | dict[str, float]:
    """Read objectives by name, or with weights where there are some."""
    if "=" not in given:
        return given
    parts = [part.partition("=") for part in _listed(given)]
    try:
        return {name.strip(): float(weight) for name, _, weight in parts}
    except ValueError:
        raise InputError(
            f"--objectives: got {given!r}, expected names with weights such as "
            "statistics=1,counts=0.3"
        ) from None


def _listed(names: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in names.split(",") if name.strip())
