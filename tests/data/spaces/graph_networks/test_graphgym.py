"""GraphGym's designs: published counts of weights, and what networks do with their graphs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from archrank.data import table
from archrank.data.spaces.graph_networks.graphgym import SETTINGS, GraphGym
from archrank.data.spaces.graph_networks.graphgym_networks import width_of
from archrank.errors import InputError

SPACE = GraphGym()
PLAIN = "pre1-mp2-post1-stack-add-plain-relu-drop0"


@pytest.mark.parametrize("name", ["graphgym", "graphgym_random"])
def test_every_published_count(name: str, published: Path) -> None:
    costs = table(name).costs
    compared = 0
    for column in costs:
        task = column.removeprefix("params/")
        for arch, params in costs[column].dropna().items():
            assert SPACE.params(str(arch), task) == params, (arch, task)
            compared += 1
    assert compared == {"graphgym": 3_072, "graphgym_random": 3_322}[name]


def test_the_formula_is_the_count_of_the_networks() -> None:
    archs = SPACE.sample(12, seed=0)
    for arch, task in zip(archs, ("cora", "enzymes", "cora-link") * 4, strict=True):
        network = SPACE.build(arch, task)
        assert sum(p.numel() for p in network.parameters()) == SPACE.params(arch, task)
        assert SPACE.graph(arch, task).params == SPACE.params(arch, task)


def test_all_designs_have_about_as_many_weights() -> None:
    sizes = [SPACE.params(arch, "imdb") for arch in SPACE.sample(300, seed=0)]
    assert max(sizes) < 1.12 * min(sizes)
    assert width_of(SPACE.design(PLAIN.replace("plain", "bn")), 1) == 256


@pytest.mark.parametrize("aggregation", ["add", "mean", "max"])
def test_messages_come_from_neighbours_alone(aggregation: str) -> None:
    torch.manual_seed(0)
    network = SPACE.build(PLAIN.replace("add", aggregation), "enzymes").eval()
    x = torch.randn(5, 3)
    edges = torch.tensor([[0, 1, 1, 2, 3, 4], [1, 0, 2, 1, 4, 3]])
    unit = network.passing[0]
    width = unit.linear.in_features
    hidden = torch.randn(5, width)
    got = unit(hidden, edges)
    sent = unit.linear(hidden)
    reduce = {"add": lambda t: t.sum(0), "mean": lambda t: t.mean(0), "max": lambda t: t.amax(0)}
    for node in range(5):
        wanted = reduce[aggregation](sent[edges[0][edges[1] == node]])
        torch.testing.assert_close(got[node], torch.relu(wanted))
    # two graphs: each one's output does not depend on the other
    owner = torch.tensor([0, 0, 0, 1, 1])
    moved = torch.cat([x[:3], x[3:] + 1])
    first, second = network(x, edges, owner), network(moved, edges, owner)
    torch.testing.assert_close(first[0], second[0])
    assert not torch.allclose(first[1], second[1])


def test_links_are_scored_alike_in_both_directions() -> None:
    network = SPACE.build(PLAIN, "cora-link").eval()
    x, edges, links = SPACE.inputs("cora-link")
    forth, back = network(x, edges, links), network(x, edges, links.flip(0))
    assert forth.shape == (32, 1)
    torch.testing.assert_close(forth, back)


def test_strings() -> None:
    recipe = f"{PLAIN}@adam-lr0.01-b32-e399"
    assert SPACE.normalise(recipe) == PLAIN
    assert len(SPACE) == 5_832
    assert set(SPACE.tasks) == set(SETTINGS)
    with pytest.raises(InputError, match=r"position 7 .*expected"):
        SPACE.build(PLAIN.replace("mp2", "mp3"))
    with pytest.raises(InputError, match="a recipe"):
        SPACE.build(PLAIN + "@")
