"""The commands ``archrank score`` and ``archrank proxies``: parse, call, print; no logic."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from ..formats import number
from .shared.amounts import shape_of
from .shared.console import errors, progress, results_only
from .shared.options import (
    AsJson,
    Batch,
    Data,
    Device,
    Input,
    LossName,
    Model,
    Quiet,
    Seed,
    one_model,
)
from .shared.tables import print_table

_NO_FAILURES = ("unsupported", "not applicable")


def score(
    model: Model,
    input_: Input = None,
    data: Data = None,
    loss: LossName = None,
    by: Annotated[
        str,
        typer.Option(
            "--by",
            "--proxies",
            help="The proxies, separated by commas; archrank proxies lists them.",
        ),
    ] = "all",
    seed: Seed = 0,
    device: Device = "auto",
    batch: Batch = 64,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Score one model by proxies.

    The exit code is 1 if a proxy fails. A proxy that does not apply to the model is not a failure.
    """
    with errors(quiet):
        shape = shape_of(input_)
        from ..proxies import score as score_model
        from ..proxies.planner import usable_device
        from ..scoring.named_data import named_loss

        with progress(quiet) as report, results_only():
            name, module, inputs = one_model(model, shape, data, batch, seed)
            scores = score_model(
                module,
                inputs,
                proxies=by,
                loss=None if loss is None else named_loss(loss),
                seed=seed,
                device=usable_device(device),
                batch_size=batch,
                progress=report or False,
            )
        if as_json:
            from dataclasses import asdict

            print(json.dumps({"name": name, "scores": [asdict(r) for r in scores.values()]}))
        else:
            results = list(scores.values())
            columns = {
                "proxy": list(scores),
                "value": ["-" if r.value is None else number(r.value, 6) for r in results],
                "seconds": [f"{r.seconds:.3f}" for r in results],
                "MB": [
                    "-" if r.peak_memory is None else f"{r.peak_memory / 1e6:.1f}" for r in results
                ],
                "status": [f"{r.status}: {r.reason}" if r.reason else r.status for r in results],
            }
            print_table(columns, ("proxy", "status"))
    failed = [r for r in scores.values() if r.value is None and r.status not in _NO_FAILURES]
    if failed:
        raise typer.Exit(1)


def proxies(as_json: AsJson = False) -> None:
    """Describe all proxies and all scores of whole populations."""
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
        print("\nauto, the default of archrank rank --by, is the pretrained predictor.")
        print("Scores of whole populations, for archrank rank --by:")
        for q in populations:
            print(f"{q['name']}: {q['summary']}")
            print(f"    {q['formula']}")
            print(f"    of {', '.join(q['proxies'])}; {q['reference']}")
