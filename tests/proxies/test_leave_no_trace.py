"""Whatever happens while a model is scored, it comes back as it was."""

from __future__ import annotations

import contextlib
import gc
import itertools
import random
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules import module as torch_module

import archrank
from archrank import proxies
from archrank.errors import UnsupportedModelError

NAMES = [p.name for p in proxies.list()]
HOOKS = [k for k in vars(nn.Module()) if k.endswith("_hooks")]
GLOBAL_HOOKS = [
    k for k, v in vars(torch_module).items() if k.endswith("_hooks") and hasattr(v, "get")
]


class Troubled(nn.Module):
    """A network that may raise an error at the n-th forward of its middle."""

    def __init__(self, error: BaseException | None = None, call: int = 1):
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.again = nn.Conv2d(4, 4, 3, padding=1)
        self.again.weight.requires_grad_(False)
        self.twin = nn.Conv2d(4, 4, 3, padding=1)
        self.twin.weight = self.again.weight
        self.lstm, self.head = nn.LSTM(4, 4, batch_first=True), nn.Linear(4, 5)
        self.drop = nn.Dropout(0.5)
        self.error, self.left = error, [call]

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.first(x)).relu()
        if self.error is not None and not x.is_meta:
            self.left[0] -= 1
            if self.left[0] <= 0:
                raise self.error
        x = self.twin(self.again(x)).flatten(2).transpose(1, 2)
        x = x + F.scaled_dot_product_attention(x, x, x, dropout_p=0.5)
        return self.head(self.drop(self.lstm(x)[0].mean(1)))


def prepared(**options: Any) -> Troubled:
    torch.manual_seed(0)
    net = Troubled(**options)
    net.first.weight.grad = torch.ones_like(net.first.weight)
    net.norm.eval()
    net.head.register_forward_hook(lambda *_: None)
    return net


def state(net: nn.Module, inputs: Tensor) -> dict[str, Any]:
    """Everything that must stay, by identity and by content."""
    tensors = {**dict(net.named_parameters()), **dict(net.named_buffers())}
    return {
        "tensors": {n: (id(t), t.data_ptr(), t.requires_grad) for n, t in tensors.items()},
        "bits": {n: t.detach().clone().view(-1).numpy().tobytes() for n, t in tensors.items()},
        "grads": {n: (id(p.grad), None if p.grad is None else p.grad.sum().item())
                  for n, p in net.named_parameters()},
        "flat": {n: [id(w) for w in m._flat_weights]
                 for n, m in net.named_modules() if isinstance(m, nn.LSTM)},
        "modes": {n: m.training for n, m in net.named_modules()},
        "hooks": {(n, k): list(getattr(m, k)) for n, m in net.named_modules() for k in HOOKS},
        "global hooks": {k: list(getattr(torch_module, k)) for k in GLOBAL_HOOKS},
        "random": (torch.get_rng_state().tolist(), str(np.random.get_state()), random.getstate()),
        "flags": (
            torch.is_grad_enabled(), torch.is_inference_mode_enabled(),
            torch.are_deterministic_algorithms_enabled(), torch.is_autocast_enabled("cpu"),
            torch.backends.mha.get_fastpath_enabled(), torch.backends.cudnn.enabled,
            torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic,
            torch.get_num_threads(), torch.get_default_dtype(),
            torch.backends.cuda.flash_sdp_enabled(), torch.backends.cuda.math_sdp_enabled(),
            torch.backends.cuda.mem_efficient_sdp_enabled(),
            torch.backends.cuda.cudnn_sdp_enabled(), torch._C._is_multithreading_enabled(),
        ),
        "modes of calls": (
            torch._C._len_torch_function_stack(), torch._C._len_torch_dispatch_stack(),
        ),
        "inputs": (inputs.numpy().tobytes(), inputs.requires_grad, inputs._version),
    }  # fmt: skip


def check(net: nn.Module, names: list[str], raises: Any = None) -> proxies.Scores | None:
    inputs = torch.randn(4, 3, 6, 6, generator=torch.Generator().manual_seed(1))
    before = state(net, inputs)
    scores = None
    with raises or contextlib.nullcontext():
        scores = archrank.score(net, [inputs, inputs.roll(1, -1)], proxies=names)
    after = state(net, inputs)
    for key, value in before.items():
        assert after[key] == value, key
    return scores


