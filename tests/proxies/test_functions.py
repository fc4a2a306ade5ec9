"""Each proxy against a slow, literal computation of its formula."""

from __future__ import annotations

import itertools
import math
import weakref

import networkx as nx
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import archrank
from archrank.proxies.activations.naswot import naswot
from archrank.proxies.gradients.gradsign import chance
from archrank.proxies.gradients.jacobian import epe_nas, jacob_cov
from archrank.proxies.recording import twins
from archrank.proxies.recording.signals import SignSums

N = 6


def network() -> nn.Module:
    torch.manual_seed(0)
    layers = (nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 5, 3, 2, 1), nn.ReLU())
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(20, 3)).double()


def data(seed: int = 1) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(N, 3, 6, 6, generator=generator).double(), torch.arange(N) % 3


def weights(net: nn.Module) -> list[nn.Parameter]:
    return [m.weight for m in net.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]


def gradients(net: nn.Module, images: Tensor, labels: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad(F.cross_entropy(net.train()(images), labels), weights(net)))


def ours(name: str, **options) -> float:
    images, labels = data()
    return archrank.score(network(), images, labels, proxies=name, **options)[name].value


def test_sizes() -> None:
    assert ours("params") == sum(p.numel() for p in network().parameters())
    products = 16 * 4 * (3 * 9) + 4 * 5 * (4 * 9) + 3 * 20
    norm_and_rectifiers = 2 * 64 + 64 + 20
    assert ours("flops") == products + norm_and_rectifiers
    assert ours("activations") == 64 + 20 + 3
    assert ours("l2_norm") == pytest.approx(
        sum(float(w.detach().norm()) for w in weights(network()))
    )


def test_grad_norm_and_plain() -> None:
    net, found = network(), gradients(network(), *data())
    assert ours("grad_norm") == pytest.approx(sum(float((g**2).sum()) ** 0.5 for g in found))
    plain = sum(float((w * g).detach().sum()) for w, g in zip(weights(net), found, strict=True))
    assert ours("plain") == pytest.approx(plain)


def test_snip_is_the_gradient_of_a_mask() -> None:
    net, (images, labels) = network(), data()
    masks = [torch.ones_like(w, requires_grad=True) for w in weights(net)]
    names = ["0.weight", "3.weight", "6.weight"]
    masked = {n: w.detach() * m for n, w, m in zip(names, weights(net), masks, strict=True)}
    loss = F.cross_entropy(torch.func.functional_call(net.train(), masked, images), labels)
    expected = sum(float(g.abs().sum()) for g in torch.autograd.grad(loss, masks))
    assert ours("snip") == pytest.approx(expected)


def test_grasp_with_the_whole_hessian() -> None:
    net, (images, labels) = network(), data()
    shapes = [w.shape for w in weights(net)]
    sizes = [w.numel() for w in weights(net)]

    def loss(flat: Tensor) -> Tensor:
        parts = [p.view(s) for p, s in zip(flat.split(sizes), shapes, strict=True)]
        named = dict(zip(("0.weight", "3.weight", "6.weight"), parts, strict=True))
        return F.cross_entropy(torch.func.functional_call(net.train(), named, images), labels)

    flat = torch.cat([w.detach().flatten() for w in weights(net)])
    hessian = torch.autograd.functional.hessian(loss, flat)
    gradient = torch.cat([g.flatten() for g in gradients(net, images, labels)])
    assert ours("grasp") == pytest.approx(float(-(flat * (hessian @ gradient)).sum()))


def test_fisher_by_loops() -> None:
    net, (images, labels) = network().train(), data()
    outputs = []
    for layer in (net[0], net[3], net[6]):
        layer.register_forward_hook(lambda m, i, o: outputs.append(o))
    loss = F.cross_entropy(net(images), labels)
    total = 0.0
    for output, gradient in zip(outputs, torch.autograd.grad(loss, outputs), strict=True):
        for c in range(output.shape[1]):
            per_sample = [float((output[n, c] * gradient[n, c]).detach().sum()) for n in range(N)]
            total += 0.5 * float(np.mean(np.square(per_sample)))
    assert ours("fisher") == pytest.approx(total)


