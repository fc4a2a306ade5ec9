"""The command ``archrank graph``: parses, calls, prints; no logic."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from .shared.amounts import shape_of
from .shared.console import errors, results_only
from .shared.options import AsJson, Input, Model, one_model
from .shared.outputs import check_writable, write_file


def graph(
    model: Model,
    input_: Input = None,
    draw: Annotated[Path | None, typer.Option(help="Draw the graph into this file (svg).")] = None,
    save: Annotated[
        Path | None, typer.Option(help="Write the graph into this file; Graph.load reads it.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show, draw or save the computation graph of a model.

    A saved graph is shown and drawn as well.
    """
    with errors():
        shape = shape_of(input_)
        check_writable("--draw", draw)
        check_writable("--save", save)
        from collections import Counter

        from ..graphs import Graph, trace
        from ..scoring.programs import SUFFIXES

        if Path(model).is_file() and not model.endswith((".py", *SUFFIXES)):
            name, traced = Path(model).name, Graph.load(model)
        else:
            with results_only():
                name, module, shape = one_model(model, shape)
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
            write_file("--draw", draw, lambda path: traced.draw(path, title=name))
        if save is not None:
            write_file("--save", save, traced.save)
