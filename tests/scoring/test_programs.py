"""Programs of torch.export as candidates."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import tiny_networks as nets
import torch
from torch import Tensor, nn

import archrank
from archrank.errors import InputError
from archrank.scoring.candidates import collect


class Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return self.layer(a + b)


def exported(model: nn.Module, *inputs: Tensor, **options: object) -> torch.export.ExportedProgram:
    return torch.export.export(model.eval(), inputs, **options)  # type: ignore[arg-type]


def test_a_program_is_the_network_that_it_was_made_of(tmp_path: Path) -> None:
    net = nets.wide()
    program = exported(net, torch.randn(1, 3, 8, 8))
    torch.export.save(program, tmp_path / "net.pt2")
    graph = archrank.trace(net, (3, 8, 8))
    for given in (str(tmp_path / "net.pt2"), program):
        (one,) = collect(given)
        again = one if given is program else pickle.loads(pickle.dumps(one))
        model = again.built()
        found = archrank.trace(model, one.inputs)
        assert (found.params, found.flops, found.depth) == (graph.params, graph.flops, graph.depth)
        assert found.operators == graph.operators
        assert archrank.trace(program, (3, 8, 8)).flops == graph.flops
        assert archrank.score(program, (3, 8, 8), proxies="params")["params"].value == graph.params
        x = torch.randn(1, 3, 8, 8)
        assert torch.allclose(model(x), net(x), atol=1e-6)


def test_programs_are_ranked(tmp_path: Path) -> None:
    batch = {"dynamic_shapes": ({0: torch.export.Dim("n")},)}
    small = exported(nets.narrow(), torch.randn(2, 3, 8, 8), **batch)
    wide = exported(nets.wide(), torch.randn(2, 3, 8, 8), **batch)
    torch.export.save(wide, tmp_path / "wide.pt2")
    candidates = {"small": small, "wide": str(tmp_path / "wide.pt2")}
    assert archrank.rank(candidates, by="params").best == "wide"
    ranking = archrank.rank(candidates, (3, 8, 8), by="snip", batch_size=8)
    assert ranking.failures.empty
    store = tmp_path / "scores.sqlite"
    paths = [str(tmp_path / "wide.pt2")]
    first = archrank.rank(paths, (3, 8, 8), by="snip", batch_size=8, store=store)
    again = archrank.rank(paths, (3, 8, 8), by="snip", batch_size=8, store=store)
    assert first.table["snip"].tolist() == again.table["snip"].tolist()


def test_a_program_of_any_batch_runs_on_the_same_data_as_its_module() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10)).eval()
    any_size = exported(net, torch.randn(2, 3, 8, 8), dynamic_shapes=({0: torch.export.Dim("n")},))
    (one,) = collect(any_size)
    assert one.inputs == (3, 8, 8)
    alone = archrank.rank({"program": any_size}, by="naswot").table["naswot"]
    module = archrank.rank({"module": net}, (3, 8, 8), by="naswot").table["naswot"]
    assert alone.tolist() == pytest.approx(module.tolist())
    (fixed,) = collect(exported(net, torch.randn(1, 3, 8, 8)))
    assert fixed.inputs.shape == (1, 3, 8, 8)
    tokens = exported(
        nn.Embedding(5, 3),
        torch.tensor([[1, 2]]).repeat(2, 1),
        dynamic_shapes=({0: torch.export.Dim("n")},),
    )
    assert collect(tokens)[0].inputs.dtype == torch.int64


def test_several_inputs() -> None:
    (one,) = collect(exported(Two(), torch.zeros(1, 4), torch.zeros(1, 4)))
    assert archrank.rank(one, by="params,flops").table["params"].tolist() == [15]


def test_what_is_no_program(tmp_path: Path) -> None:
    (tmp_path / "bad.pt2").write_text("no program")
    with pytest.raises(InputError, match="holds no program"):
        collect(str(tmp_path / "bad.pt2"))
    with pytest.raises(InputError, match="no file"):
        collect(str(tmp_path / "missing.pt2"))


@pytest.mark.parametrize("name", ["weights.pt2", "net.pth", "net.safetensors"])
def test_weights_are_no_network(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    torch.save(nets.wide().state_dict(), tmp_path / name)
    with pytest.raises(InputError, match=r"which holds weights, .* as models\.py:net"):
        collect(str(tmp_path / name))
    assert not caplog.messages
