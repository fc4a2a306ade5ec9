"""The members of ``ArchRank``; a new one is a line here."""

from __future__ import annotations

from ..features.columns import GROUPS
from ..tabular.additive import AdditiveProcess
from ..tabular.contract import TabularPredictor
from ..tabular.gaussian_process import GaussianProcess
from ..tabular.ridge import Ridge
from ..tabular.trees import RandomForest, XGBoost
from ..tabular.untrained import Vote


def members() -> dict[str, TabularPredictor]:
    """Return the default members of ``ArchRank`` by name."""
    graph = ("statistics", "paths", "edges")
    grouped = (*GROUPS, "paths", "edges")  # each part has its own kernel
    more = ("code", "scores", "context")
    return {
        "vote of sizes": Vote(("statistics",)),
        "ridge on scores": Ridge(("scores",)),
        "ridge on cells": Ridge(("statistics", "cells")),
        "process on codes": GaussianProcess(("code",), "matern"),
        "sum of processes on graphs": AdditiveProcess((*grouped, "neighbourhoods", "context")),
        "sum of processes on cells": AdditiveProcess((*grouped, "cells", "reductions", "context")),
        "sum of processes on everything": AdditiveProcess((*grouped, *more, "neighbourhoods")),
        "boosting on graphs": XGBoost((*graph, "context")),
        "boosting on codes": XGBoost(("code", "context")),
        "boosting on everything": XGBoost((*graph, *more)),
        "forest on cells": RandomForest((*graph, "cells", "context"), extra=True),
    }


def members_on_encoded_cells() -> dict[str, TabularPredictor]:
    """Return the members that learn from cells encoded by a graph neural network."""
    encoded = ("encoded cells", "encoded reductions", "context")
    return {
        "process on encoded cells": AdditiveProcess(encoded),
        "sum of processes on encoded cells": AdditiveProcess(("statistics", *encoded)),
    }
