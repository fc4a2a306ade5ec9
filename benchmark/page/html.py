"""What a store's scores are worth, as one page that needs nothing else.

The same report gives the same page, byte for byte: nothing of when or where it was made is in it
but what is passed in.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from ...version import VERSION
from ..conclusion import conclusion
from ..results import SHARE, TOP, Judged, Report, Result, RunReport
from ..wording import batch_words, commands, decimals, sample_words, scoring_seeds, seconds
from . import pictures
from .cost_picture import Point, best_for_their_time, cost_against_quality
from .main_table import main_table
from .overview import overview
from .tables import SortedTable

_TEMPLATES = Path(__file__).parent / "templates"
_SCATTERS = 7  # of the best proxies, beside the baselines


def to_html(report: Report, *, date: str | None = None, machine: str | None = None) -> str:
    """Write the page: one HTML text that asks for no other file."""
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=StrictUndefined,
    )
    environment.filters.update(decimals=decimals, seconds=seconds)
    runs = [_Section(run, report) for run in report.runs]
    return environment.get_template("page.html").render(
        report=report,
        runs=runs,
        scored={name for run in runs for name in run.scored},
        titles=dict.fromkeys(run.run.title for run in runs),
        made=[text for text in (date, machine) if text],
        overview=overview(report),
        version=VERSION,
        share=f"{100 * SHARE:g}\N{NO-BREAK SPACE}%",
        top=TOP,
        style=Markup((_TEMPLATES / "style.css").read_text(encoding="utf-8")),
        script=Markup((_TEMPLATES / "sort.js").read_text(encoding="utf-8")),
    )


@dataclass(frozen=True)
class _Section:
    """What the page says of one run."""

    run: RunReport
    report: Report

    @property
    def judged(self) -> Judged | None:
        return self.run.judged

    @property
    def _found(self) -> Judged:
        assert self.run.judged is not None
        return self.run.judged

    @property
    def scored(self) -> list[str]:
        """The names of what was scored without training."""
        results = () if self.judged is None else self.judged.results
        return [result.name for result in results if result.version is not None]

    @property
    def facts(self) -> dict[str, str]:
        """What was judged on what; what is not known is left out."""
        settings, facts = self.run.settings, self.run.facts
        epochs = f", {facts['epochs']} epochs" if facts.get("epochs") else ""
        label = f"{facts.get('metric', '')}; {facts.get('label', '')}{epochs}"
        found = {
            "Space": str(settings.get("space", "")),
            "Table": facts.get("title") or str(settings.get("table", "")),
            "Task": str(settings.get("task", "")),
            "Label": label if facts else "",
            "Architectures": sample_words(self.run),
            "Scoring seeds": str(scoring_seeds(self.run)) if self.judged else "",
            "Batch": batch_words(self.run),
            "Noise ceiling": self._ceiling,
            "Licence of the labels": facts.get("licence", ""),
        }
        return {key: value for key, value in found.items() if value}

    @property
    def _ceiling(self) -> str:
        """Say what repeated trainings agree to, in the sample as in the table below it."""
        parts = []
        if self.judged is not None and (rows := self._of_kinds("ceiling")):
            parts.append(f"{decimals(rows[0].figures['tau'].value, 3)} in this sample")
        if self.run.ceiling:
            between = decimals(self.run.ceiling["between"], 3)
            parts.append(f"{between} between two trainings over the whole table")
        return "; ".join(parts)

    @property
    def provenance(self) -> list[str]:
        facts = self.run.facts
        lines = [facts.get("notes", ""), *facts.get("provenance", "").splitlines()]
        return [line for line in lines if line]

    @property
    def warnings(self) -> list[str]:
        """What a reader must know before the figures."""
        label = self.run.facts.get("label", "trained")
        found = [] if self.judged is None else [*self.judged.notes]
        if label != "trained":
            found.insert(0, f"The labels are {label}, not measured by training each network alone.")
        return found

    @property
    def conclusion(self) -> str:
        return conclusion(self._found)

    @property
    def table(self) -> SortedTable:
        return main_table(self._found)

    @property
    def notes(self) -> list[Result]:
        return [result for result in self._found.results if result.note]

    @property
    def greedy(self) -> Result:
        """The row of the greedy choice, where there is one."""
        return next(r for r in self._found.results if r.name.startswith("greedy"))

    @property
    def metric(self) -> str:
        return self.run.facts.get("metric", "label")

    @property
    def scatters(self) -> list[tuple[str, Markup]]:
        """Pictures of the best proxies and of size, each with its kind."""
        truth = np.array(self._found.truth, dtype=np.float64)
        direction = -1.0 if self.run.facts.get("better") == "lower" else 1.0
        shown = self._of_kinds("proxy")[:_SCATTERS] + self._of_kinds("size")
        return [
            (
                result.kind,
                pictures.scatter(
                    np.array(self._found.scores[result.name], dtype=np.float64),
                    truth,
                    direction,
                    result.name,
                    f"tau-b {decimals(result.figures['tau'].value, 3)}",
                ),
            )
            for result in shown
        ]

    @cached_property
    def points(self) -> list[Point]:
        """What scores cost, and what they are worth."""
        return [
            Point(result.name, result.kind, result.seconds, result.figures["tau"].value)
            for result in self._of_kinds("proxy", "size", "combination")
        ]

    @property
    def best_for_their_time(self) -> list[Point]:
        return best_for_their_time(self.points)

    def cost(self, width: int, height: int) -> Markup:
        """Draw what scores cost against what they are worth."""
        reference = {r.name: r.figures["tau"].value for r in self._of_kinds("ceiling")}
        return cost_against_quality(self.points, reference, width, height)

    @property
    def agreement(self) -> Markup:
        return pictures.agreement(self._found.agreement)

    @property
    def commands(self) -> list[str]:
        return commands(self.run, self.report)

    def _of_kinds(self, *kinds: str) -> list[Result]:
        """List the results of these kinds that have a tau-b, in the order of the table."""
        return [
            result
            for kind in kinds
            for result in self._found.results
            if result.kind == kind and math.isfinite(result.figures["tau"].value)
        ]
