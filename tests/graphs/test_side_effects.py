"""Nothing that a forward writes on shapes alone stays anywhere, and nothing of the caller moves."""

from __future__ import annotations

import functools
import gc
import random
import threading
from collections import OrderedDict, deque
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import archrank
from archrank.errors import UnsupportedModelError
from archrank.graphs import Graph, trace
from archrank.graphs.randomness import random_state, seeded
from archrank.graphs.side_effects import kept

SHARED: list[Tensor] = []
LATEST: Tensor | None = None


@functools.lru_cache
def positions(count: int, device: torch.device | None = None) -> Tensor:
    return torch.arange(count, device=device, dtype=torch.float32)


def by_default(tensor: Tensor, into: list[Tensor] = []) -> None:  # noqa: B006
    into.append(tensor)


@dataclass(slots=True)
class Slots:
    last: Any = None
    seen: list[Any] = field(default_factory=list)


class Grown(OrderedDict):
    """A mapping that makes what is asked for, as configurations of transformers do."""

    def __getitem__(self, key: Any) -> Any:
        raise AssertionError("nobody asked for it")


class Writing(nn.Module):
    """A network whose forward keeps its features by ``write``."""

    of_class: ClassVar[list[Tensor]] = []
    latest: ClassVar[Tensor | None] = None

    def __init__(self, write: Callable[[Any, Tensor], None], fails: bool = False):
        super().__init__()
        self.layer, self.fails = nn.Linear(4, 3), fails
        self.items, self.table, self.nested = [], {"old": 1}, {"list": [(1, [2])]}
        self.queue, self.found, self.mapping = deque(maxlen=3), set(), Grown(a=1)
        self.object, self.slots = SimpleNamespace(last=None), Slots()
        self.own, self.local = self, threading.local()
        vars(self)["write"] = write

    def forward(self, x: Tensor) -> Tensor:
        h = torch.relu(self.layer(x))
        vars(self)["write"](self, h)
        if self.fails:
            raise ValueError("half-way")
        return h


def to_global(net: Writing, h: Tensor) -> None:
    global LATEST
    LATEST = h
    SHARED.append(h)


def counting() -> Callable[[Any, Tensor], None]:
    last, seen = None, [0]

    def write(net: Writing, h: Tensor) -> None:
        nonlocal last
        last = h
        seen.append(h)

    return write


WAYS: dict[str, Callable[[Any, Tensor], None]] = {
    "list": lambda net, h: net.items.append(h),
    "dictionary": lambda net, h: net.table.update(new=h, old=2),
    "nested": lambda net, h: net.nested["list"][0][1].append({"deep": h}),
    "queue": lambda net, h: net.queue.append(h),
    "set": lambda net, h: net.found.add(h),
    "mapping": lambda net, h: dict.__setitem__(net.mapping, "b", h),
    "new attribute": lambda net, h: setattr(net, "fresh", h),
    "attribute of a submodule": lambda net, h: setattr(net.layer, "seen", [h]),
    "buffer": lambda net, h: net.register_buffer("late", h),
    "hook": lambda net, h: net.layer.register_forward_hook(lambda *_: h),
    "object": lambda net, h: setattr(net.object, "last", h),
    "slots": lambda net, h: (setattr(net.slots, "last", h), net.slots.seen.append(h)),
    "class": lambda net, h: net.of_class.append(h),
    "global": to_global,
    "closure": counting(),
    "partial": functools.partial(lambda into, net, h: into.append(h), []),
    "default": lambda net, h: by_default(h),
    "cached function": lambda net, h: positions(5, h.device),
    "attribute of the class": lambda net, h: setattr(type(net), "latest", h),
    "new attribute of the class": lambda net, h: setattr(type(net), "newest", h),
    "of the thread": lambda net, h: setattr(net.local, "last", h),
    "gradient": lambda net, h: setattr(net.layer.bias, "grad", torch.zeros_like(net.layer.bias)),
    "deleted": lambda net, h: (net.table.clear(), setattr(net, "items", [h])),
}


def shape_only() -> int:
    gc.collect()
    return sum(type(o) in (Tensor, nn.Parameter) and o.is_meta for o in gc.get_objects())


