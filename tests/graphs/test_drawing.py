"""Pictures: well-formed, complete, without overlaps, the same each time."""

from __future__ import annotations

import importlib.util
import re
import xml.etree.ElementTree as ET

import pytest
import torch
from torch import Tensor, nn

from archrank.errors import InputError
from archrank.graphs import Graph, trace
from archrank.graphs.drawing import draw

TIMES = "\N{MULTIPLICATION SIGN}"
SVG = "{http://www.w3.org/2000/svg}"


class Block(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.a, self.b = nn.Conv2d(width, width, 3, 1, 1), nn.Conv2d(width, width, 1)
        self.norm = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.norm(self.b(self.a(x).relu()))


class Branches(nn.Module):
    """Parallel branches, long skips and two outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.ways = nn.ModuleList(nn.Conv2d(8, 4, k, padding=k // 2) for k in (1, 3, 5))
        self.mix, self.head = nn.Conv2d(12, 8, 1), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.stem(x)
        y = self.mix(torch.cat([way(x).sigmoid() for way in self.ways], 1)) + x
        y = y * y.mean((2, 3), keepdim=True).sigmoid() + torch.roll(x, 1, 2)
        return self.head(y.mean((2, 3))), y


def stages(repeats: int) -> nn.Module:
    parts: list[nn.Module] = [nn.Conv2d(3, 8, 3)]
    for width in (8, 16, 32):
        parts += [nn.Sequential(*(Block(width) for _ in range(repeats)))]
        parts += [nn.Conv2d(width, 2 * width, 2, 2)]
    return nn.Sequential(*parts)


class Flat(nn.Module):
    """Many different operators and no modules to close."""

    def forward(self, x: Tensor) -> Tensor:
        for i in range(1000):
            x = torch.roll((x * (i + 2)).relu(), i + 1) if i % 3 else x + x.tanh()
        return x


GRAPHS = {
    "one": lambda: trace(nn.ReLU(), (3,)),
    "branches": lambda: trace(Branches(), (3, 8, 8)),
    "stages": lambda: trace(stages(4), (3, 64, 64)),
    "deep": lambda: trace(stages(60), (3, 64, 64)),
    "flat": lambda: trace(Flat(), (3, 4)),
    "transformer": lambda: trace(
        nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16), 12), (5, 8)
    ),
}


@pytest.fixture(scope="module", params=GRAPHS)
def graph(request) -> Graph:
    return GRAPHS[request.param]()


def boxes(svg: str) -> list[tuple[float, float, float, float, int, int]]:
    found = []
    for group in ET.fromstring(svg).iter(f"{SVG}g"):
        if group.get("class") == "box":
            rect = group.find(f"{SVG}rect")
            x, y, w, h = (float(rect.get(name)) for name in ("x", "y", "width", "height"))
            nodes, times = int(group.get("data-nodes")), int(group.get("data-times"))
            found.append((x, y, x + w, y + h, nodes, times))
    return found


@pytest.mark.parametrize("max_nodes", [1, 20, 60])
def test_every_node_is_drawn_once(graph, max_nodes):
    found = boxes(draw(graph, max_nodes=max_nodes))
    assert 1 <= len(found) <= max_nodes
    assert sum(nodes * times for *_, nodes, times in found) == len(graph)


def test_boxes_lie_inside_and_do_not_overlap(graph):
    svg = draw(graph)
    left, top, right, bottom = map(float, ET.fromstring(svg).get("viewBox").split())
    found = boxes(svg)
    for i, (x, y, x2, y2, *_) in enumerate(found):
        assert left <= x < x2 <= right
        assert top <= y < y2 <= bottom
        for u, v, u2, v2, *_ in found[:i]:
            assert x2 <= u or u2 <= x or y2 <= v or v2 <= y


def test_edges_stay_inside(graph):
    svg = ET.fromstring(draw(graph))
    _, _, width, height = map(float, svg.get("viewBox").split())
    for path in svg.iter(f"{SVG}path"):
        if path.get("transform"):
            dx, dy = map(float, re.findall(r"-?[\d.]+", path.get("transform")))
            for x, y in re.findall(r"M(-?[\d.]+) (-?[\d.]+)", path.get("d")):
                assert 0 <= float(x) + dx <= width
                assert 0 <= float(y) + dy <= height


def test_same_text_each_time(graph):
    assert draw(graph) == draw(graph) == graph.draw()


def test_repeated_stages_are_folded():
    svg = draw(trace(stages(4), (3, 64, 64)), title="Stages")
    assert svg.count(f"{TIMES}4") >= 3
    assert len(boxes(svg)) < 25
    assert "Stages" in svg
    assert "params" in svg
    assert "<title>" in svg


def test_repeats_without_modules_are_folded():
    fc = [nn.Linear(4, 4) for _ in range(50)]

    class Loop(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            for layer in fc:
                x = torch.roll(nn.functional.linear(x, layer.weight).relu(), 1)
            return x

    assert len(boxes(draw(trace(Loop(), (4,))))) <= 5


def test_a_small_graph_is_drawn_whole():
    graph = trace(Branches(), (3, 8, 8))
    found = boxes(draw(graph))
    assert all(times == 1 for *_, times in found)
    svg = draw(graph)
    for name in (f"conv2d 5{TIMES}5", "concat", "roll", "linear", f"3{TIMES}8{TIMES}8"):
        assert name in svg


def test_hostile_names_are_escaped():
    net = nn.Sequential()
    net.add_module('<script>alert("1")</script>&\x00', nn.Sequential(nn.ReLU(), nn.Tanh()))
    svg = draw(trace(net, (3,)), title="</svg><script>", max_nodes=2)
    assert "<script" not in svg
    ET.fromstring(svg)


def test_files(tmp_path):
    graph = trace(nn.ReLU(), (3,))
    svg = draw(graph, tmp_path / "a.svg")
    assert (tmp_path / "a.svg").read_text(encoding="utf-8") == svg
    with pytest.raises(InputError, match=r"path: got .*a\.gif.*\.svg"):
        draw(graph, tmp_path / "a.gif")
    with pytest.raises(InputError, match="max_nodes: got 0"):
        draw(graph, max_nodes=0)
    if importlib.util.find_spec("cairosvg") is None:
        with pytest.raises(InputError, match="cairosvg"):
            draw(graph, tmp_path / "a.png")
    else:
        draw(graph, tmp_path / "a.png")
        assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
