"""Trials of a search, in memory and in the file that outlives the process."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ...data.spaces.contract import Space
from ...errors import InputError
from .journal import Journal


@dataclass(frozen=True)
class Trial:
    """One architecture that was asked for or told.

    Attributes:
        number: the number of the trial, from 0.
        arch: the architecture.
        status: ``"pending"``, ``"done"`` or ``"failed"``.
        values: the told values by name.
        reason: the reason of a failure.
    """

    number: int
    arch: str
    status: str = "pending"
    values: Mapping[str, float] = field(default_factory=dict)
    reason: str = ""


class Trials:
    """All trials of a search, in order, which change only by events.

    An event is ``{"ask": arch}``, or ``{"tell": arch, "values": {...}}``, or ``{"tell": arch,
    "failed": reason}``. A tell completes the oldest pending trial of its architecture; without one
    it becomes a new trial.

    Args:
        space: the space of the architectures.

    Attributes:
        told: the trials with results, in the order of their results.
        events: everything that happened.
        taken: the networks asked for or told, as canonical architectures.
    """

    def __init__(self, space: Space):
        self._space = space
        self._all: list[Trial] = []
        self._told: list[int] = []
        self._waiting: dict[str, list[int]] = {}
        self._journal: Journal | None = None
        self.events: list[dict[str, Any]] = []
        self.taken: set[str] = set()

    def open(self, path: str | Path, settings: Mapping[str, Any]) -> None:
        """Continue with the events of a file, and write to it from now on."""
        journal = Journal(path, settings)
        for event in journal.events:
            self._apply(event)
        self._journal = journal

    def close(self) -> None:
        """Release the file for other processes."""
        if self._journal is not None:
            self._journal.close()

    def add(self, events: Sequence[Mapping[str, Any]]) -> None:
        """Record events, first in the file, then in memory."""
        if self._journal is not None and events:
            self._journal.append(*events)
        for event in events:
            self._apply(event)

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[Trial]:
        return iter(self._all)

    @property
    def told(self) -> list[Trial]:
        return [self._all[number] for number in self._told]

    @property
    def told_count(self) -> int:
        """The number of results."""
        return len(self._told)

    def of(self, status: str) -> list[Trial]:
        """Return the trials with a status."""
        return [trial for trial in self._all if trial.status == status]

    def keys(self, trials: Sequence[Trial]) -> list[str]:
        """Return the canonical architectures of trials."""
        return [self._space.canonical(trial.arch) for trial in trials]

    def _apply(self, event: Mapping[str, Any]) -> None:
        arch = event.get("ask", event.get("tell"))
        if not isinstance(arch, str):
            raise InputError(f"state: no event of a search: {dict(event)}")
        if "ask" in event:
            self._waiting.setdefault(arch, []).append(len(self._all))
            self._all.append(Trial(len(self._all), arch))
        else:
            if not (waiting := self._waiting.get(arch)):
                waiting = [len(self._all)]
                self._all.append(Trial(waiting[0], arch))
            number = waiting.pop(0)
            self._all[number] = replace(
                self._all[number],
                status="failed" if "failed" in event else "done",
                values=event.get("values", {}),
                reason=event.get("failed", ""),
            )
            self._told.append(number)
        self.taken.add(self._space.canonical(arch))
        self.events.append(dict(event))