@pytest.mark.slow
@pytest.mark.parametrize("fails", [False, True], ids=["done", "failed"])
@pytest.mark.parametrize("way", WAYS)
def test_no_shape_only_tensor_stays(way: str, fails: bool) -> None:
    net = Writing(WAYS[way], fails)
    before, items, table = shape_only(), net.items, dict(net.table)
    of_class = dict(vars(Writing))
    try:
        trace(net, (4,))
    except UnsupportedModelError:
        assert fails
    assert shape_only() == before
    assert net.items is items
    assert (net.items, net.table) == ([], table)
    assert not hasattr(net, "fresh")
    assert not net.layer._forward_hooks
    assert dict(vars(Writing)) == of_class
    assert net.layer.bias.grad is None
    assert vars(net.local) == {}
    net.fails = False
    net(torch.randn(2, 4))  # and it still runs
    positions.cache_clear()


@pytest.mark.parametrize("fails", [False, True])
def test_arrays_come_back(fails: bool) -> None:
    def write(net: Any, h: Tensor) -> None:
        net.table["counts"][0] += 1
        net.items[0] *= 2

    net = Writing(write, fails)
    counts, halves = np.zeros(3), np.full((2, 2), 0.5)
    net.table["counts"], net.items = counts, [halves]
    with pytest.raises(UnsupportedModelError) if fails else nullcontext():
        trace(net, (4,))
        archrank.score(net, (4,), batch_size=4, proxies="snip")
    assert net.table["counts"] is counts
    assert not counts.any()
    assert (halves == 0.5).all()


def test_what_hooks_gather_does_not_hold_shapes() -> None:
    features: list[Tensor] = []
    net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    net[1].register_forward_hook(lambda module, inputs, output: features.append(output))
    trace(net, (4,))
    assert features == []
    net(torch.randn(2, 4))
    assert len(features) == 1


def test_the_callers_own_inputs_stay() -> None:
    class Marks(nn.Module):
        def forward(self, data: Any) -> Tensor:
            data.hidden = data.x.relu()
            data.log.append(data.hidden)
            return data.hidden

    data = SimpleNamespace(x=torch.randn(3, 4), log=[])
    trace(Marks(), (data,))
    assert set(vars(data)) == {"x", "log"}
    assert data.log == []


def test_parameters_and_plain_tensors_written_by_a_real_run_come_back() -> None:
    class Clipped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.steps = nn.Linear(4, 4), torch.zeros(1)
            self.log = [torch.zeros(2)]

        def forward(self, x: Tensor) -> Tensor:
            with torch.no_grad():
                self.layer.weight.clamp_(-0.1, 0.1)[0].zero_()
            self.steps += 1
            self.log[0].add_(1)
            while x.norm() < 3:  # on values
                x = x * 2
            return self.layer(x)

    net = Clipped()
    weight, steps, log = net.layer.weight.clone(), net.steps, net.log[0]
    assert not trace(net, (4,)).exact
    assert torch.equal(net.layer.weight, weight)
    assert net.steps is steps
    assert net.log[0] is log
    assert float(steps) == float(log.sum()) == 0


def test_kept_is_quiet_about_what_it_does_not_know() -> None:
    net = nn.Linear(2, 2)
    net.odd = [iter([1]), object(), open, lambda: None, np.zeros(2), torch.jit, Ellipsis]
    with kept(net):
        net.odd.append(1)
    assert len(net.odd) == 7


# --- chance ---------------------------------------------------------------------------------------


def draws(library: str) -> float:
    if library == "torch":
        return float(torch.rand(()))
    return float(np.random.rand()) if library == "numpy" else random.random()


class Chancy(nn.Module):
    """Layers of which some are left out at random in training."""

    def __init__(self, library: str, rate: float, depth: int = 6):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(8, 8) for _ in range(depth))
        self.library, self.rate = library, rate

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            if not (self.training and draws(self.library) < self.rate):
                x = torch.relu(layer(x))
        return x


@pytest.mark.parametrize("library", ["torch", "numpy", "python"])
def test_left_out_layers_are_in_the_graph(library: str) -> None:
    nets = [nn.Sequential(Chancy(library, rate)) for rate in (0.0, 0.3, 0.9)]
    before = random_state()
    graphs = [trace(net, (8,)) for net in nets]
    assert len({graph.hash for graph in graphs}) == 1
    assert graphs[0].product_flops == 6 * 64
    assert random_state() == before


class PatchDrop(nn.Module):
    def __init__(self, rate: float):
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        if self.training and self.rate:
            kept = torch.argsort(torch.randn(x.shape[:2]), dim=-1)[:, : int(x.shape[1] * 0.5)]
            x = x.gather(1, kept[..., None].expand(-1, -1, x.shape[2]).to(x.device))
        return x


