"""Every example in a docstring runs and prints what it says."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
from pathlib import Path

import pytest

import archrank

ROOMS = (
    *("graphs", "proxies", "data", "scoring", "predictors", "costs"),
    *("ranking", "search", "benchmark", "cli"),
)
MODULES = [
    "archrank",
    *(
        found.name
        for room in ROOMS
        for found in pkgutil.walk_packages(
            importlib.import_module(f"archrank.{room}").__path__, f"archrank.{room}."
        )
    ),
    *(f"archrank.{path.stem}" for path in Path(archrank.__file__).parent.glob("[a-z]*.py")),
]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str) -> None:
    failures, _ = doctest.testmod(importlib.import_module(name))
    assert failures == 0


def test_public_functions_have_examples() -> None:
    finder = doctest.DocTestFinder()
    for name in ("trace", "score", "rank", "Graph"):
        found = finder.find(getattr(archrank, name), name)
        assert any(test.examples for test in found), name
