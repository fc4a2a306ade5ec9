"""Learned predictors: architectures and a few labels in, the others' labels out.

All of them are scikit-learn estimators over sequences of graphs, models, or architectures of a
space; see :class:`Predictor`. Each name is imported when first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import encoders, losses
    from .additive import AdditiveProcess
    from .checks import check_predictor
    from .contract import Predictor
    from .cost import CostPredictor
    from .ensemble import ArchRank
    from .evidence import Evidence
    from .experience import Experience, Family
    from .familiarity import Familiarity, OutOfFamilyWarning
    from .features import Features
    from .fuzzy import FuzzyCMeans
    from .gennape import GENNAPE
    from .graph import KGNN, GraphPredictor
    from .heteroscedastic import HeteroscedasticNetwork
    from .operator_table import OperatorTable
    from .parzc import ParZC
    from .pretraining import Pretrained, Pretraining
    from .reading import Sample, samples, with_context
    from .similarity import GraphEmbedding, edit_distance, spectral_distance
    from .tabular import MLP, GaussianProcess, RandomForest, Ridge, XGBoost
    from .transfer import EvidenceProcess, TransferRank
    from .untrained import Vote

_HOME = {
    "AdditiveProcess": "additive",
    "ParZC": "parzc",
    "Predictor": "contract",
    "check_predictor": "checks",
    "CostPredictor": "cost",
    "ArchRank": "ensemble",
    "Evidence": "evidence",
    "Experience": "experience",
    "Family": "experience",
    "Familiarity": "familiarity",
    "OutOfFamilyWarning": "familiarity",
    "Features": "features",
    "FuzzyCMeans": "fuzzy",
    "GENNAPE": "gennape",
    "KGNN": "graph",
    "GraphPredictor": "graph",
    "HeteroscedasticNetwork": "heteroscedastic",
    "OperatorTable": "operator_table",
    "Pretrained": "pretraining",
    "Pretraining": "pretraining",
    "Sample": "reading",
    "samples": "reading",
    "with_context": "reading",
    "GraphEmbedding": "similarity",
    "edit_distance": "similarity",
    "spectral_distance": "similarity",
    "GaussianProcess": "tabular",
    "MLP": "tabular",
    "RandomForest": "tabular",
    "Ridge": "tabular",
    "XGBoost": "tabular",
    "EvidenceProcess": "transfer",
    "TransferRank": "transfer",
    "Vote": "untrained",
}
_ROOMS = ("encoders", "losses")

__all__ = [
    "GENNAPE",
    "KGNN",
    "MLP",
    "AdditiveProcess",
    "ArchRank",
    "CostPredictor",
    "Evidence",
    "EvidenceProcess",
    "Experience",
    "Familiarity",
    "Family",
    "Features",
    "FuzzyCMeans",
    "GaussianProcess",
    "GraphEmbedding",
    "GraphPredictor",
    "HeteroscedasticNetwork",
    "OperatorTable",
    "OutOfFamilyWarning",
    "ParZC",
    "Predictor",
    "Pretrained",
    "Pretraining",
    "RandomForest",
    "Ridge",
    "Sample",
    "TransferRank",
    "Vote",
    "XGBoost",
    "check_predictor",
    "edit_distance",
    "encoders",
    "losses",
    "samples",
    "spectral_distance",
    "with_context",
]


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return import_module(f".{name}", __name__)
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = value  # the next access does not come here
    return value