class DropPath(PatchDrop):
    def forward(self, x: Tensor) -> Tensor:
        if not (self.training and self.rate):
            return x
        return x * x.new_empty(x.shape[0], 1, 1).bernoulli_(1 - self.rate).div_(1 - self.rate)


@pytest.mark.parametrize("kind", [PatchDrop, DropPath])
@pytest.mark.parametrize("training", [True, False])
def test_dropped_patches_and_paths_are_in_the_graph(kind: type[PatchDrop], training: bool) -> None:
    def graph(rate: float) -> Graph:
        net = nn.Sequential(kind(rate), nn.Linear(8, 8), kind(rate), nn.Linear(8, 8))
        net.train(training)
        found = trace(net, (10, 8))
        assert [module.training for module in net.modules()] == [training] * 5
        return found

    assert graph(0.5) == graph(0.0)
    assert graph(0.5).product_flops == 2 * 10 * 64


def test_what_is_always_random_is_the_same_each_time() -> None:
    class Wandering(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(6, 6)

        def forward(self, x: Tensor) -> Tensor:
            for _ in range(random.randint(1, 9) + np.random.randint(1, 9)):
                x = self.layer(x) + torch.randn(6)
            while x.norm() < 50 + torch.rand(()):
                x = x + torch.relu(self.layer(x)) + 0.1
            return x

    net, before = Wandering(), random_state()
    graphs = [trace(net, (6,)) for _ in range(4)]
    assert len({graph.hash for graph in graphs}) == 1
    assert random_state() == before


def test_exact_says_whether_values_were_read(tmp_path: Any) -> None:
    class Early(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.relu() if x.sum() > 0 else x.sigmoid()

    for net, exact in ((nn.ReLU(), True), (Early(), False)):
        graph = trace(net, (4,))
        assert graph.exact is exact
        graph.save(tmp_path / "graph")
        assert Graph.load(tmp_path / "graph").exact is exact
        assert Graph.from_bytes(graph.to_bytes()) == graph
    assert b"exact" not in trace(nn.ReLU(), (4,)).to_bytes()  # read by earlier versions, too


def test_seeded_draws_the_same_and_gives_back() -> None:
    before, drawn = random_state(), []
    for _ in range(2):
        with seeded(7) as moved:
            assert not moved()
            drawn.append([draws(library) for library in ("torch", "numpy", "python")])
            assert moved()
    assert drawn[0] == drawn[1]
    assert random_state() == before


class Flags(nn.Module):
    """A forward that freezes its layer and changes what holds for all of torch."""

    def __init__(self, fails: bool):
        super().__init__()
        self.layer, self.head, self.fails = nn.Linear(4, 4), nn.Linear(4, 3), fails

    def forward(self, x: Tensor) -> Tensor:
        self.layer.requires_grad_(False)
        self.head.bias.requires_grad = False
        torch.set_default_dtype(torch.float64)
        torch.use_deterministic_algorithms(True)
        if self.fails:
            raise ValueError("half-way")
        return self.head(torch.relu(self.layer(x)))


@pytest.mark.parametrize("fails", [False, True], ids=["done", "failed"])
def test_flags_are_put_back(fails: bool) -> None:
    net = Flags(fails)
    for run in (archrank.trace, functools.partial(archrank.score, proxies="snip,gradsign,near")):
        if fails:
            with pytest.raises(archrank.errors.UnsupportedModelError):
                run(net, (4,))
        else:
            run(net, (4,))
        assert all(parameter.requires_grad for parameter in net.parameters())
        assert torch.get_default_dtype() == torch.float32
        assert not torch.are_deterministic_algorithms_enabled()


def test_a_forward_that_freezes_weights_scores_as_one_that_does_not() -> None:
    class Freezing(nn.Module):
        def __init__(self, freezes: bool):
            super().__init__()
            torch.manual_seed(0)
            self.layer, self.head, self.freezes = nn.Linear(4, 8), nn.Linear(8, 3), freezes

        def forward(self, x: Tensor) -> Tensor:
            if self.freezes:
                self.layer.weight.requires_grad = False
                self.head.requires_grad_(False)
            return self.head(torch.relu(self.layer(x)))

    scores, expected = (archrank.score(Freezing(one), (4,)) for one in (True, False))
    for name, score in expected.items():
        assert (scores[name].status, scores[name].value) == (score.status, score.value), name
