"""Lists of samples' outputs, learnt queries and states, and buffers that a forward writes to."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from test_layouts import Model, compared
from test_twins import BLOCKS, OF_THE_GRAPH, batches, pair
from torch import Tensor, nn

import archrank

BY_GRADIENT = ("grad_norm", "snip", "plain", "gradsign")


def of_loop(model: nn.Module, loss: Any, out: set[str]) -> dict[str, float]:
    """Return scores by plain autograd, of all matrices but some; each sample alone for gradsign."""
    (x, targets), _ = batches(3, 8, 8)
    own = {n: p for n, p in model.named_parameters() if p.dim() > 1 and n not in out}
    before = {n: b.clone() for n, b in model.named_buffers()}
    found = torch.autograd.grad(loss(model(x), targets), [*own.values()])
    products = [(p * g).detach() for p, g in zip(own.values(), found, strict=True)]
    signs = [torch.zeros_like(p) for p in own.values()]
    for i in range(len(x)):
        for name, buffer in model.named_buffers():
            buffer.copy_(before[name])
        one = loss(model(x[i : i + 1]), targets[i : i + 1])
        for total, gradient in zip(signs, torch.autograd.grad(one, [*own.values()]), strict=True):
            total += gradient.sign()
    for name, buffer in model.named_buffers():
        buffer.copy_(before[name])
    return {
        "grad_norm": sum(float(g.norm()) for g in found),
        "snip": sum(float(p.abs().sum()) for p in products),
        "plain": sum(float(p.sum()) for p in products),
        "gradsign": sum(float(s.abs().sum()) for s in signs),
    }


def cross_entropy(output: Any, targets: Tensor) -> Tensor:
    return F.cross_entropy(output, targets)


class Detector(nn.Module):
    """A list with an entry for each sample, made one by one, as torchvision's detectors give."""

    def __init__(self, listed: bool):
        super().__init__()
        self.body, self.head = nn.Conv2d(3, 6, 3, 2), nn.Conv2d(6, 4, 1)
        self.listed = listed

    def forward(self, x: Tensor) -> Any:
        scores = self.head(F.relu(self.body(x)))
        if not self.listed:
            return {"scores": scores, "boxes": scores.square()}
        return [{"scores": one, "boxes": one.square()} for one in scores]


def detected(output: Any, targets: Tensor) -> Tensor:
    losses = [
        F.cross_entropy(one["scores"].mean((1, 2))[None], targets[i : i + 1]) + one["boxes"].mean()
        for i, one in enumerate(output)
    ]
    return sum(losses) / len(losses)


def detected_at_once(output: Any, targets: Tensor) -> Tensor:
    return F.cross_entropy(output["scores"].mean((2, 3)), targets) + output["boxes"].mean()


def test_a_list_with_an_entry_for_each_sample() -> None:
    torch.manual_seed(0)
    model, twin = Detector(True).double(), Detector(False).double()
    twin.load_state_dict(model.state_dict())
    data = batches(3, 8, 8)
    scores = archrank.score(model, data, loss=detected)
    expected = archrank.score(twin, data, loss=detected_at_once)
    compared(scores, expected, OF_THE_GRAPH | BLOCKS)  # calls for each sample make no blocks
    for name, value in of_loop(model, detected, set()).items():
        found = archrank.score(model, *data[0], loss=detected, proxies=name)[name].value
        assert found == pytest.approx(value), name


BESIDE: dict[str, Any] = {
    "number": lambda logits: [logits, torch.tensor(1.0)],
    "number first": lambda logits: (torch.tensor(1.0), logits),
    "vector": lambda logits: [logits, torch.ones(4)],
    "flags": lambda logits: [logits, None, True, 3],
}


@pytest.mark.parametrize("beside", BESIDE)
def test_constants_beside_the_logits_make_no_list_of_samples(beside: str) -> None:
    class Both(nn.Module):
        def __init__(self, both: bool):
            super().__init__()
            torch.manual_seed(0)
            self.body, self.head, self.both = nn.Linear(8, 16), nn.Linear(16, 4), both

        def forward(self, x: Tensor) -> Any:
            logits = self.head(F.relu(self.body(x)))
            return BESIDE[beside](logits) if self.both else logits

    x, targets = torch.randn(6, 8, generator=torch.Generator().manual_seed(1)), torch.arange(6) % 4
    names = "snip,gradsign,jacob_cov,synflow,near,fisher,ntk_condition,epsinas"
    found, expected = (
        archrank.score(Both(both), (x, targets), proxies=names) for both in (True, False)
    )
    for name, result in expected.items():
        assert found[name].value == pytest.approx(result.value, rel=1e-6), name


