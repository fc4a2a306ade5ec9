"""Data that users have: what is taken, and what is refused before any candidate is scored."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tiny_networks as nets
import torch
from torch import nn

import archrank
from archrank.errors import ArchrankWarning, InputError

IMAGES = torch.randn(8, 3, 8, 8, generator=torch.Generator().manual_seed(0))
LABELS = [0, 1, 2, 3, 0, 1, 2, 3]


def ranked(images: Any, labels: Any = None) -> list[float]:
    table = archrank.rank(
        [nets.narrow, nets.wide], images, labels, by="snip", device="cpu", progress=False
    ).table
    return table["snip"].tolist()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "labels",
    [LABELS, np.array(LABELS), pd.Series(LABELS), np.array(LABELS, dtype=np.uint8)],
    ids=["list", "array", "series", "uint8"],
)
def test_labels_of_any_kind_are_the_same(labels: Any) -> None:
    assert ranked(IMAGES, labels) == ranked(IMAGES, torch.tensor(LABELS))


@pytest.mark.parametrize("kind", [list, tuple, np.array, pd.Series])
def test_names_of_classes_are_refused_at_once(kind: Any) -> None:
    names = ["cat", "dog"] * 4
    with pytest.raises(InputError, match=r"targets: got names of classes, such as 'cat'.*unique"):
        ranked(IMAGES, kind(names))
    with pytest.raises(InputError, match="names of classes"):
        archrank.score(nets.narrow(), IMAGES, kind(names), proxies="snip")
    numbers = np.unique(names, return_inverse=True)[1]  # what the message advises
    assert ranked(IMAGES, numbers) == ranked(IMAGES, torch.tensor([0, 1] * 4))


@pytest.mark.parametrize(
    "given",
    [
        lambda x: x,
        lambda x: x.numpy(),
        lambda x: [(x, torch.tensor(LABELS))],
        lambda x: {"x": x},
        lambda x: torch.utils.data.TensorDataset(x, torch.tensor(LABELS)),
    ],
    ids=["tensor", "array", "batches", "dict", "data set"],
)
def test_missing_numbers_are_refused_at_once(given: Any) -> None:
    holed = IMAGES.clone()
    holed[2, 0, 0, :3] = torch.nan
    with pytest.raises(InputError, match=r"inputs: 3 of the 1536 numbers .* are missing"):
        ranked(given(holed))


def test_infinite_numbers_are_taken() -> None:
    """A mask of attention may hold them."""
    masked = torch.zeros(2, 4)
    masked[0, 0] = -torch.inf
    net = torch.nn.Sequential(torch.nn.Softmax(-1), torch.nn.Linear(4, 3))
    assert archrank.score(net, masked, proxies="snip")["snip"].status == "ok"


def test_samples_of_one_class_are_told_of() -> None:
    with pytest.warns(ArchrankWarning, match=r"all samples are of class 1; .* shuffle it"):
        ranked(IMAGES, [1] * 8)
    with pytest.warns(ArchrankWarning, match="all samples are of class 1"):
        ranked([(IMAGES, torch.ones(8, dtype=torch.long))])


def test_a_shape_in_words_is_told_from_a_name() -> None:
    with pytest.raises(InputError, match=r"'3,8,8', a shape is a tuple of numbers"):
        ranked("3,8,8")
    with pytest.raises(InputError, match="'digit', did you mean 'digits'"):
        ranked("digit")


@pytest.mark.filterwarnings("error::archrank.errors.ArchrankWarning")
def test_a_recipe_that_says_nothing_is_told_of() -> None:
    def ranked_by(recipe: str) -> None:
        archrank.rank([nets.narrow], (3, 8, 8), by="params", recipe=recipe, progress=False)

    for known in ("in1k", "a1_in1k", "ra2_e600_in1k", "e450"):
        ranked_by(known)
    with pytest.warns(ArchrankWarning, match="recipe: no part of 'a7' is known"):
        ranked_by("a7")


def test_what_a_store_cannot_keep_is_said_once(tmp_path: Path) -> None:
    modules = {"narrow": nn.Linear(4, 2), "wide": nn.Linear(4, 3)}
    with pytest.warns(ArchrankWarning, match="'narrow' and its like are not kept") as said:
        archrank.rank(modules, (4,), by="params", store=tmp_path / "scores.sqlite")
    assert len(said) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        archrank.rank(["hiaml:z-z-a22-l20"], by="params", store=tmp_path / "scores.sqlite")
