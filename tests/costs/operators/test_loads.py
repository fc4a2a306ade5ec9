"""What operators ask of a device, against figures counted by hand and by torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import archrank
from archrank.costs.operators.loads import CLASSES, loads


def named(model: nn.Module, shape: tuple[int, ...]) -> dict[str, np.ndarray]:
    """Return counts and shapes of each class, of a model that has one operator of a class."""
    found = loads(archrank.trace(model, shape))
    return {
        CLASSES[kind]: np.concatenate([found.counts[i], found.shapes[i], found.times[i : i + 1]])
        for i, kind in enumerate(found.classes.tolist())
    }


@settings(max_examples=15, deadline=None)
@given(
    channels=st.sampled_from([4, 8, 12]),
    wider=st.sampled_from([1, 2, 3]),
    kernel=st.sampled_from([1, 3, 5]),
    stride=st.sampled_from([1, 2]),
    size=st.integers(6, 20),
)
def test_a_convolution(channels: int, wider: int, kernel: int, stride: int, size: int) -> None:
    made = channels * wider
    conv = nn.Conv2d(channels, made, kernel, stride, kernel // 2, bias=False)
    out = (size + stride - 1) // stride
    kind = "conv_strided" if stride > 1 else "conv_pointwise" if kernel == 1 else "conv"
    (row,) = named(conv, (channels, size, size)).values()
    assert list(named(conv, (channels, size, size))) == [kind]
    weights = made * channels * kernel**2
    assert row.tolist() == [
        *(weights * out**2, channels * size**2, made * out**2, weights),
        *(out**2, channels, made, 1, kernel**2, 1),
    ]


class Attention(nn.Module):
    """Attention of tensors of so many dimensions, two of which are tokens and channels."""

    def __init__(self, dimensions: int, biased: bool):
        super().__init__()
        self.shape = (1,) * (dimensions - 3) + (4, 16)
        self.bias = nn.Parameter(torch.zeros(4, 4)) if biased else None

    def forward(self, x: Tensor) -> Tensor:
        x = x.reshape(len(x), *self.shape)
        bias: Tensor | None = self.bias
        return nn.functional.scaled_dot_product_attention(x, x, x, attn_mask=bias)


@pytest.mark.parametrize(
    ("dimensions", "biased", "kinds"),
    [
        (4, False, {"attention"}),
        (4, True, {"attention_biased"}),
        (3, False, {"matmul", "softmax"}),
        (5, True, {"matmul", "softmax", "add"}),
    ],
)
def test_attention_is_fused_in_four_dimensions_alone(
    dimensions: int, biased: bool, kinds: set[str]
) -> None:
    found = loads(archrank.trace(Attention(dimensions, biased), (64,)))
    assert {CLASSES[i] for i in found.classes} == kinds
    products = [i for i, kind in enumerate(found.classes) if CLASSES[kind][:4] in ("matm", "atte")]
    work = (found.counts[products, 0] * found.times[products]).sum()
    assert work == 2 * 4 * 4 * 16


def test_work_is_what_torch_counts() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3, groups=4), nn.Flatten(), nn.Linear(128, 5)
    )
    with FlopCounterMode(display=False) as counter:
        model(torch.zeros(1, 3, 8, 8))
    found = loads(archrank.trace(model, (3, 8, 8)))
    heavy = np.isin(found.classes, [CLASSES.index(n) for n in ("conv", "conv_grouped", "linear")])
    assert (found.counts[:, 0] * found.times)[heavy].sum() == counter.get_total_flops() / 2


def test_equal_operators_stand_once_and_order_plays_no_part() -> None:
    conv, relu = nn.Conv2d(4, 4, 3, padding=1), nn.ReLU()
    one, other = (
        loads(archrank.trace(m, (4, 8, 8)))
        for m in (
            nn.Sequential(conv, relu, nn.Conv2d(4, 4, 3, padding=1), nn.ReLU()),
            nn.Sequential(relu, conv, nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1)),
        )
    )
    assert one.times.tolist() == [2.0, 2.0]
    for field, twin in zip(one, other, strict=True):
        np.testing.assert_array_equal(field, twin)
