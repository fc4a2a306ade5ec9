"""A search with a predictor, by ask and tell, which outlives its process.

The first ``start`` architectures are random. Then a predictor is fitted to all results, and a
search on its predictions finds the candidates most worth measuring. After ``refit`` more results,
the predictor is fitted anew. Source of this schedule: Cummings et al., "A hardware-aware framework
for accelerating neural architecture search across modalities" (LINAS), arXiv 2205.10358.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from ...basics import Array, Callback, Finished
from ...data.spaces.contract import Space
from ...errors import InputError, checked_count
from ...predictors.reading import Sample
from ..scoring import space_named
from .acquisition import checked_kind
from .goals import Goals
from .knowledge import Knowledge
from .models import Models
from .pools import Listing
from .proposals import Proposals
from .results import result_of
from .trials import Trial, Trials


class Searcher:
    """A search by ask and tell, guided by a predictor.

    With the same settings, seed and trials, its proposals are the same. With ``state``, every ask
    and tell is saved to a file before it returns, so that a search can continue after ``kill -9``
    as if nothing had happened; architectures without a result are ``pending``. The file holds
    text, no pickle. A network is never proposed twice, not even as another string. A failed
    evaluation counts as the worst value so far, so the search avoids similar networks.

    Args:
        space: a name or a space.
        predictor: one of ``archrank.predictors``, or any object with ``fit(architectures,
            labels)`` and ``predict``; by default ``Surrogate``. It is refitted to normal scores of
            the ranks of labels.
        objectives: a name to maximise, or to minimise if a minus precedes it; several names for a
            Pareto front (extra ``[pymoo]``).
        constraints: texts such as ``"params<=1e6"``. ``params``, ``flops``, ``activations`` and the
            names in ``known`` are computed for each candidate. Other names are measured with the
            objectives; candidates that probably violate such a constraint are skipped.
        strategy: where candidates come from: ``"all"`` (spaces of at most 20,000 architectures and
            pools), ``"evolution"`` on predictions (NSGA-II if there are several objectives),
            ``"local"`` (neighbours of the best) or ``"random"``. Default: ``"all"`` where possible,
            else ``"evolution"``.
        acquisition: ``"mean"``, ``"ucb"``, ``"thompson"`` or ``"ei"``; see
            ``archrank.search.asking.acquisition``. Default: ``"ei"``, or ``"ucb"`` for several
            objectives.
        seed: the seed of everything random.
        task: the task of the networks.
        start: the number of results before the first fit.
        refit: the number of new results before the next fit.
        candidates: the number of candidates for each proposal, where not all are considered. Each
            becomes a graph once; a predictor of codes alone (``Surrogate(("code",))``) needs no
            graphs.
        pool: the architectures to choose from, instead of the whole space.
        known: name -> function from a list of architectures to numbers, for constraints and
            objectives that need no measuring.
        samples: canonical architecture -> the sample that predictors read, if it was made before
            (``archrank.predictors.samples``), with scores of proxies if it has any.
        state: the file that keeps the search; None to keep nothing.
        callback: called with the ``archrank.basics.Finished`` result of each trial that is told,
            once it is in the state.

    Raises:
        InputError: an argument is invalid, or the state belongs to other settings, is damaged, or
            is in use by another process.
        StoreError: the state cannot be written.

    Example:
        >>> searcher = Searcher("nats_sss", seed=0, start=5)
        >>> for _ in range(4):
        ...     archs = searcher.ask(5)
        ...     searcher.tell(archs, [sum(map(int, arch.split(":"))) for arch in archs])
        >>> searcher.best().values["accuracy"] > 250
        True
    """

    def __init__(
        self,
        space: str | Space,
        predictor: Any = None,
        objectives: str | Sequence[str] = "accuracy",
        constraints: str | Sequence[str] = (),
        strategy: str | None = None,
        acquisition: str | None = None,
        seed: int = 0,
        *,
        task: str | None = None,
        start: int = 10,
        refit: int = 5,
        candidates: int = 1000,
        pool: Iterable[str] | None = None,
        known: Mapping[str, Callable[[Sequence[str]], Any]] | None = None,
        samples: Mapping[str, Sample] | None = None,
        state: str | Path | None = None,
        callback: Callback | None = None,
    ):
        self.space = space_named(space)
        self.space.task(task)
        numbers = {"start": (start, 2), "refit": (refit, 1), "candidates": (candidates, 10)}
        for name, (number, least) in numbers.items():
            checked_count(name, number, least)
        self._start, self._refit_every, self._callback = start, refit, callback
        self._knowledge = Knowledge(self.space, task, known or {}, samples)
        self._goals = _measured_goals(objectives, constraints, self._knowledge)
        acquisition = _acquisition_for(self._goals, acquisition)
        self._models = Models(self._knowledge, predictor)
        listing = Listing(self.space, pool)
        strategy = listing.strategy(strategy)
        self._trials = Trials(self.space)
        self._proposals = Proposals(
            *(self._trials, listing, self._knowledge, self._goals, self._models),
            *(strategy, acquisition, candidates, seed),
        )
        if state is not None:
            chosen = None if listing.pool is None else "\n".join(listing.pool)
            settings = {
                "space": self.space.name,
                "task": task,
                "predictor": self._models.described,
                "objectives": list(map(str, self._goals.objectives)),
                "constraints": list(map(str, self._goals.constraints)),
                "strategy": strategy,
                "acquisition": acquisition,
                "seed": seed,
                "start": start,
                "refit": refit,
                "candidates": candidates,
                "pool": chosen and sha256(chosen.encode()).hexdigest()[:16],
                "known": sorted(known or {}),
            }
            self._trials.open(state, settings)

    def __repr__(self) -> str:
        goals = ", ".join(map(str, self._goals.objectives))
        counts = f"{self._trials.told_count} told, {len(self.pending)} pending"
        return f"<Searcher of {goals} in {self.space.name}: {counts}>"

    # --- what is known --------------------------------------------------------------------------

    @property
    def trials(self) -> list[Trial]:
        """All trials, in order."""
        return list(self._trials)

    @property
    def measured(self) -> tuple[str, ...]:
        """The names of the values that ``tell`` takes."""
        return self._goals.measured

    @property
    def pending(self) -> list[str]:
        """Architectures without a result, oldest first."""
        return [trial.arch for trial in self._trials.of("pending")]

    @property
    def refused(self) -> dict[str, str]:
        """Architecture -> why it cannot be built; such architectures are never proposed."""
        return self._knowledge.refused

    def best(self) -> Trial:
        """Return the trial with the best value among those that meet all constraints.

        Raises:
            InputError: there are several objectives, nothing was told, or no trial meets the
                constraints. In that case the message says which trial comes nearest.
        """
        if self._goals.several:
            raise InputError("best: there are several objectives; front() gives all best trials")
        return self.front()[0]

    def front(self) -> list[Trial]:
        """Return the Pareto front of the trials that meet all constraints.

        Raises:
            InputError: nothing was told, or no trial meets the constraints.
        """
        return self._goals.front(self._trials.of("done"))

    # --- telling --------------------------------------------------------------------------------

    def tell(self, archs: str | Sequence[str], values: Any) -> None:
        """Take the results of any architectures.

        Args:
            archs: one architecture or several.
            values: a number for each architecture, or a mapping from names to numbers if several
                quantities are measured. A failed evaluation is told as NaN, None, or the exception
                that it raised.

        Raises:
            InputError: there are not as many values as architectures, or a value is of another
                kind.
            StoreError: the state cannot be written. In that case none of the results was told.
        """
        if isinstance(archs, str):
            archs, values = [archs], [values]
        archs, values = list(archs), list(values)
        if len(archs) != len(values):
            raise InputError(
                f"values: got {len(values)} for {len(archs)} architectures, expected one for each"
            )
        events = [
            {"tell": self.space.normalise(arch), **result_of(value, self.measured)}
            for arch, value in zip(archs, values, strict=True)
        ]
        before = self._trials.told_count
        self._trials.add(events)
        if self._callback is not None:
            for number, trial in enumerate(self._trials.told[before:], before + 1):
                failures = {"all": trial.reason} if trial.status == "failed" else {}
                self._callback(Finished(number, trial.arch, trial.values, failures))

    def load(self, results: Any) -> int:
        """Tell finished results of an earlier search; known results are skipped.

        Args:
            results: a mapping or a pandas Series from architectures to what ``tell`` takes, a
                DataFrame of architectures with a column for each name, or another search.

        Returns:
            How many were told.

        Raises:
            InputError: an architecture or a value is not of a kind that ``tell`` takes.
        """
        if isinstance(results, Searcher):
            finished = {trial.arch: trial for trial in results._trials.told}
            made = {
                arch: {"failed": trial.reason}
                if trial.status == "failed"
                else result_of(trial.values, self.measured)
                for arch, trial in finished.items()
            }
        else:
            if hasattr(results, "columns"):
                results = results[list(self.measured)].to_dict("index")
            made = {
                self.space.normalise(a): result_of(v, self.measured) for a, v in results.items()
            }
        here = {trial.arch for trial in self._trials.told}
        events = [{"tell": arch, **result} for arch, result in made.items() if arch not in here]
        self._trials.add(events)
        return len(events)

    def run(self, objective: Callable[[str], Any], evaluations: int, batch: int = 1) -> list[Trial]:
        """Ask, evaluate and tell until there are ``evaluations`` results, including failed ones.

        Pending architectures (of a run that was killed) are evaluated first. If ``objective``
        raises an error, that trial has failed, and the search continues.

        Args:
            objective: a function from an architecture to a value for ``tell``.
            evaluations: the total number of results, including earlier ones.
            batch: the number of architectures in each ask.

        Returns:
            All trials.

        Raises:
            InputError: the first ``start`` evaluations all failed.
        """
        while (left := evaluations - self._trials.told_count) > 0:
            for arch in (self.pending or self.ask(min(batch, left)))[:left]:
                try:
                    value = objective(arch)
                except Exception as error:
                    value = error
                self.tell(arch, value)
                self._give_up_on_failures()
        return self.trials

    def _give_up_on_failures(self) -> None:
        if self._trials.told_count != self._start:
            return
        told = self._trials.told
        if all(trial.status == "failed" for trial in told):
            raise InputError(
                f"objective: all of the first {self._start} evaluations failed, the last with: "
                f"{told[-1].reason}"
            )

    def await_result(self, arch: str) -> None:
        """Mark an architecture that was chosen elsewhere as pending."""
        self._trials.add([{"ask": self.space.normalise(arch)}])

    @property
    def events(self) -> list[dict[str, Any]]:
        """Return what was asked and told, in order and in JSON's types; ``replay`` reads it."""
        return self._trials.events

    def replay(self, events: Sequence[Mapping[str, Any]]) -> None:
        """Continue from the events of a search with the same settings.

        Raises:
            InputError: something was asked or told here already, or one of ``events`` is not an
                event.
        """
        if len(self._trials):
            raise InputError(f"events: this search has {len(self._trials)} trials already")
        self._trials.add(events)

    # --- asking ---------------------------------------------------------------------------------

    def ask(self, n: int = 1) -> list[str]:
        """Return the ``n`` distinct networks to measure next.

        Fewer are returned if the space has no more.

        Raises:
            InputError: everything was asked for. Or no candidate meets the known constraints; the
                message says how near they come. Or the acquisition needs standard deviations and
                the predictor gives none.
        """
        n = checked_count("n", n)
        if self._trials.told_count < self._start or len(self._trials.of("done")) < 2:
            archs = self._proposals.first(n)
        else:
            self._refit()
            archs = self._proposals.best(n)
        self._trials.add([{"ask": arch} for arch in archs])
        return archs

    def predict(self, archs: Sequence[str]) -> Array:
        """Predict the first objective of architectures; larger is better.

        Predictions are normal scores of ranks among the told values.

        Raises:
            InputError: no result was told yet.
        """
        self._refit()
        keys = [self.space.canonical(arch) for arch in archs]
        return self._models.predict(self._goals.objectives[0].name, keys)[0]

    def _refit(self) -> None:
        """Fit to the results up to the latest refit of the schedule, unless that was done."""
        count = self._trials.told_count
        if count < 2:
            raise InputError("predict: no result was told yet to learn from")
        if count > self._start:
            count = self._start + (count - self._start) // self._refit_every * self._refit_every
        told = self._trials.told[:count]
        results = [trial.values if trial.status == "done" else None for trial in told]
        self._models.fit(self._trials.keys(told), results, self._goals.directions)

    # --- the state ------------------------------------------------------------------------------

    def close(self) -> None:
        """Close the state, so that another process can use it."""
        self._trials.close()

    def __enter__(self) -> Searcher:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _measured_goals(
    objectives: str | Sequence[str], constraints: str | Sequence[str], knowledge: Knowledge
) -> Goals:
    """Return the goals after checking that at least one must be measured."""
    goals = Goals(objectives, constraints, knowledge)
    if not goals.measured:
        raise InputError(
            f"objectives: {', '.join(map(str, goals.objectives))} need no measuring; "
            "let pymoo solve a PredictedProblem of them"
        )
    return goals


def _acquisition_for(goals: Goals, given: str | None) -> str:
    """Return the acquisition that was given, or the default for the goals."""
    kind = checked_kind(given or ("ucb" if goals.several else "ei"))
    if goals.several and kind == "ei":
        raise InputError("acquisition: 'ei' works for one objective; use 'ucb' for several")
    return kind
