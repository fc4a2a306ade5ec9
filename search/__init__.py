"""Search with proxies and predictors, in your own loop or in ours.

``assist`` and ``Screener`` improve the draws of a loop. ``Searcher`` proposes what to measure
next. Adapters bring predictors to Optuna, pymoo, Ray Tune and scikit-learn. Each name is imported
when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..lazy import lazy_names

if TYPE_CHECKING:
    from ..predictors.tabular.surrogate import Surrogate
    from .adapters.arrays import ChoiceRegressor, GraphColumns
    from .adapters.optuna_sampler import AssistedSampler, PredictorSampler, suggest
    from .adapters.pymoo_problem import PredictedProblem
    from .adapters.tune_searcher import TuneSearcher
    from .asking.fronts import nsga2
    from .asking.searcher import Searcher
    from .asking.trials import Trial
    from .assisting import assist
    from .choices import Choices
    from .screening import Screener
    from .strategies.draws import LocalSearch, RandomSearch, RegularisedEvolution, Reinforce
    from .strategies.gradient import GradientSearch
    from .strategies.hyperband import Hyperband

_HOME = {
    "Surrogate": ".predictors.tabular.surrogate",
    "assist": "assisting",
    "Screener": "screening",
    "Searcher": "asking.searcher",
    "Trial": "asking.trials",
    "RandomSearch": "strategies.draws",
    "RegularisedEvolution": "strategies.draws",
    "Reinforce": "strategies.draws",
    "LocalSearch": "strategies.draws",
    "GradientSearch": "strategies.gradient",
    "Hyperband": "strategies.hyperband",
    "Choices": "choices",
    "ChoiceRegressor": "adapters.arrays",
    "GraphColumns": "adapters.arrays",
    "PredictorSampler": "adapters.optuna_sampler",
    "AssistedSampler": "adapters.optuna_sampler",
    "suggest": "adapters.optuna_sampler",
    "PredictedProblem": "adapters.pymoo_problem",
    "nsga2": "asking.fronts",
    "TuneSearcher": "adapters.tune_searcher",
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
    "Trial",
    "Surrogate",
    "TuneSearcher",
    "assist",
    "nsga2",
    "suggest",
]


__getattr__, __dir__ = lazy_names(__name__, _HOME)
