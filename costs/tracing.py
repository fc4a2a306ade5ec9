"""Graphs of candidates, without their weights where that goes."""

from __future__ import annotations

from typing import Any

import torch

from ..errors import InputError
from ..graphs import Graph, trace
from ..scoring.candidates import Candidate, FromSpace


def graph_of(candidate: Candidate, inputs: Any) -> Graph:
    """Return the graph of a candidate; no weights are made where its builder can do without.

    Raises:
        InputError: no input is known.
        ArchrankError: it cannot be traced. Builders may raise anything beside.
    """
    build = candidate.build
    if isinstance(build, FromSpace) and inputs is None:
        return build.home.graph(build.arch, build.task)
    if candidate.rebuilds:
        try:
            with torch.device("meta"):
                model = candidate.built()
            return trace(model.eval(), candidate.inputs_for(model, inputs))
        except InputError:
            raise
        except Exception:  # weights that are made from values, and whatever else does not go
            model = candidate.built()
    else:
        model = candidate.built()
    was = model.training
    try:
        return trace(model.eval(), candidate.inputs_for(model, inputs))
    finally:
        model.train(was)
