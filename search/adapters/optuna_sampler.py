"""Predictors and proxies in Optuna: a sampler, and assistance for other samplers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ...data.spaces.contract import Space
from ...errors import InputError, MissingExtraError
from ..asking.searcher import Searcher
from ..assisting import assist
from ..choices import Choices
from ..scoring import scorer

try:
    import optuna
except ImportError as error:
    raise MissingExtraError("a sampler for Optuna", "optuna", "optuna", error) from error

Study = optuna.study.Study
FrozenTrial = optuna.trial.FrozenTrial
TrialState = optuna.trial.TrialState
Distribution = optuna.distributions.BaseDistribution

_PLAIN = (str, int, float, bool, type(None))


def suggest(trial: Any, space: str | Space) -> str:
    """Suggest the architecture of a trial: one categorical parameter for each choice of the space.

    Args:
        trial: an Optuna trial.
        space: a name or a space of choices.

    Raises:
        InputError: the space is not a list of choices.

    Example:
        >>> study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
        >>> len(suggest(study.ask(), "nats_sss").split(":"))
        5
    """
    choices = Choices(space)
    for name, distribution in distributions(choices).items():
        trial.suggest_categorical(name, distribution.choices)
    return arch_of(choices, trial.params)


def distributions(choices: Choices) -> dict[str, Any]:
    """Return Optuna's distribution of each choice; options of types it does not take become
    text."""
    return {
        choice.name: optuna.distributions.CategoricalDistribution(_plain(choice.options))
        for choice in choices.space.choices
    }


def _plain(options: Sequence[Any]) -> tuple[Any, ...]:
    return tuple(option if isinstance(option, _PLAIN) else str(option) for option in options)


def arch_of(choices: Choices, params: Mapping[str, Any]) -> str:
    """Return the architecture of a trial's parameters.

    Raises:
        InputError: a parameter is missing, or its value is not an option of the choice.
    """
    positions = []
    for choice in choices.space.choices:
        options = _plain(choice.options)
        if params.get(choice.name, ...) not in options:
            raise InputError(
                f"params: {choice.name} is {params.get(choice.name)!r}, expected one of {options}; "
                "let suggest(trial, space) name the parameters"
            )
        positions.append(options.index(params[choice.name]))
    return choices.arch(np.array(positions))


def params_of(choices: Choices, arch: str) -> dict[str, Any]:
    """Return the parameters of an architecture."""
    pairs = zip(choices.space.choices, choices.positions(arch).tolist(), strict=True)
    return {choice.name: _plain(choice.options)[at] for choice, at in pairs}


class PredictorSampler(optuna.samplers.BaseSampler):
    """An Optuna sampler that proposes what a predictor considers most worth measuring.

    It has no state besides the trials of the study, so a study from storage continues as before,
    and several processes can work on one study. Running trials are pending and not proposed again.
    Failed and pruned trials count as the worst value so far. Studies with several objectives also
    need the extra ``[pymoo]``.

    In the objective, call ``suggest``. All other parameters are sampled independently.

    Args:
        space: a name or a space of choices.
        predictor, strategy, acquisition, seed, start, refit, ...: see
            ``Searcher``; here ``refit`` is 1 by default.
        independent: the sampler of other parameters; by default ``RandomSampler`` of Optuna.

    Raises:
        InputError: an argument is invalid.
        MissingExtraError: Optuna is not installed.

    Example:
        >>> optuna.logging.set_verbosity(optuna.logging.WARNING)
        >>> study = optuna.create_study(direction="maximize", sampler=PredictorSampler("nats_sss"))
        >>> def objective(trial):
        ...     return sum(map(int, suggest(trial, "nats_sss").split(":")))
        >>> study.optimize(objective, n_trials=10)
        >>> study.best_value > 200
        True
    """

    def __init__(
        self,
        space: str | Space,
        predictor: Any = None,
        *,
        refit: int = 1,
        independent: Any = None,
        **settings: Any,
    ):
        for name in {"state", "objectives"} & set(settings):
            raise InputError(f"{name}: Optuna's study has it; leave it out")
        self._choices = Choices(space)
        self._settings = {"predictor": predictor, "refit": refit, **settings}
        seed = settings.get("seed", 0)
        self._independent = independent or optuna.samplers.RandomSampler(seed=seed)
        Searcher(self._choices.space, **self._settings)  # refuses wrong settings now, not later
        self._searcher: Searcher | None = None
        self._study = ""
        self._running: set[int] = set()
        self._told: set[int] = set()

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, Distribution]:
        return distributions(self._choices)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, Distribution]
    ) -> dict[str, Any]:
        searcher = self._synchronised(study)
        (arch,) = searcher.ask(1)
        self._running.add(trial.number)
        return params_of(self._choices, arch)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: Distribution
    ) -> Any:
        return self._independent.sample_independent(study, trial, param_name, param_distribution)

    def reseed_rng(self) -> None:
        self._independent.reseed_rng()

    def _synchronised(self, study: Study) -> Searcher:
        """Return the search with all trials of the study."""
        signs = ["-" if d == optuna.study.StudyDirection.MINIMIZE else "" for d in study.directions]
        if self._searcher is None or self._study != study.study_name:
            goals = [f"{sign}value{i}" for i, sign in enumerate(signs)]
            self._searcher = Searcher(self._choices.space, objectives=goals, **self._settings)
            self._study, self._running, self._told = study.study_name, set(), set()
        for trial in study.get_trials(deepcopy=False):
            if trial.number in self._told:
                continue
            try:
                arch = arch_of(self._choices, trial.params)
            except InputError:
                continue  # it was not sampled yet, or belongs to another objective
            if trial.state.is_finished():
                self._told.add(trial.number)
                self._searcher.tell(arch, _result(trial))
            elif trial.number not in self._running:
                self._running.add(trial.number)
                self._searcher.await_result(arch)
        return self._searcher


def _result(trial: FrozenTrial) -> dict[str, float] | Exception:
    if trial.state != TrialState.COMPLETE:
        return RuntimeError(f"Optuna's trial {trial.number} is {trial.state.name.lower()}")
    return {f"value{i}": value for i, value in enumerate(trial.values)}


class AssistedSampler(optuna.samplers.BaseSampler):
    """Assistance for any Optuna sampler: it samples k sets of parameters, and the best-scored is
    used.

    The parameters of an architecture are known beforehand, so each architecture is sampled as a
    whole; see ``assist`` for errors.

    Args:
        sampler: the sampler to assist.
        space: a name or a space of choices.
        score: the same as in ``assist``.
        k: the number of samples.
        task: the task that networks are built for, if ``score`` names proxies.

    Raises:
        InputError: an argument is invalid.
        MissingExtraError: Optuna is not installed.

    Example:
        >>> optuna.logging.set_verbosity(optuna.logging.WARNING)
        >>> sampler = AssistedSampler(
        ...     optuna.samplers.TPESampler(seed=0),
        ...     "nats_sss",
        ...     lambda archs: [sum(map(int, arch.split(":"))) for arch in archs],
        ... )
        >>> trial = optuna.create_study(sampler=sampler).ask()
        >>> sum(map(int, suggest(trial, "nats_sss").split(":"))) > 200
        True
    """

    def __init__(
        self, sampler: Any, space: str | Space, score: Any, k: int = 10, *, task: str | None = None
    ):
        self._sampler = sampler
        self._choices = Choices(space)
        self._distributions = distributions(self._choices)
        self._draw = assist(self._sampled, scorer(score, self._choices.space, task), k)

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, Distribution]:
        others = self._sampler.infer_relative_search_space(study, trial)
        return {**others, **self._distributions}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, Distribution]
    ) -> dict[str, Any]:
        others = self._sampler.infer_relative_search_space(study, trial)
        sampled: dict[str, dict[str, Any]] = {}
        arch = self._draw(study, trial, others, sampled)
        return sampled[arch]

    def _sampled(
        self,
        study: Study,
        trial: FrozenTrial,
        others: dict[str, Distribution],
        sampled: dict[str, dict[str, Any]],
    ) -> str:
        """Sample one architecture, and put everything sampled with it into a dict."""
        params = dict(self._sampler.sample_relative(study, trial, others))
        for name, distribution in self._distributions.items():
            if name not in params:
                params[name] = self._sampler.sample_independent(study, trial, name, distribution)
        arch = arch_of(self._choices, params)
        sampled[arch] = params
        return arch

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: Distribution
    ) -> Any:
        return self._sampler.sample_independent(study, trial, param_name, param_distribution)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        self._sampler.before_trial(study, trial)

    def after_trial(
        self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        self._sampler.after_trial(study, trial, state, values)

    def reseed_rng(self) -> None:
        self._sampler.reseed_rng()
