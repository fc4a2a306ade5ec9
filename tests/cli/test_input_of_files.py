"""A file may say its input in every form that forward takes, for every command."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from archrank.cli.app import app
from archrank.graphs.randomness import random_state, seeded
from archrank.scoring.candidates import collect

FORMS = {
    "tensor": "torch.arange(48).view(4, 12)",
    "array": "np.arange(48).reshape(4, 12)",
    "tuple": "(torch.arange(48).view(4, 12), True)",
    "dictionary": "dict(x=torch.arange(48).view(4, 12), flag=True, scale=torch.tensor(1.0))",
}
FILE = """
import random
import numpy as np
import torch
from torch import nn

INPUT = {form}

class Tokens(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.head = nn.Embedding(50, 8), nn.Linear(8, 4)

    def forward(self, x, flag=False, scale=None):
        return self.head(torch.relu(self.embed(x)).mean(1))

made = Tokens()
made.head.bias.data.fill_(random.random() + np.random.rand())
"""


def run(*words: Any) -> Any:
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.mark.parametrize("form", FORMS)
def test_every_command_takes_every_form(form: str, tmp_path: Path) -> None:
    file = tmp_path / "tokens.py"
    file.write_text(FILE.format(form=FORMS[form]))
    graph = run("graph", f"{file}:Tokens", "--json")
    assert graph["product_flops"] == 8 * 4  # of one sample
    scores = run("score", f"{file}:Tokens", "--by", "snip,gradsign,params", "--json")
    assert [r["status"] for r in scores["scores"]] == ["ok"] * 3
    ranking = run("rank", file, "--by", "snip,gradsign", "--json")
    assert {row["name"] for row in ranking["table"]} == {"Tokens", "made"}
    measured = run("measure", f"{file}:Tokens", "--seconds", 0.01, "--json")
    assert measured


def weights(file: Path) -> torch.Tensor:
    (candidate,) = collect(f"{file}:made")
    return torch.cat([p.detach().flatten() for p in candidate.built().parameters()])


def test_a_network_made_on_import_is_the_same_in_every_run(tmp_path: Path) -> None:
    file = tmp_path / "tokens.py"
    file.write_text(FILE.format(form=FORMS["tensor"]))
    found = []
    for run_number in (1, 2):
        with seeded(run_number):
            np.random.rand(run_number)
            before = random_state()
            os.utime(file, (run_number, run_number))  # so that it is imported once more
            found.append(weights(file))
            assert random_state() == before
    assert torch.equal(*found)
