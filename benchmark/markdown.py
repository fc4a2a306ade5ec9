"""What a store's scores are worth, as Markdown tables."""

from __future__ import annotations

import math
from html import escape

from ..version import VERSION
from .results import Figure, Judged, Report
from .wording import GROUPS, columns, commands, decimals, sample_words, seconds


def to_markdown(
    report: Report,
    *,
    date: str | None = None,
    machine: str | None = None,
) -> str:
    """Write a Markdown table per run, with intervals, and how each was made."""
    parts = []
    for run in report.runs:
        parts.append(f"## {_md(run.title)}\n")
        if run.judged is None:
            parts.append(f"Not judged: {_md(run.problem)}\n")
            continue
        parts.append(_markdown_table(run.judged))
        parts += [f"{_md(note)}\n" for note in run.judged.notes]
        made = [sample_words(run), f"{report.resamples} resamples, seed {report.seed}"]
        made += [text for text in (date, machine, f"archrank {VERSION}") if text]
        parts.append(f"95 % bootstrap intervals in brackets. {_md('; '.join(made))}.\n")
        parts.append("```sh\n" + "\n".join(commands(run, report)) + "\n```\n")
    return "\n".join(parts)


def _markdown_table(judged: Judged) -> str:
    shown = columns(judged)
    heads = ["score", *(c.heading.replace("\n", " ") for c in shown), "s/arch", "failed", "n"]
    lines = ["| " + " | ".join(heads) + " |", "|---|" + "---:|" * (len(heads) - 1)]
    for title, kinds, _ in GROUPS:
        rows = [result for result in judged.results if result.kind in kinds]
        if rows:
            lines.append(f"| *{title}* |" + " |" * (len(heads) - 1))
        for result in rows:
            cells = [_md(result.name)]
            cells += [_with_interval(result.figures[c.name], c.digits) for c in shown]
            cells += [seconds(result.seconds), str(result.failed), str(result.count)]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _with_interval(figure: Figure, digits: int) -> str:
    value = decimals(figure.value, digits)
    if not math.isfinite(figure.low):
        return value
    return f"{value} [{decimals(figure.low, digits)}, {decimals(figure.high, digits)}]"


def _md(text: str) -> str:
    """Write plain words in Markdown, also inside a table."""
    text = " ".join(escape(text, quote=False).split())
    return "".join(f"\\{letter}" if letter in "\\`*_[]|#" else letter for letter in text)
