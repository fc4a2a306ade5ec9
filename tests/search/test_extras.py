"""Adapters without the package that they adapt to say which extra has it."""

from __future__ import annotations

import subprocess
import sys

_CODE = """
import sys
for name in ("optuna", "pymoo.core.problem", "ray.tune.search"):
    sys.modules[name] = None
import archrank.search
from archrank.errors import MissingExtraError
for name in ("AssistedSampler", "PredictedProblem", "TuneSearcher"):
    try:
        getattr(archrank.search, name)
    except MissingExtraError as error:
        print(error)
print(archrank.search.assist.__name__)
"""


def test_the_error_names_the_extra():
    done = subprocess.run([sys.executable, "-c", _CODE], capture_output=True, text=True, check=True)
    said = done.stdout.splitlines()
    for line, extra in zip(said, ("optuna", "pymoo", "ray"), strict=False):
        assert f"archrank[{extra}]" in line
    assert said[3:] == ["assist"]  # the rest needs none of them
