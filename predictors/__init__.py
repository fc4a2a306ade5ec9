"""Predictors that learn from labelled architectures and predict the labels of others.

All predictors are scikit-learn estimators. They take sequences of graphs, models or architectures
of a space; see ``Predictor``. Each name is imported when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..lazy import lazy_names

if TYPE_CHECKING:
    from .checks import check_predictor
    from .contract import Predictor
    from .ensemble.archrank import ArchRank
    from .features.columns import Features
    from .features.distances import GraphEmbedding, edit_distance, spectral_distance
    from .neural import encoders, losses
    from .neural.fuzzy import FuzzyCMeans
    from .neural.gennape import GENNAPE, HeadSettings
    from .neural.graph_predictor import KGNN, GraphPredictor
    from .neural.heteroscedastic import HeteroscedasticNetwork
    from .neural.parzc import ParZC
    from .neural.pretraining import Pretrained, Pretraining
    from .pretrained.distribution import Distribution, OutOfFamilyWarning
    from .pretrained.families import Family
    from .pretrained.graph_ensemble import GraphEnsemble
    from .pretrained.reference import Reference
    from .pretrained.transfer import TransferRank
    from .reading import Sample, samples, with_context
    from .tabular.additive import AdditiveProcess
    from .tabular.gaussian_process import GaussianProcess
    from .tabular.mlp import MLP
    from .tabular.ridge import Ridge
    from .tabular.surrogate import Surrogate
    from .tabular.trees import RandomForest, XGBoost
    from .tabular.untrained import Vote

_HOME = {
    "AdditiveProcess": "tabular.additive",
    "ParZC": "neural.parzc",
    "Predictor": "contract",
    "check_predictor": "checks",
    "ArchRank": "ensemble.archrank",
    "Distribution": "pretrained.distribution",
    "Family": "pretrained.families",
    "Reference": "pretrained.reference",
    "OutOfFamilyWarning": "pretrained.distribution",
    "Features": "features.columns",
    "FuzzyCMeans": "neural.fuzzy",
    "GENNAPE": "neural.gennape",
    "HeadSettings": "neural.gennape",
    "KGNN": "neural.graph_predictor",
    "GraphEnsemble": "pretrained.graph_ensemble",
    "GraphPredictor": "neural.graph_predictor",
    "HeteroscedasticNetwork": "neural.heteroscedastic",
    "Pretrained": "neural.pretraining",
    "Pretraining": "neural.pretraining",
    "Sample": "reading",
    "samples": "reading",
    "with_context": "reading",
    "GraphEmbedding": "features.distances",
    "edit_distance": "features.distances",
    "spectral_distance": "features.distances",
    "GaussianProcess": "tabular.gaussian_process",
    "MLP": "tabular.mlp",
    "RandomForest": "tabular.trees",
    "Ridge": "tabular.ridge",
    "XGBoost": "tabular.trees",
    "Surrogate": "tabular.surrogate",
    "TransferRank": "pretrained.transfer",
    "Vote": "tabular.untrained",
}
_MODULES = {"encoders": "neural.encoders", "losses": "neural.losses"}

__all__ = [
    "GENNAPE",
    "KGNN",
    "MLP",
    "AdditiveProcess",
    "ArchRank",
    "Distribution",
    "Family",
    "Reference",
    "Features",
    "FuzzyCMeans",
    "GraphEnsemble",
    "GaussianProcess",
    "GraphEmbedding",
    "GraphPredictor",
    "HeadSettings",
    "HeteroscedasticNetwork",
    "OutOfFamilyWarning",
    "ParZC",
    "Predictor",
    "Pretrained",
    "Pretraining",
    "RandomForest",
    "Ridge",
    "Sample",
    "Surrogate",
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


__getattr__, __dir__ = lazy_names(__name__, _HOME, _MODULES)
