"""Tracing leaves no trace in a model."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from traced_networks import Net

from archrank.errors import UnsupportedModelError
from archrank.graphs import trace


class Raises(Net):
    def forward(self, x: Tensor) -> Tensor:
        super().forward(x)
        raise RuntimeError("no luck")


class Branches(Net):
    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        return y if y.sum() > 0 else -y


def _flags() -> tuple[object, ...]:
    return (
        torch.is_grad_enabled(),
        torch.get_default_dtype(),
        torch.backends.mha.get_fastpath_enabled(),
        torch.backends.cuda.flash_sdp_enabled(),
        torch.backends.cuda.mem_efficient_sdp_enabled(),
        torch.backends.cuda.math_sdp_enabled(),
        torch.backends.cudnn.enabled,
        torch.backends.cudnn.benchmark,
        torch.backends.cudnn.deterministic,
        torch.are_deterministic_algorithms_enabled(),
        torch.get_num_threads(),
    )


@pytest.mark.parametrize("kind", [Net, Raises, Branches])
@pytest.mark.parametrize("training", [True, False])
def test_leaves_no_trace(kind, training):
    net = kind().train(training)
    net.norm.eval()
    net.head.weight.requires_grad_(False)
    net.first.weight.grad = torch.ones_like(net.first.weight)
    state = copy.deepcopy(net.state_dict())
    buffers = {name: id(b) for name, b in net.named_buffers()}
    parameters = {name: id(p) for name, p in net.named_parameters()}
    modes = [m.training for m in net.modules()]
    needs = [p.requires_grad for p in net.parameters()]
    random, flags = torch.get_rng_state(), _flags()
    x = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    kept, version = x.clone(), x._version
    if kind is Raises:
        with pytest.raises(UnsupportedModelError, match="no luck"):
            trace(net, x)
    else:
        trace(net, x)
    assert torch.equal(torch.get_rng_state(), random)
    assert _flags() == flags
    assert all(torch.equal(v, state[name]) for name, v in net.state_dict().items())
    assert {name: id(b) for name, b in net.named_buffers()} == buffers
    assert {name: id(p) for name, p in net.named_parameters()} == parameters
    assert [m.training for m in net.modules()] == modes
    assert [p.requires_grad for p in net.parameters()] == needs
    assert torch.equal(net.first.weight.grad, torch.ones_like(net.first.weight))
    assert net.second.weight.grad is None
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())
    hooks = torch.nn.modules.module
    assert not hooks._global_forward_hooks
    assert not hooks._global_forward_pre_hooks
    assert torch.equal(x, kept)
    assert x._version == version


def test_written_buffers_come_back():
    class Counter(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("seen", torch.zeros(1))
            self.register_buffer("total", torch.zeros(4))

        def forward(self, x: Tensor) -> Tensor:
            self.seen += 1
            self.total = self.total + x.sum(0)
            return x + self.total

    net = Counter()
    seen, total = net.seen, net.total
    trace(net, (4,))
    assert net.seen is seen
    assert net.seen.item() == 0
    assert net.total is total
    assert not net.total.any()


def test_caches_come_back():
    class Caches(nn.Module):
        def __init__(self):
            super().__init__()
            self.kept, self.table = None, {}

        def forward(self, x: Tensor) -> Tensor:
            if self.kept is None:
                self.kept = self.table["scale"] = x.new_ones(4)
            return x * self.kept

    net = Caches()
    trace(net, (4,))
    assert net.kept is None
    assert net.table == {}
    assert net(torch.ones(2, 4)).tolist() == [[1.0] * 4] * 2


def test_user_hooks_run_and_stay(capsys):
    net = Net()
    net.norm.register_forward_hook(lambda *_: print("called"))
    trace(net, (3, 8, 8))
    assert capsys.readouterr().out == "called\n"
    assert len(net.norm._forward_hooks) == 1


WRITES = {
    "average": lambda m: setattr(m.weight, "data", m.weight.data * 0.9),
    "unit length": lambda m: setattr(
        m.weight, "data", nn.functional.normalize(m.weight.data, dim=1)
    ),
    "in place": lambda m: m.weight.data.mul_(0.9),
    "copied": lambda m: m.weight.copy_(m.weight * 0.9),
    "buffer": lambda m: setattr(m.count, "data", m.count.data + 1),
    "new buffer": lambda m: setattr(m, "count", m.count + 1),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("kind", WRITES)
@pytest.mark.parametrize("branches", [False, True])
def test_a_forward_that_writes_to_weights_leaves_them(
    kind: str, dtype: torch.dtype, branches: bool
) -> None:
    """As a teacher does, which is the average of past students."""

    class Teacher(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(4, 6))
            self.register_buffer("count", torch.zeros(()))

        def forward(self, x: Tensor) -> Tensor:
            with torch.no_grad():
                WRITES[kind](self)
            made = nn.functional.linear(x, self.weight)
            return -made if branches and made.sum() > 0 else made

    model = Teacher().to(dtype)
    before = {
        n: (id(t), t.clone(), t.data_ptr()) for n, t in model.state_dict(keep_vars=True).items()
    }
    trace(model, torch.randn(2, 6, dtype=dtype))
    for name, tensor in model.state_dict(keep_vars=True).items():
        identity, values, place = before[name]
        assert (id(tensor), tensor.data_ptr()) == (identity, place)
        assert torch.equal(tensor, values)