@pytest.mark.parametrize("names", [*([n] for n in NAMES), NAMES], ids=[*NAMES, "all"])
class TestEveryProxy:
    def test_normal(self, names: list[str]) -> None:
        scores = check(prepared(), names)
        assert len(scores) == len(names)
        for name, result in scores.items():  # else its pass was not tried
            assert result.status == "ok", name

    @pytest.mark.parametrize("call", [1, 3])
    def test_error_in_forward(self, names: list[str], call: int) -> None:
        scores = check(prepared(error=ValueError("broken half-way"), call=call), names)
        for result in scores.values():
            assert result.status == "ok" or "broken half-way" in result.reason

    def test_out_of_memory(self, names: list[str]) -> None:
        scores = check(prepared(error=torch.OutOfMemoryError("no memory left")), names)
        assert {r.status for r in scores.values()} <= {"ok", "out of memory"}

    def test_interrupt(self, names: list[str]) -> None:
        needs = {need for n in names for need in proxies.get(n).needs}
        interrupted = needs - {"graph", "weights"}
        raises = pytest.raises(KeyboardInterrupt) if interrupted else None
        check(prepared(error=KeyboardInterrupt()), names, raises)

    def test_nan_weights(self, names: list[str]) -> None:
        net = prepared()
        with torch.no_grad():
            net.first.weight.fill_(float("nan"))
        for result in check(net, names).values():
            assert result.status != "non-finite" or "'first.weight'" in result.reason


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_inside_contexts(context: Any) -> None:
    with context():
        scores = archrank.score(prepared(), (3, 6, 6), batch_size=4)
    outside = archrank.score(prepared(), (3, 6, 6), batch_size=4)
    for name in NAMES:
        assert scores[name].value == pytest.approx(outside[name].value, rel=1e-5), name


def test_eval_mode_and_compiled_wrapper() -> None:
    net = prepared().eval()
    scores = check(torch.compile(net), NAMES)
    eager = check(prepared(), ["grad_norm"])
    assert scores["grad_norm"].value == pytest.approx(eager["grad_norm"].value, rel=1e-6)
    assert not net.training


def test_a_model_that_writes_to_its_weights() -> None:
    """As clipping and moving averages do; on a plain call they would keep what is written."""

    class Clips(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.head = nn.Linear(5, 8), nn.Linear(8, 4)
            self.register_buffer("average", torch.zeros(8, 5))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.one.weight.data.clamp_(-0.1, 0.1)
            with torch.no_grad():
                self.head.bias.mul_(0.5)
                self.average.lerp_(self.one.weight, 0.1)
            return self.head(torch.relu(self.one(x)))

    model = Clips()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    archrank.score(model, (5,), batch_size=6)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("names", [NAMES, ["zico"], ["gradsign"]], ids=["all", "zico", "gradsign"])
@pytest.mark.parametrize("error", [None, ValueError("on purpose")], ids=["well", "failing"])
def test_nothing_holds_a_model_that_was_scored(
    names: list[str], error: BaseException | None
) -> None:
    """It is freed with its last reference, not when Python collects circles."""
    net = prepared(error=error, call=2)
    held = weakref.ref(net)
    gc.collect()
    gc.disable()
    try:
        scores = archrank.score(net, torch.ones(4, 3, 6, 6), proxies=names)
        if error is not None:
            error.__traceback__ = None  # the caller's own
        del net
        assert held() is None
    finally:
        gc.enable()
    assert [*scores] == names


def started(iterator: Iterator[int]) -> Iterator[int]:
    """Return a cycle of 1, 0, 0 that has given its first number."""
    next(iterator)
    return iterator


SHARED = itertools.cycle([0, 1])
ITERATORS: dict[str, Callable[[], Any]] = {
    "count": lambda: itertools.count(),
    "cycle": lambda: started(itertools.cycle([1, 0, 3, 5])),
    "list": lambda: iter([0, 1]),
    "range": lambda: iter(range(2)),
    "nested": lambda: map(int, itertools.chain(itertools.cycle([0, 2]))),
    "in a list": lambda: [itertools.count()],
    "global": lambda: None,
    "in a closure": lambda: (lambda held: lambda: next(held))(itertools.count()),
}


class Reading(nn.Module):
    """Scales its features by a number that it reads."""

    def __init__(self, held: Any):
        super().__init__()
        torch.manual_seed(0)
        self.one, self.two, self.held = nn.Linear(4, 6), nn.Linear(6, 3), held

    def number(self) -> int:
        held = self.held[0] if isinstance(self.held, list) else self.held
        return held() if callable(held) else next(SHARED if held is None else held)

    def forward(self, x: Tensor) -> Tensor:
        return self.two(torch.relu(self.one(x) * (1 + self.number())))


@pytest.mark.parametrize("kind", ITERATORS)
def test_iterators_are_where_they_were(kind: str) -> None:
    model, twin = Reading(ITERATORS[kind]()), Reading(lambda: 0)
    held = model.held
    names = "snip,gradsign,near,synflow,grasp,naswot"
    for _ in range(2):
        found, expected = (archrank.score(m, (4,), proxies=names) for m in (model, twin))
        for name, result in found.items():
            assert result.value == pytest.approx(expected[name].value), name
    assert model.held is held
    assert model.number() == 0


def test_generators_are_refused_and_not_read() -> None:
    model = nn.Sequential(nn.Linear(4, 4), Reading(number for number in range(3)))
    with pytest.raises(UnsupportedModelError, match=r"module '1'.* reads a generator"):
        archrank.score(model, (4,), proxies="snip")
    assert next(model[1].held) == 0
