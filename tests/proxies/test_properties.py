"""What must hold for every proxy, whatever the network."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import archrank
from archrank.errors import InputError

SHAPE = (3, 8, 8)
ALL = [proxy.name for proxy in archrank.proxies.list()]
WHOLE = {
    *("jacob_cov", "epe_nas", "naswot", "linear_regions", "swap", "swap_regular", "l_swag"),
    *("meco", "meco_opt", "in_train", "zen", "ntk_condition", "vkdnw", "vkdnw_entropy", "croze"),
    *("az_expressivity", "az_progressivity", "az_trainability", "az_complexity", "epsinas"),
    *("nasgraph", "nasgraph_density", "softmax_confidence"),
    *("attention_confidence", "attention_importance"),
}
"""One number for the whole network."""

NOT_SUMS = {"synflow_log", "near"}
"""Of parts that do not add up to the total."""

ADDITIVE = [n for n in ALL if n not in WHOLE | NOT_SUMS]
FIRST_SAMPLE = {"meco", "meco_opt"}
widths = st.lists(st.integers(2, 9), min_size=2, max_size=4)


class Attend(nn.Module):
    """Attention without weights from images to vectors."""

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(2).transpose(1, 2)
        return (x + F.scaled_dot_product_attention(x, x, x)).flatten(1)


def build(sizes: list[int], norm: bool) -> nn.Sequential:
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for source, target in zip([3, *sizes], sizes, strict=False):
        layers += [nn.Conv2d(source, target, 3, padding=1), *([nn.BatchNorm2d(target)] * norm)]
        layers += [nn.ReLU()]
    layers += [nn.AdaptiveAvgPool2d(2), Attend(), nn.Linear(4 * sizes[-1], 5)]
    return nn.Sequential(*layers).double()


def batches(order: list[int] | None = None):
    generator = torch.Generator().manual_seed(0)
    made = []
    for _ in range(2):
        images = torch.randn(10, *SHAPE, generator=generator, dtype=torch.float64)
        labels = torch.arange(10) % 5
        made.append((images, labels) if order is None else (images[order], labels[order]))
    return made


def values(scores: archrank.Scores) -> dict[str, float]:
    for result in scores.values():
        assert result.status == "ok", f"{result.name}: {result.reason}"
    return {name: result.value for name, result in scores.items()}


@given(widths, st.booleans(), st.permutations(range(10)))
@example([2, 2, 2, 2], False, [*range(10)])  # dead: no gradient, and zico has a reason instead
@settings(max_examples=5, deadline=None)
def test_order_of_samples_does_not_matter(sizes, norm, order) -> None:
    net = build(sizes, norm)
    names = [n for n in ALL if n not in {"zen", *FIRST_SAMPLE}]  # zen draws its own samples
    first = archrank.score(net, batches(), proxies=names)
    second = archrank.score(net, batches(order), proxies=names)
    for name in names:
        assert second[name].reason == first[name].reason, name
        if first[name].value is not None:
            assert second[name].value == pytest.approx(first[name].value, rel=1e-6, abs=1e-9), name


@given(widths, st.booleans())
@example([6, 5, 2], False)  # constant gradients to the input: jacob_cov has a reason
@settings(max_examples=5, deadline=None)
def test_names_of_modules_do_not_matter(sizes, norm) -> None:
    net = build(sizes, norm)
    renamed = nn.ModuleDict({"some": nn.Sequential(nn.Identity(), net)})
    renamed.forward = renamed["some"].forward
    first, second = (archrank.score(n, batches()) for n in (net, renamed))
    assert first.graph.hash == second.graph.hash
    for name, result in first.items():
        assert second[name].reason == result.reason, name
        if result.value is not None:
            assert second[name].value == pytest.approx(result.value, rel=1e-9), name


@given(widths, st.booleans())
@example([2, 2, 2, 2], False)  # dead: no gradient, and zico has a reason instead of a value
@settings(max_examples=5, deadline=None)
def test_parts_add_up_and_stand_at_their_nodes(sizes, norm) -> None:
    scores = archrank.score(build(sizes, norm), batches())
    for name in ADDITIVE:
        if scores[name].value is None:
            with pytest.raises(InputError, match=re.escape(str(scores[name].reason))):
                scores.nodes(name)
            continue
        parts = scores.nodes(name)
        assert len(parts) == len(scores.graph)
        assert np.nansum(parts) == pytest.approx(scores[name].value, rel=1e-9), name
        if name not in ("params", "flops", "activations"):
            weighted = [n.operator in ("conv2d", "linear") for n in scores.graph.nodes]
            assert (~np.isnan(parts)).tolist() == weighted, name


def test_what_has_no_parts_says_so() -> None:
    scores = archrank.score(build([4], True), batches())
    for name in WHOLE:
        with pytest.raises(InputError, match="no values per node"):
            scores.nodes(name)
    with pytest.raises(KeyError, match="was not scored"):
        scores["nope"]


def test_together_as_alone() -> None:
    net = build([4, 6], True)
    together = values(archrank.score(net, batches()))
    for name in ALL:
        alone = archrank.score(net, batches(), proxies=name)[name].value
        assert alone == pytest.approx(together[name], rel=1e-9), name


LOOSE = {"zico", "zen", "gradsign_z", "gradsign_excess", "ntk_condition"}


def test_single_and_double_precision_agree() -> None:
    net = build([6, 6], True)
    data = [(x.float(), y) for x, y in batches()]
    double = values(archrank.score(net, batches()))
    single = values(archrank.score(build([6, 6], True).float(), data))
    for name in ALL:
        loose = 0.05 if name in LOOSE else 2e-3
        assert single[name] == pytest.approx(double[name], rel=loose, abs=2e-3), name


@given(st.floats(0.1, 10.0))
@settings(max_examples=5, deadline=None)
def test_scale_of_a_layer_before_batch_norm(scale) -> None:
    """Batch norm undoes the scale: W * g stays, g shrinks as 1 / scale, codes stay."""
    net, scaled = build([4], True), build([4], True)
    for module in scaled:
        if isinstance(module, nn.BatchNorm2d):
            module.eps = 1e-14
    for module in net:
        if isinstance(module, nn.BatchNorm2d):
            module.eps = 1e-14
    with torch.no_grad():
        scaled[0].weight.mul_(scale)
        scaled[0].bias.mul_(scale)
    first, second = (archrank.score(n, batches()) for n in (net, scaled))
    same = ("snip", "naswot", "gradsign", "jacob_cov", "epe_nas", "swap", "linear_regions", "near")
    for name in (*same, "meco", "meco_opt", "softmax_confidence", "attention_importance"):
        assert second[name].value == pytest.approx(first[name].value, rel=1e-6), name
    norms = [s.nodes("grad_norm")[1] for s in (first, second)]
    assert norms[1] * scale == pytest.approx(norms[0], rel=1e-6)


def test_results_say_what_they_cost() -> None:
    for result in archrank.score(build([4], True), batches()).values():
        assert result.seconds >= 0
        assert result.peak_memory is None or result.peak_memory >= 0
        assert result.version >= 1
