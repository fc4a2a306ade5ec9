"""A search algorithm for Ray Tune with a predictor."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...data.spaces.contract import Space
from ...errors import InputError, MissingExtraError, NothingLeftError
from ...files import written_whole
from ..asking.searcher import Searcher

try:
    from ray.tune.search import Searcher as TuneBase
    from ray.tune.search.sample import Domain
except ImportError as error:
    raise MissingExtraError("a searcher for Ray Tune", "ray", "ray", error) from error

FORMAT = 1


class TuneSearcher(TuneBase):
    """A searcher for ``tune.TuneConfig(search_alg=...)``; a trial's architecture is in its config.

    Trials that failed, report NaN or lack the metric count as the worst value so far. Ray saves
    the search with the experiment, as text and without pickle, and ``Tuner.restore`` continues it.
    When there are no more candidates, the search is finished.

    Ray takes one suggestion at a time and starts as many trials as fit; wrap the searcher in
    ``ConcurrencyLimiter`` to make it wait for results.

    Args:
        space: a name or a space.
        predictor, constraints, strategy, acquisition, seed, start, refit, ...: see ``Searcher``;
            constraints may name known quantities only.
        metric, mode: the metric that trials report, and ``"max"`` or ``"min"``; by default those of
            ``TuneConfig``.
        key: the key of the architecture in the config.

    Raises:
        InputError: an argument is invalid.
        MissingExtraError: Ray is not installed.

    Example:
        >>> searcher = TuneSearcher("nats_sss", metric="accuracy", mode="max", start=2)
        >>> for number in range(4):
        ...     config = searcher.suggest(f"t{number}")
        ...     result = {"accuracy": sum(map(int, config["arch"].split(":")))}
        ...     searcher.on_trial_complete(f"t{number}", result)
        >>> len(searcher.search.trials)
        4
    """

    def __init__(
        self,
        space: str | Space,
        predictor: Any = None,
        *,
        metric: str | None = None,
        mode: str | None = None,
        key: str = "arch",
        **settings: Any,
    ):
        super().__init__(metric=metric, mode=mode)
        for name in {"state", "objectives"} & set(settings):
            raise InputError(f"{name}: Ray's experiment has it; leave it out")
        if (metric is None) != (mode is None):
            raise InputError("metric: give both metric and mode, or neither")
        self._space, self._predictor, self._options = space, predictor, settings
        self._key = key
        self._config: dict[str, Any] = {}
        self._archs: dict[str, str] = {}  # running trials
        self._search = self._new_search()
        if self._search.measured != ("value",):
            raise InputError("constraints: Ray's trials report one metric; name known ones alone")

    @property
    def search(self) -> Searcher:
        """The search, with all its trials; values to minimise are negated in it."""
        return self._search

    def _new_search(self) -> Searcher:
        return Searcher(self._space, self._predictor, "value", **self._options)

    # --- what Ray calls -------------------------------------------------------------------------

    def set_search_properties(
        self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any
    ) -> bool:
        """Take the metric and the config's constants; return False if a metric was given before."""
        searched = [name for name, value in config.items() if isinstance(value, Domain)]
        if searched or self._key in config:
            raise InputError(
                f"param_space: {searched or [self._key]} cannot be searched here, which chooses "
                f"config[{self._key!r}] alone; give constants"
            )
        if self._metric is not None and metric is not None and metric != self._metric:
            return False
        self._metric, self._mode = metric or self._metric, mode or self._mode
        self._config = dict(config)
        return True

    def suggest(self, trial_id: str) -> dict[str, Any] | str:  # type: ignore[override]
        """Return the config of the next trial, or that there is none."""
        try:
            (arch,) = self._search.ask(1)
        except NothingLeftError:
            return TuneBase.FINISHED
        self._archs[trial_id] = arch
        return {**self._config, self._key: arch}

    def on_trial_complete(
        self, trial_id: str, result: Mapping[str, Any] | None = None, error: bool = False
    ) -> None:
        """Tell the result."""
        arch = self._archs.pop(trial_id, None)
        if arch is None:
            return  # a trial of another searcher
        value = None if error or not result else result.get(self._metric or "")
        self._search.tell(arch, self._signed(value))

    def add_evaluated_point(
        self, parameters: dict[str, Any], value: float, error: bool = False, *_: Any, **__: Any
    ) -> None:
        """Tell a result that was measured elsewhere."""
        self._search.tell(parameters[self._key], None if error else self._signed(value))

    def _signed(self, value: float | None) -> float | None:
        return value if value is None or self._mode != "min" else -float(value)

    # --- state ----------------------------------------------------------------------------------

    def get_state(self) -> dict[str, Any]:
        """Return everything that the next suggestion depends on, in JSON's types."""
        return {
            "format": FORMAT,
            "metric": self._metric,
            "mode": self._mode,
            "config": self._config,
            "running": self._archs,
            "events": self._search.events,
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Continue from a state, with the settings of this searcher.

        Raises:
            InputError: the state has another format.
        """
        if state.get("format") != FORMAT:
            raise InputError(f"state: its format is {state.get('format')}, expected {FORMAT}")
        self._metric, self._mode = state["metric"], state["mode"]
        self._config, self._archs = dict(state["config"]), dict(state["running"])
        self._search = self._new_search()
        self._search.replay(state["events"])

    def save(self, checkpoint_path: str) -> None:
        """Write the state."""
        try:
            text = json.dumps(self.get_state())
        except TypeError as error:
            raise InputError(f"param_space: a constant cannot be saved as JSON ({error})") from None
        with written_whole(checkpoint_path) as partial:
            partial.write_text(text)

    def restore(self, checkpoint_path: str) -> None:
        """Continue from a written state.

        Raises:
            InputError: the file holds no state.
        """
        try:
            state = json.loads(Path(checkpoint_path).read_text())
            self.set_state(state)
        except (ValueError, KeyError, TypeError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"state: {checkpoint_path!r} holds no search ({error})") from error
