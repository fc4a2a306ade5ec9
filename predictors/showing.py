"""The display of predictors and of their training, as text and in a notebook."""

from __future__ import annotations

from html import escape
from typing import Any


def state_of(predictor: Any) -> str:
    """Return as text whether a predictor was fitted, and to how many labels."""
    if not predictor.__sklearn_is_fitted__():
        return "not fitted"
    count = predictor.n_samples_
    if not count:
        return "pretrained, without labels"
    tau = getattr(predictor, "report_", {}).get("tau of the mean")
    judged = "" if tau is None else f", tau {tau:.2f} in cross-validation"
    return f"fitted to {count} label{'s' if count > 1 else ''}{judged}"


def as_html(predictor: Any, called: str) -> str:
    """Return the HTML for a notebook: the call, the state, and the weights of members."""
    parts = [f"<p><code>{escape(called)}</code>: {escape(state_of(predictor))}</p>"]
    report = getattr(predictor, "report_", {})
    weights = sorted(report.get("weights", {}).items(), key=lambda item: -item[1])
    if weights:
        taus = report.get("tau", {})
        rows = "".join(
            f"<tr><td>{escape(name)}</td><td>{weight:.2f}</td><td>{taus[name]:.2f}</td></tr>"
            for name, weight in weights
            if name in taus
        )
        parts.append(
            "<table><thead><tr><th>member</th><th>weight</th><th>tau in cross-validation</th>"
            f"</tr></thead><tbody>{rows}</tbody></table>"
        )
    return "".join(parts)
