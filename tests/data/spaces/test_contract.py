"""What every search space must do, whatever it holds."""

from __future__ import annotations

import pickle
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
import torch
from graph_contents import contents
from hypothesis import given, settings
from hypothesis import strategies as st

import archrank
from archrank.data import space, spaces
from archrank.errors import InputError

NEEDS_TIMM = pytest.mark.skipif(find_spec("timm") is None, reason="timm is not installed")
ALL = [
    pytest.param(name, marks=NEEDS_TIMM) if name == "imagenet_zoo" else name for name in spaces()
]
ONCE = settings(max_examples=30, deadline=None)


@pytest.mark.parametrize("name", ALL)
class TestStrings:
    def test_samples_are_distinct_and_repeatable(self, name: str) -> None:
        found = space(name).sample(40, seed=3)
        assert len(set(found)) == 40
        assert found == space(name).sample(40, seed=3)
        assert found != space(name).sample(40, seed=4)

    def test_samples_of_distinct_networks(self, name: str) -> None:
        one = space(name)
        found = one.sample(30, seed=0, distinct_networks=True)
        assert len({one.canonical(arch) for arch in found}) == 30

    def test_normal_form_is_stable(self, name: str) -> None:
        one = space(name)
        for arch in one.sample(20, seed=0):
            assert one.normalise(arch) == arch
            assert arch in one
            same = one.canonical(arch)
            assert one.canonical(same) == same
            assert one.normalise(same) == same

    def test_neighbours(self, name: str) -> None:
        one = space(name)
        for arch in one.sample(3, seed=1):
            around = one.neighbours(arch)
            assert around
            assert len(set(around)) == len(around)
            assert arch not in around
            assert all(one.normalise(other) == other for other in around[:20])

    def test_encoding(self, name: str) -> None:
        one = space(name)
        archs = one.sample(30, seed=2, distinct_networks=True)
        codes = [one.encode(arch) for arch in archs]
        assert len({code.shape for code in codes}) == 1
        assert codes[0].ndim == 1
        assert all(np.isfinite(code).all() for code in codes)
        assert len({code.tobytes() for code in codes}) == 30

    @pytest.mark.parametrize(
        "bad", ["", " ", "x", "|", "\x00", "٣٣٣٣٣٣٣٣", "9" * 5000, "[" * 5000, "é:é", None, 7, b"1"]
    )
    def test_hostile_strings(self, name: str, bad: Any) -> None:
        with pytest.raises(InputError, match="arch"):
            space(name).build(bad)
        assert bad not in space(name)

    def test_errors_point_at_the_mistake(self, name: str) -> None:
        arch = space(name).sample(1, seed=0)[0]
        for broken in (arch + "!", arch[:-1] + "?", "!" + arch):
            with pytest.raises(InputError, match=r"position \d+"):
                space(name).build(broken)

    @ONCE
    @given(cut=st.floats(0, 1), junk=st.text(max_size=4), seed=st.integers(0, 5))
    def test_damaged_strings(self, name: str, cut: float, junk: str, seed: int) -> None:
        one = space(name)
        arch = one.sample(1, seed=seed)[0]
        at = int(cut * len(arch))
        damaged = arch[:at] + junk + arch[at + 1 :]
        if damaged in one:
            assert one.normalise(one.normalise(damaged)) == one.normalise(damaged)

    def test_too_many(self, name: str) -> None:
        one = space(name)
        with pytest.raises(InputError, match="n: got -1"):
            one.sample(-1, 0)
        if one.size is not None:
            assert len(one) == one.size if one.size < 2**63 else True
            with pytest.raises(InputError, match="architectures"):
                one.sample(one.size + 1, 0)

    def test_unknown_task(self, name: str) -> None:
        one = space(name)
        with pytest.raises(InputError, match="task: got 'nothing'"):
            one.build(one.sample(1, seed=0)[0], "nothing")


@pytest.mark.slow
@pytest.mark.parametrize("name", ALL)
def test_the_graph_equals_the_traced_one(name: str) -> None:
    one = space(name)
    for i, arch in enumerate(one.sample(2, seed=5)):
        for task in list(one.tasks)[: None if i == 0 else 1]:
            with torch.device("meta"):
                network = one.build(arch, task)
            traced = archrank.trace(network, one.inputs(task, arch))
            assembled = one.graph(arch, task)
            assembled.check()
            assert contents(assembled) == contents(traced)
            assert assembled.hash == traced.hash
            assert not assembled.unknown_operators


@pytest.mark.parametrize("name", ALL)
def test_a_forward_gives_the_task_s_outputs(name: str) -> None:
    if any(
        word in name for word in ("autoformer", "pit", "gpt", "transnas", "ofa", "proxyless", "zoo")
    ):
        pytest.skip("large networks: their shapes are in the graphs")
    one = space(name)
    task = next(iter(one.tasks))
    torch.manual_seed(0)
    network = one.build(one.sample(1, seed=9)[0]).eval()
    given_inputs = one.inputs()
    with torch.no_grad():
        if archrank.graphs.inputs.tensors.is_shape(given_inputs):
            out = network(torch.randn(2, *given_inputs))
        elif isinstance(given_inputs, dict):
            out = network(**given_inputs)
        else:
            out = network(*given_inputs)
    assert torch.isfinite(out).all()
    assert out.shape[1 if out.dim() in (2, 4) else -1] == one.tasks[task].outputs


def _placed(value: Any, device: torch.device) -> Any:
    if isinstance(value, tuple):
        return tuple(_placed(item, device) for item in value)
    return value.to(device)


@pytest.mark.slow
@pytest.mark.parametrize("name", ALL)
def test_batches_fit_networks_and_losses(name: str) -> None:
    one = space(name)
    arch = one.sample(1, seed=5)[0]
    kinds = {one.loss(task): task for task in reversed(one.tasks)}  # one task for each loss
    for task in kinds.values():
        x, y = one.batch(2, 0, task, arch)
        same, other = one.batch(2, 0, task, arch), one.batch(2, 1, task, arch)
        assert torch.equal(y, same[1])
        assert not torch.equal(y, other[1]) or y.numel() < 3
        with torch.device("meta"):
            network = one.build(arch, task)
        device = next(network.parameters()).device  # graph networks stay on the CPU
        output = network(*_placed(x if isinstance(x, tuple) else (x,), device))
        loss = (one.loss(task) or torch.nn.functional.cross_entropy)(output, y.to(device))
        assert loss.shape == ()
        loss.backward()
        assert any(p.grad is not None for p in network.parameters())


@pytest.mark.parametrize("task", ["class_scene", "jigsaw", "segmentsemantic", "autoencoder"])
def test_batches_of_another_resolution(task: str) -> None:
    one = space("transnas101_micro")
    x, _ = one.batch(2, 0, task, resolution=64)
    assert x.shape == ((2, 9, 3, 32, 32) if task == "jigsaw" else (2, 3, 64, 64))


def test_images_are_refused_where_networks_take_none() -> None:
    with pytest.raises(InputError, match="takes no images"):
        space("flexibert").batch(2, 0, source="cifar10")


def test_an_unknown_space() -> None:
    with pytest.raises(InputError, match="nasbench201"):
        space("nasbench202")


def test_spaces_need_no_pickle() -> None:
    one = space("nasbench201")
    assert pickle.loads(pickle.dumps(type(one))) is type(one)  # a class of a module, for workers
