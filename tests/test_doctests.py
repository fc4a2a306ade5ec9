"""Every example in a docstring runs and prints what it says."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import archrank

ROOMS = (
    *("data", "data.digits", "data.importers", "data.spaces", "graphs"),
    *("predictors", "predictors.encoders", "proxies", "search"),
)
MODULES = ["archrank"] + [
    f"{room.__name__}.{found.name}"
    for room in (archrank, *(importlib.import_module(f"archrank.{name}") for name in ROOMS))
    for found in pkgutil.iter_modules(room.__path__)
    if room is not archrank or (not found.ispkg and found.name != "conftest")
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
