"""The gallery of the site: scripts of ``docs/gallery``, run, as pages with what they gave.

A script is a notebook in the percent format, which editors and Jupytext open as one: ``# %%``
begins a cell of code, ``# %% [markdown]`` one of text. The last expression of a cell is shown as a
notebook shows it.
"""

from __future__ import annotations

import ast
import contextlib
import io
import os
import re
import tempfile
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

SCRIPTS = [
    Path(__file__).parent / "gallery" / f"{name}.py"
    for name in ("rank_my_models", "own_proxy", "few_labels", "optuna_search", "which_device")
]
_CELL = re.compile(r"^# %%(.*)$", re.MULTILINE)


@dataclass
class Page:
    """A page and its pictures by name."""

    name: str
    text: str = ""
    pictures: dict[str, bytes] = field(default_factory=dict)

    def show(self, value: Any) -> str:
        """Return a value as Markdown: a picture, HTML, or text."""
        if hasattr(value, "savefig"):
            file = io.BytesIO()
            value.savefig(file, format="png", dpi=110, bbox_inches="tight")
            name = f"{self.name}_{len(self.pictures) + 1}.png"
            self.pictures[name] = file.getvalue()
            return f"![Drawn by the code above]({name})\n"
        with pd.option_context("display.max_colwidth", None):
            html = getattr(value, "_repr_html_", lambda: None)()
        if html:
            return f'<div class="output" markdown="0">\n{_plain(html)}\n</div>\n'
        return f"```text\n{value!r}\n```\n"


def cells(text: str) -> Iterator[tuple[str, str]]:
    """Give kind (``"markdown"`` or ``"code"``) and content of each cell."""
    parts = _CELL.split(text)[1:]
    for kind, content in zip(parts[::2], parts[1::2], strict=True):
        if "markdown" in kind:
            yield "markdown", re.sub(r"^# ?", "", content.strip(), flags=re.MULTILINE)
        else:
            yield "code", content.strip()


def run(script: Path) -> Page:
    """Run a script in an empty folder; what a cell raises goes through."""
    page = Page(script.stem)
    made: dict[str, Any] = {"__name__": "__main__"}
    parts: list[str] = []
    start = time.perf_counter()
    before = os.getcwd()
    with tempfile.TemporaryDirectory() as folder, _quiet_pictures():
        os.chdir(folder)
        try:
            for number, (kind, content) in enumerate(cells(script.read_text())):
                if kind == "markdown":
                    parts.append(f"{content}\n")
                    continue
                printed, value = _run_cell(content, f"{script.name}, cell {number + 1}", made)
                parts.append(f"```py\n{content}\n```\n")
                if printed:
                    parts.append(f"```text\n{printed}```\n")
                if value is not None:
                    parts.append(page.show(value))
        finally:
            os.chdir(before)
    seconds = time.perf_counter() - start
    parts.append(
        f"*`docs/gallery/{script.name}` was run in {seconds:.0f} s by this page's build.*\n"
    )
    page.text = "\n".join(parts)
    return page


def _run_cell(code: str, name: str, made: dict[str, Any]) -> tuple[str, Any]:
    """Return what a cell prints, and the value of its last expression."""
    tree = ast.parse(code)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    printed = io.StringIO()
    value = None
    with contextlib.redirect_stdout(printed), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exec(compile(tree, name, "exec"), made)
        if isinstance(last, ast.Expr):
            value = eval(compile(ast.Expression(last.value), name, "eval"), made)
    return printed.getvalue(), value


@contextlib.contextmanager
def _quiet_pictures() -> Iterator[None]:
    """Draw without a window, and close what was drawn."""
    import matplotlib
    from matplotlib import pyplot

    before = matplotlib.get_backend()
    matplotlib.use("Agg")
    try:
        yield
    finally:
        pyplot.close("all")
        matplotlib.use(before)


def _plain(html: str) -> str:
    """Return HTML without blank lines, which would end a block of it in Markdown."""
    html = re.sub(r"<style.*?</style>|border=\"1\"", "", html, flags=re.DOTALL)
    return "\n".join(line for line in html.splitlines() if line.strip())
