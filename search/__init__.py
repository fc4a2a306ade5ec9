"""Searching with proxies and predictors: parts for other people's loops, and a loop of our own.

:func:`assist` and :class:`Screener` go where a loop draws architectures; :class:`Searcher` asks for
what to measure next; adapters bring predictors into Optuna, pymoo, Ray Tune and scikit-learn. Each
name is imported when first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .arrays import ChoiceRegressor, Choices, GraphColumns
    from .assisting import assist
    from .gradient import GradientSearch
    from .hyperband import Hyperband
    from .optuna_sampler import AssistedSampler, PredictorSampler, suggest
    from .pymoo_problem import PredictedProblem, nsga2
    from .screening import Screener
    from .searcher import Searcher
    from .strategies import LocalSearch, RandomSearch, RegularisedEvolution, Reinforce
    from .surrogate import Surrogate
    from .trials import Trial
    from .tune_searcher import TuneSearcher

_HOME = {
    "assist": "assisting",
    "Screener": "screening",
    "Searcher": "searcher",
    "Trial": "trials",
    "Surrogate": "surrogate",
    "RandomSearch": "strategies",
    "RegularisedEvolution": "strategies",
    "Reinforce": "strategies",
    "LocalSearch": "strategies",
    "GradientSearch": "gradient",
    "Hyperband": "hyperband",
    "Choices": "arrays",
    "ChoiceRegressor": "arrays",
    "GraphColumns": "arrays",
    "PredictorSampler": "optuna_sampler",
    "AssistedSampler": "optuna_sampler",
    "suggest": "optuna_sampler",
    "PredictedProblem": "pymoo_problem",
    "nsga2": "pymoo_problem",
    "TuneSearcher": "tune_searcher",
}

__all__ = [
    "AssistedSampler",
    "ChoiceRegressor",
    "Choices",
    "GradientSearch",
    "GraphColumns",
    "Hyperband",
    "LocalSearch",
    "PredictedProblem",
    "PredictorSampler",
    "RandomSearch",
    "RegularisedEvolution",
    "Reinforce",
    "Screener",
    "Searcher",
    "Surrogate",
    "Trial",
    "TuneSearcher",
    "assist",
    "nsga2",
    "suggest",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = value  # the next access does not come here
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