def test_fisher_survives_in_place_rectifiers() -> None:
    def build(inplace: bool) -> nn.Module:
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.ReLU(inplace), nn.Conv2d(4, 4, 3), nn.ReLU(inplace),
            nn.Flatten(), nn.Linear(16, 3),
        ).double()  # fmt: skip

    images, labels = data()
    scores = [archrank.score(build(i), images, labels, proxies="fisher,naswot") for i in (0, 1)]
    for name in ("fisher", "naswot"):
        assert scores[0][name].value == pytest.approx(scores[1][name].value)


def test_synflow_by_hand() -> None:
    net = network()
    ones = torch.ones(1, 3, 6, 6).double()
    with torch.no_grad():
        for p in net.parameters():
            p.abs_()
    stack = nn.Sequential(*(m for m in net if not isinstance(m, nn.BatchNorm2d)))
    found = torch.autograd.grad(stack(ones).sum(), weights(net))
    parts = [(w * g).abs().sum() for w, g in zip(weights(net), found, strict=True)]
    assert ours("synflow") == pytest.approx(float(sum(parts)))
    assert ours("synflow_log") == pytest.approx(math.log(float(sum(parts))))


def test_synflow_with_norm_and_with_damped_gradients() -> None:
    net = network().train()
    with torch.no_grad():
        for p in net.parameters():
            p.abs_()
    ones = torch.ones(1, 3, 6, 6).double()
    stack = nn.Sequential(*(m for m in net if not isinstance(m, nn.BatchNorm2d)))
    expected = 0.0
    for w, g in zip(
        weights(net), torch.autograd.grad(stack(ones).sum(), weights(net)), strict=True
    ):
        for weight, gradient in zip(w.flatten().tolist(), g.flatten().tolist(), strict=True):
            expected += abs(weight) * math.log(1 + abs(gradient))
    assert ours("logsynflow") == pytest.approx(expected)
    found = torch.autograd.grad(net(ones).sum(), weights(net))
    parts = [float((w * g).detach().abs().sum()) for w, g in zip(weights(net), found, strict=True)]
    assert ours("synflow_bn") == pytest.approx(sum(parts))


def test_jacob_cov_with_numpy() -> None:
    net, (images, _) = network().train(), data()
    images.requires_grad_()
    rows = torch.autograd.grad(net(images).sum(), images)[0].flatten(1).numpy()
    v = np.linalg.eigvalsh(np.corrcoef(rows))
    expected = -np.sum(np.log(v + 1e-5) + 1 / (v + 1e-5))
    assert ours("jacob_cov") == pytest.approx(expected, rel=1e-6)


def jacobian(net: nn.Module, images: Tensor) -> np.ndarray:
    images = images.clone().requires_grad_()
    return torch.autograd.grad(net.train()(images).sum(), images)[0].flatten(1).numpy()


def test_epe_nas_by_loops() -> None:
    images, labels = data()
    rows, expected = jacobian(network(), images), 0.0
    for c in range(3):
        correlation = np.corrcoef(rows[labels.numpy() == c])
        expected += abs(np.log(np.abs(correlation) + 1e-5).sum())
    assert ours("epe_nas") == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("outputs", "many"), [(100, False), (101, True), (250, True)])