def test_entries_of_several_shapes_are_refused_where_they_are_read() -> None:
    class Several(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Conv2d(3, 4, 3)

        def forward(self, x: Tensor) -> list[Tensor]:
            return [one.flatten(1)[:, : 5 + i] for i, one in enumerate(self.body(x))]

    def loss(output: list[Tensor], targets: Tensor) -> Tensor:
        return torch.stack([one.square().mean() for one in output]).mean()

    x, targets = batches(3, 8, 8)[0]
    names = ("snip", "softmax_confidence")
    found = archrank.score(Several().double(), x, targets, loss=loss, proxies=names)
    assert found["snip"].status == "ok"
    assert "differ in shape" in found["softmax_confidence"].reason


class Queries(nn.Module):
    """Learnt queries that attend to an image, and a learnt first state of a recurrent layer."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.Conv2d(3, 8, 4, 4), nn.Linear(8, 4)
        self.query, self.keys = nn.Linear(8, 8), nn.Linear(8, 16)
        self.latents, self.state = (nn.Parameter(torch.randn(s)) for s in ((3, 8), (1, 1, 8)))
        self.rnn = nn.GRU(8, 8, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        keys, values = self.keys(self.embed(x).flatten(2).transpose(1, 2)).chunk(2, -1)
        queries = self.query(self.latents.expand(len(x), -1, -1))
        made = F.scaled_dot_product_attention(queries, keys, values)
        made, _ = self.rnn(made, self.state.expand(-1, len(x), -1).contiguous())
        return self.head(F.relu(made).mean(1))


def test_learnt_queries_and_states_are_no_weights() -> None:
    torch.manual_seed(0)
    model = Queries().double()
    expected = of_loop(model, cross_entropy, {"latents", "state"})
    found = archrank.score(model, *batches(3, 8, 8)[0], proxies=[*BY_GRADIENT, "l2_norm"])
    for name, value in expected.items():
        assert found[name].value == pytest.approx(value), name
    own = [p for n, p in model.named_parameters() if p.dim() > 1 and n not in ("latents", "state")]
    assert found["l2_norm"].value == pytest.approx(sum(p.norm().item() for p in own))


class Renormalised(nn.Module):
    """Batch renormalisation by hand, whose training mode reads what earlier forwards left."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Conv2d(3, 8, 3), nn.Linear(8, 4)
        self.register_buffer("mean", torch.zeros(8))

    def forward(self, x: Tensor) -> Tensor:
        x = self.body(x)
        mean = x.mean((0, 2, 3))
        with torch.no_grad():
            shift = (mean - self.mean).clamp(-1, 1)
            self.mean.lerp_(mean, 0.5)
        x = (x - mean[:, None, None]) * 2 + shift[:, None, None]
        return self.head(F.relu(x).mean((2, 3)))


def test_each_forward_begins_with_the_buffers_of_the_model() -> None:
    torch.manual_seed(0)
    model = Renormalised().double()
    before = model.mean.clone()
    expected = of_loop(model, cross_entropy, set())
    found = archrank.score(model, *batches(3, 8, 8)[0], proxies=BY_GRADIENT)
    for name, value in expected.items():
        assert found[name].value == pytest.approx(value), name
    assert torch.equal(model.mean, before)


class SpectralByHand(nn.Module):
    """A layer divided by its spectral norm, by one step of an iteration that a buffer holds."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 8)
        self.register_buffer("left", F.normalize(torch.arange(1.0, 9.0), dim=0))

    def weight(self) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            right = F.normalize(self.layer.weight.t() @ self.left, dim=0)
            left = F.normalize(self.layer.weight @ right, dim=0)
        return self.layer.weight / (left @ self.layer.weight @ right), left

    def forward(self, x: Tensor) -> Tensor:
        weight, self.left = self.weight()
        return F.linear(x, weight, self.layer.bias)


def test_a_spectral_norm_by_hand_is_that_of_the_first_forward() -> None:
    def layers() -> dict[str, nn.Module]:
        return {"embed": nn.Linear(3, 8), "mid": SpectralByHand(), "head": nn.Linear(8, 4)}

    def way(m: Model, x: Tensor) -> Tensor:
        return m.head(F.relu(m.mid(F.relu(m.embed(x)))).mean(1))

    def folded(m: Model, x: Tensor) -> Tensor:
        weight = m.mid.weight()[0].detach()
        return m.head(F.relu(F.linear(F.relu(m.embed(x)), weight, m.mid.layer.bias)).mean(1))

    model, _ = pair((way, layers), (folded, layers))
    plain = {"embed": nn.Linear(3, 8), "mid": nn.Linear(8, 8), "head": nn.Linear(8, 4)}
    twin = Model(way, **plain).double()
    state = {k: v for k, v in model.state_dict().items() if not k.startswith("mid.")}
    own = {"mid.weight": model.mid.weight()[0].detach(), "mid.bias": model.mid.layer.bias}
    twin.load_state_dict({**state, **own})
    data = batches(5, 3)
    compared(archrank.score(model, data), archrank.score(twin, data), OF_THE_GRAPH | BLOCKS)


class WithTime(nn.Module):
    """A network of images and one number for each, as those that remove noise take a time."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.time, self.head = nn.Conv2d(3, 8, 3), nn.Linear(1, 8), nn.Linear(8, 4)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        shift = self.time(time.reshape(-1, 1))
        return self.head(F.relu(self.body(x) + shift[..., None, None]).mean((2, 3)))


def test_a_number_for_each_sample_is_an_input_as_a_column_is() -> None:
    torch.manual_seed(0)
    model = WithTime().double()
    (x, targets), _ = batches(3, 8, 8)
    time = torch.rand(len(x), dtype=torch.float64)
    names = ("jacob_cov", "epe_nas", "gradsign", "croze")
    flat = archrank.score(model, (x, time), targets, proxies=names)
    column = archrank.score(model, (x, time[:, None]), targets, proxies=names)
    for name in names:
        assert flat[name].status == "ok", flat[name].reason
        assert flat[name].value == pytest.approx(column[name].value)


def test_blocks_under_vmap_are_not_applicable() -> None:
    class Ensemble(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = (nn.Parameter(torch.randn(3, n, 6)) for n in (6, 4))

        def forward(self, x: Tensor) -> Tensor:
            def one(first: Tensor, last: Tensor) -> Tensor:
                return F.linear(F.relu(F.linear(x, first)), last)

            return torch.vmap(one)(self.first, self.last).mean(0)

    found = archrank.score(Ensemble(), torch.randn(5, 6), proxies=[*BLOCKS])
    for result in found.values():
        assert result.status == "not applicable"
        assert "torch.vmap" in result.reason


CONSTANTS: dict[str, Any] = {
    "behind": lambda m, y: (y, m.table),
    "before": lambda m, y: [torch.eye(4, dtype=y.dtype), y],
    "several": lambda m, y: (torch.ones(2), m.table, y, torch.eye(3).to_sparse()),
    "in a dictionary": lambda m, y: {"table": m.table, "classes": y},
}


@pytest.mark.parametrize("kind", CONSTANTS)
def test_constants_beside_the_logits_are_not_taken_for_them(kind: str) -> None:
    """As prototypes, anchors or a codebook are returned, which no graph holds."""
    model, twin = pair(
        *[
            (
                lambda m, x, way=way: way(m, m.head(F.relu(m.embed(x)).mean(1))),
                lambda: {"embed": nn.Linear(3, 8), "head": nn.Linear(8, 4)},
            )
            for way in (CONSTANTS[kind], lambda m, y: y)
        ]
    )
    model.register_buffer("table", torch.randn(9, 8, dtype=torch.float64))
    data = batches(5, 3)
    compared(archrank.score(model, data), archrank.score(twin, data), OF_THE_GRAPH)


def test_targets_are_a_list_with_an_entry_for_each_sample() -> None:
    def loss(output: Tensor, targets: Any) -> Tensor:
        return F.cross_entropy(output, torch.stack([one["label"] for one in targets]))

    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 4))
    x, labels = torch.randn(6, 5), torch.arange(6) % 4
    listed = [{"label": one, "boxes": torch.zeros(6, 4)} for one in labels]
    found = archrank.score(model, x, listed, loss=loss)
    expected = archrank.score(model, x, labels)
    compared(found, expected, {"epe_nas"})