def test_epe_nas_compares_classes_where_there_are_many(outputs: int, many: bool) -> None:
    """Many outputs, not many classes in the batch: a batch seldom holds more than a hundred."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(48, 20), nn.ReLU(), nn.Linear(20, outputs)).double()
    images = torch.randn(12, 3, 4, 4, dtype=torch.float64)
    labels = torch.arange(12) % 4 * 24
    rows, per_class = jacobian(net, images), []
    for c in range(4):
        correlation = np.corrcoef(rows[labels.numpy() == 24 * c])
        per_class.append(np.log(np.abs(correlation) + 1e-5).sum() / (3 if many else 1))
    if many:
        expected = sum(abs(a - b) for a in per_class for b in per_class) / 4
    else:
        expected = sum(abs(score) for score in per_class)
    got = archrank.score(net, images, labels, proxies="epe_nas")["epe_nas"].value
    assert got == pytest.approx(expected, rel=1e-9)


@given(st.integers(0, 99), st.floats(1e-3, 1e3), st.floats(-5, 5))
@settings(max_examples=20, deadline=None)
def test_correlations_know_neither_scale_nor_offset(seed: int, scale: float, offset: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(8, 30, generator=generator, dtype=torch.float64)
    factors = torch.linspace(0.5, 2, 8, dtype=torch.float64)[:, None] * scale
    for changed in (rows * factors, rows + offset):
        labels = torch.arange(8) % 2
        assert jacob_cov(changed).total == pytest.approx(jacob_cov(rows).total, rel=1e-6)
        first, second = (epe_nas(r, labels, 10).total for r in (rows, changed))
        assert second == pytest.approx(first, rel=1e-6)


def test_jacob_cov_refuses_constant_rows() -> None:
    with pytest.raises(archrank.errors.ScoreError, match="constant"):
        jacob_cov(torch.ones(4, 5))


def test_naswot_with_explicit_codes() -> None:
    net, (images, _) = network().train(), data()
    codes = []
    for layer in (net[2], net[4]):
        layer.register_forward_hook(lambda m, i, o: codes.append((i[0] > 0).flatten(1)))
    net(images)
    code = torch.cat(codes, dim=1).numpy().astype(float)
    kernel = code @ code.T + (1 - code) @ (1 - code).T
    assert ours("naswot") == pytest.approx(np.linalg.slogdet(kernel)[1])


def test_linear_regions_counts_codes() -> None:
    net, (images, _) = network().train(), data()
    codes = []
    for layer in (net[2], net[4]):
        layer.register_forward_hook(lambda m, i, o: codes.append((i[0] > 0).flatten(1)))
    net(images)
    expected = len({tuple(code) for code in torch.cat(codes, dim=1).tolist()})
    assert ours("linear_regions") == expected
    narrow = nn.Sequential(nn.Flatten(), nn.Linear(108, 2), nn.ReLU(), nn.Linear(2, 3)).double()
    many = torch.randn(40, 3, 6, 6, dtype=torch.float64)
    signs = {tuple(row) for row in (narrow[1](many.flatten(1)) > 0).tolist()}
    got = archrank.score(narrow, many, proxies="linear_regions")["linear_regions"].value
    assert got == len(signs) <= 4


def test_naswot_refuses_equal_codes() -> None:
    with pytest.raises(archrank.errors.ScoreError, match="same code"):
        naswot(torch.full((3, 3), 7.0))


@pytest.mark.parametrize("count", [2, 4])
def test_zico_with_numpy(count: int) -> None:
    batches = [data(seed) for seed in range(count)]
    per_batch = [[g.numpy() for g in gradients(network(), *batch)] for batch in batches]
    expected = 0.0
    for layer in range(3):
        g = np.stack([grads[layer] for grads in per_batch])
        std, mean = g.std(axis=0), np.abs(g).mean(axis=0)
        expected += np.log((mean[std > 0] / std[std > 0]).sum())
    got = archrank.score(network(), batches, proxies="zico", batches=count)["zico"].value
    assert got == pytest.approx(expected)


def test_zen_of_a_linear_network_is_closed_form() -> None:
    # features = x before pooling of an identity network: the L1 norm of gamma * eps
    net = nn.Sequential(nn.Identity(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2))
    value = archrank.score(net, (3, 40, 40), proxies="zen")["zen"].value
    elements = 3 * 40 * 40
    assert value == pytest.approx(math.log(1e-2 * elements * math.sqrt(2 / math.pi)), rel=2e-3)


def test_zen_adds_the_scale_that_batch_norm_removes() -> None:
    def build(norm: bool) -> nn.Module:
        body = [nn.Conv2d(3, 16, 3, padding=1, bias=False)]
        body += [nn.BatchNorm2d(16)] if norm else []
        return nn.Sequential(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 2))

    values = [
        archrank.score(build(norm), (3, 16, 16), proxies="zen")["zen"].value for norm in (0, 1)
    ]
    assert values[0] == pytest.approx(values[1], abs=0.1)


@pytest.mark.parametrize("n", range(1, 11))
def test_chance_by_enumeration(n: int) -> None:
    sums = [abs(sum(signs)) for signs in itertools.product((-1, 1), repeat=n)]
    mean, deviation = chance(n)
    assert mean == pytest.approx(np.mean(sums))
    assert deviation == pytest.approx(np.std(sums), abs=1e-7)


@given(st.integers(2, 40), st.integers(1, 200), st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_forms_of_gradsign_agree(n: int, m: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    signs = generator.choice([-1, 0, 1], size=(n, m))
    sums = SignSums(n, {"w": torch.from_numpy(signs.sum(axis=0)).float().view(1, m)})
    forms = {p: archrank.proxies.get(p).function(sums).total for p in ("gradsign", "gradsign_mean")}
    assert forms["gradsign"] == np.abs(signs.sum(axis=0)).sum()
    assert forms["gradsign"] == pytest.approx(m * forms["gradsign_mean"])
    if n > 2:
        mean, deviation = chance(n)
        excess = archrank.proxies.get("gradsign_excess").function(sums).total
        z = archrank.proxies.get("gradsign_z").function(sums).total
        assert excess == pytest.approx(forms["gradsign_mean"] - mean)
        assert z == pytest.approx(excess * math.sqrt(m) / deviation)


def test_coin_tosses_score_zero_whatever_the_size() -> None:
    generator = np.random.default_rng(0)
    for m in (1_000, 100_000):
        signs = generator.choice([-1, 1], size=(64, m)).sum(axis=0)
        sums = SignSums(64, {"w": torch.from_numpy(signs).float().view(1, m)})
        assert abs(archrank.proxies.get("gradsign_z").function(sums).total) < 4


def patterns(net: nn.Module, images: Tensor) -> list[set[tuple[bool, ...]]]:
    """For each rectifier, the sets of samples for which its units are on."""
    found: list[set[tuple[bool, ...]]] = []
    for layer in net:
        if isinstance(layer, nn.ReLU):
            layer.register_forward_hook(
                lambda m, i, o: found.append({tuple(u) for u in (i[0] > 0).flatten(1).T.tolist()})
            )
    net.train()(images)
    return found


@pytest.mark.parametrize("samples", [6, 63, 64, 65, 130])
def test_swap_counts_patterns(samples: int) -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(samples, 3, 6, 6, generator=generator).double()
    found = patterns(network(), images)
    scores = archrank.score(
        network(), images, proxies=["swap", "swap_regular", "swap_regular[mu=1,sigma=0.5]"]
    )
    total = len(set().union(*found))
    assert scores["swap"].value == total
    thousands = sum(p.numel() for p in network().parameters()) / 1000
    assert scores["swap_regular"].value == pytest.approx(
        total * math.exp(-((thousands - 30) ** 2) / 40)
    )
    assert scores["swap_regular[mu=1,sigma=0.5]"].value == pytest.approx(
        total * math.exp(-((thousands - 1) ** 2) / 0.5)
    )


def test_swap_far_from_its_parameters_has_no_value() -> None:
    images, _ = data()
    scores = archrank.score(network(), images, proxies="swap_regular[mu=900,sigma=10],swap")
    assert "so far from mu=900" in scores["swap_regular[mu=900,sigma=10]"].reason
    scores = archrank.score(network(), images, proxies="swap_regular[sigma=0]")
    assert "sigma: got 0" in scores["swap_regular[sigma=0]"].reason


@pytest.mark.parametrize(("low", "high"), [(0, 100), (20, 100), (0, 60), (40, 60)])
def test_l_swag_by_loops(low: float, high: float) -> None:
    batches = [data(seed) for seed in (1, 2)]
    stacked = zip(*(gradients(network(), *batch) for batch in batches), strict=True)
    logs = []
    for layer in stacked:
        deviation = np.stack([g.numpy() for g in layer]).std(axis=0)
        logs.append(np.log((1 / deviation[deviation > 0]).sum()))
    counts = [len(p) for p in patterns(network(), batches[0][0])]

    def chosen(values: list[float]) -> float:
        places = [100 * (i + 0.5) / len(values) for i in range(len(values))]
        return sum(v for v, place in zip(values, places, strict=True) if low <= place <= high)

    name = f"l_swag[low={low},high={high}]"
    (got,) = archrank.score(network(), batches, proxies=name).values()
    assert got.value == pytest.approx(chosen(logs) * chosen(counts))


def features(net: nn.Module, images: Tensor) -> list[tuple[nn.Module, np.ndarray]]:
    """Outputs of layers and rectifiers, channels last."""
    found = []
    for layer in net:
        if isinstance(layer, (nn.Conv2d, nn.ReLU, nn.Linear)):
            layer.register_forward_hook(lambda m, i, o: found.append((m, o.detach())))
    net.train()(images)
    return [(m, (o.movedim(1, -1) if o.dim() == 4 else o).numpy()) for m, o in found]


def test_near_by_singular_values() -> None:
    expected = 0.0
    for _, output in features(network(), data()[0]):
        rows = output.reshape(-1, output.shape[-1])
        s = np.linalg.svd(rows, compute_uv=False)
        p = s[s > 0] / s.sum()
        rank = np.exp(-(p * np.log(p)).sum())
        assert 1 <= rank <= output.shape[-1] + 1e-9
        expected += rank
    assert ours("near") == pytest.approx(expected, rel=1e-5)


def test_meco_with_numpy() -> None:
    expected = sampled = 0.0
    generator = torch.Generator().manual_seed(0)
    for _, output in features(network(), data()[0]):
        first = output[0].reshape(-1, output.shape[-1])
        if len(first) == 1:
            continue  # the linear layer's
        with np.errstate(invalid="ignore"):
            correlation = np.nan_to_num(np.corrcoef(first.T))
        expected += np.linalg.eigvalsh(correlation)[0]
        drawn = torch.randperm(len(correlation), generator=generator)[:3].numpy()
        part = correlation[np.ix_(drawn, drawn)]
        sampled += len(correlation) / 3 * np.linalg.eigvalsh(part)[0]
    assert ours("meco") == pytest.approx(expected, abs=1e-9)
    images, labels = data()
    names = ["meco_opt[n=3]", "meco_opt[n=1000]", "meco", "meco_opt[n=0]"]
    scores = archrank.score(network(), images, labels, proxies=names)
    assert scores["meco_opt[n=3]"].value == pytest.approx(sampled, abs=1e-9)
    assert scores["meco_opt[n=1000]"].value == pytest.approx(scores["meco"].value, abs=1e-9)
    assert "at least 1 channel" in scores["meco_opt[n=0]"].reason


def test_in_train_by_eigenvalues() -> None:
    expressed = 0.0
    for module, output in features(network(), data()[0]):
        if not isinstance(module, nn.ReLU):
            v = np.linalg.eigvalsh(np.cov(output.reshape(-1, output.shape[-1]).T, bias=True))
            expressed += np.log(v.sum() ** 2 / (v**2).sum())
    spread = 0.0
    for g in (g.numpy() for g in gradients(network(), *data())):
        spread += min(1.0, g.std(ddof=1) / np.abs(g).max())
    assert ours("in_train") == pytest.approx(expressed * (1 + spread) / np.log(4))


def per_sample_rows(net: nn.Module, images: Tensor, value) -> np.ndarray:
    """Gradients of all weights, one image through the network at a time."""
    rows = []
    for i in range(len(images)):
        found = torch.autograd.grad(value(net.train()(images[i : i + 1]), i), weights(net))
        rows.append(torch.cat([g.flatten() for g in found]).numpy())
    return np.stack(rows)


def test_ntk_condition_by_a_loop_over_samples() -> None:
    rows = per_sample_rows(network(), data()[0], lambda output, i: output.sum())
    v = np.linalg.eigvalsh(rows @ rows.T)
    assert ours("ntk_condition") == pytest.approx(v[-1] / v[0], rel=1e-6)


def test_ntk_condition_reads_64_samples() -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(70, 3, 6, 6, generator=generator).double()
    whole, first = (
        archrank.score(network(), i, proxies="ntk_condition") for i in (images, images[:64])
    )
    assert whole["ntk_condition"].value == first["ntk_condition"].value


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_vkdnw_of_the_drawn_weights(seed: int) -> None:
    (images, labels), sizes = data(), [w.numel() for w in weights(network())]

    def loss(output: Tensor, i: int) -> Tensor:
        return F.cross_entropy(output, labels[i : i + 1])

    rows = per_sample_rows(network(), images, loss)
    generator = torch.Generator().manual_seed(seed)
    drawn = [int(torch.randint(size, (), generator=generator)) for size in sizes]
    offsets = np.cumsum([0, *sizes[:-1]])
    entries = rows[:, offsets + np.array(drawn)]
    values = np.linalg.eigvalsh(entries.T @ entries / len(entries))
    deciles = np.quantile(values, np.arange(1, 10) / 10)
    p = deciles / deciles.sum()
    entropy = -(p[p > 0] * np.log(p[p > 0])).sum()  # a drawn weight may have no gradient
    assert ours("vkdnw_entropy", seed=seed) == pytest.approx(entropy)
    assert ours("vkdnw", seed=seed) == pytest.approx(3 + entropy)


def test_croze_by_hand() -> None:
    def run(net: nn.Module, images: Tensor, labels: Tensor):
        outputs: list[Tensor] = []
        hooks = [net[i].register_forward_hook(lambda m, i, o: outputs.append(o)) for i in (0, 3, 6)]
        found = gradients(net, images, labels)
        for hook in hooks:
            hook.remove()
        return found, [o.detach() for o in outputs]

    def cosine(a: Tensor, b: Tensor) -> float:
        a, b = a.detach().flatten().numpy(), b.detach().flatten().numpy()
        return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))

    net, twin, (images, labels) = network(), network(), data()
    clean, outputs = run(net, images, labels)
    with torch.no_grad():
        for w, g in zip(weights(twin), clean, strict=True):
            w += 0.01 * w.norm() * g / g.norm()
    moving = images.clone().requires_grad_()
    (slope,) = torch.autograd.grad(F.cross_entropy(twin.train()(moving), labels), moving)
    disturbed, twin_outputs = run(twin, images + 0.01 * slope.sign(), labels)
    expected = 0.0
    for i in range(3):
        stepped = weights(net)[i] - clean[i], weights(twin)[i] - disturbed[i]
        agreement = abs(cosine(clean[i], disturbed[i])) * (1 + cosine(outputs[i], twin_outputs[i]))
        expected += (1 + cosine(*stepped)) * agreement
    assert ours("croze") == pytest.approx(expected, rel=1e-6)


def test_croze_lets_go_of_features_as_it_compares(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[weakref.ref[Tensor]] = []
    cosine = twins._cosine

    def watched(first: Tensor, second: Tensor) -> float:
        if first.shape == (N, 4, 4, 4):
            assert all(feature() is None for feature in compared)
            compared.append(weakref.ref(first))
        return cosine(first, second)

    monkeypatch.setattr(twins, "_cosine", watched)
    torch.manual_seed(0)
    convolutions = [nn.Conv2d(4, 4, 3, padding=1) for _ in range(5)]
    net = nn.Sequential(nn.Conv2d(3, 4, 3), *convolutions, nn.Flatten(), nn.Linear(64, 3)).double()
    images, labels = data()
    assert archrank.score(net, images, labels, proxies="croze")["croze"].value > 0
    assert len(compared) == 6


def test_epsinas_by_hand() -> None:
    images, _ = data()
    outputs = []
    for constant in (1e-7, 1.0):
        net = network().train()
        with torch.no_grad():
            for w in weights(net):
                w.fill_(constant)
            found = net(images).flatten()
        outputs.append(((found - found.min()) / (found.max() - found.min())).numpy())
    first, second = outputs
    assert ours("epsinas") == pytest.approx(np.abs(first - second).mean() / np.mean(outputs))


def test_nasgraph_channel_by_channel() -> None:
    """The graph of channels of a network with a shortcut and with groups, edge by edge."""

    class Wired(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.grouped = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 6, 1, groups=2)
            self.back, self.head = nn.Conv2d(6, 4, 1), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            x = self.stem(x)
            y = self.back(torch.relu(self.grouped(x)))
            return self.head((x + y).mean((2, 3)))

    net = nx.DiGraph()

    def join(source: str, target: str, pairs) -> None:
        net.add_edges_from(((source, a), (target, b)) for a, b in pairs)

    join("input", "stem", itertools.product(range(3), range(4)))
    join("stem", "grouped", [(a, b) for a in range(4) for b in range(6) if a // 2 == b // 3])
    join("grouped", "relu", [(c, c) for c in range(6)])
    join("relu", "back", itertools.product(range(6), range(4)))
    join("stem", "add", [(c, c) for c in range(4)])
    join("back", "add", [(c, c) for c in range(4)])
    join("add", "mean", [(c, c) for c in range(4)])
    join("mean", "head", itertools.product(range(4), range(2)))
    join("head", "output", [(c, c) for c in range(2)])
    scores = archrank.score(Wired(), (3, 5, 5), proxies="nasgraph,nasgraph_density")
    degrees = [degree for _, degree in net.degree()]
    assert scores["nasgraph"].value == pytest.approx(np.mean(degrees))
    assert scores["nasgraph_density"].value == pytest.approx(
        net.number_of_edges() / net.number_of_nodes() ** 2
    )


DEPTH_WEIGHTS = {
    "": lambda i, n: ((n - i) / n) ** 2,
    "_linear": lambda i, n: (n - i) / n,
    "_exponential": lambda i, n: math.exp(-i / n),
    "_sigmoid": lambda i, n: 1 / (1 + math.exp(-10 * (0.5 - i / n))),
    "_sine": lambda i, n: (math.sin(0.1 * i) + 1) / 2,
}


@pytest.mark.parametrize("weighting", DEPTH_WEIGHTS)
@pytest.mark.parametrize("base", ["synflow", "snip", "grad_norm"])
def test_parzc_dagger_layer_by_layer(weighting: str, base: str) -> None:
    net = network()
    values = []
    if base == "synflow":
        with torch.no_grad():
            for p in net.parameters():
                p.abs_()
        stack = nn.Sequential(*(m for m in net if not isinstance(m, nn.BatchNorm2d)))
        found = torch.autograd.grad(stack(torch.ones(1, 3, 6, 6).double()).sum(), weights(net))
        for w, g in zip(weights(net), found, strict=True):
            values.append(math.log(1 + float((w * g).detach().abs().mean())))
    else:
        for w, g in zip(weights(net), gradients(net, *data()), strict=True):
            values.append(float((w * g).detach().abs().mean() if base == "snip" else g.norm()))
    expected = [DEPTH_WEIGHTS[weighting](i, 3) * v for i, v in enumerate(values)]
    name = f"parzc_dagger{weighting}[base={base}]"
    images, labels = data()
    scores = archrank.score(network(), images, labels, proxies=[name])
    ((full_name, result),) = scores.items()
    assert full_name == (name if base != "synflow" else f"parzc_dagger{weighting}")
    assert result.value == pytest.approx(sum(expected))
    nodes = scores.nodes(full_name)
    assert nodes[~np.isnan(nodes)].tolist() == pytest.approx(expected)


def test_softmax_confidence_by_loops() -> None:
    outputs = network().train()(data()[0]).detach().tolist()
    largest = []
    for row in outputs:
        powers = [math.exp(value) for value in row]
        largest.append(max(powers) / sum(powers))
    assert ours("softmax_confidence") == pytest.approx(np.mean(largest))
