"""ParZC's mixer: what its Bayesian layers and both ways of mixing compute."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Normal, kl_divergence
from torch.func import functional_call
from torch.nn import functional

from archrank.errors import InputError
from archrank.predictors.neural.mixer import (
    BODIES,
    HEADS,
    MABN,
    MIXINGS,
    BayesianLinear,
    MixerBlock,
    StandAloneHead,
    monte_carlo,
)

SMALL: dict[str, Any] = {"length": 24, "segment": 6, "width": 8, "depth": 2}


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def inputs_of(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


def test_bayesian_linear_starts_as_published() -> None:
    layer = BayesianLinear(100, 50)
    assert layer.mu.shape == layer.rho.shape == (50, 100)
    assert layer.deviation.detach().mean().item() == pytest.approx(0.0067, abs=1e-4)
    bound = 1 / 100**0.5  # Kaiming-uniform with a = sqrt 5
    assert layer.mu.abs().max() <= bound
    assert layer.mu.std().item() == pytest.approx(bound / 3**0.5, rel=0.05)
    assert [name for name, _ in layer.named_parameters()] == ["mu", "rho"]


def test_mean_uses_mu_and_is_deterministic() -> None:
    layer = BayesianLinear(4, 3).eval()
    inputs = inputs_of(5, 4)
    state = torch.get_rng_state()
    torch.testing.assert_close(layer(inputs), inputs @ layer.mu.T)
    assert torch.equal(layer(inputs), layer(inputs))
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_samples_are_mu_plus_scaled_noise(mode: str) -> None:
    layer = BayesianLinear(4, 3, prior_rho=0.5, evaluation="sample").train(mode == "train")
    inputs = inputs_of(5, 4)
    torch.manual_seed(3)
    outputs = layer(inputs)
    torch.manual_seed(3)
    weight = layer.mu + functional.softplus(layer.rho) * torch.randn(3, 4)
    torch.testing.assert_close(outputs, inputs @ weight.T)
    assert not torch.equal(outputs, layer(inputs))


def test_training_samples_even_where_evaluation_is_the_mean() -> None:
    layer = BayesianLinear(4, 3, evaluation="mean")
    assert not torch.equal(layer(inputs_of(2, 4)), layer(inputs_of(2, 4)))


def test_gradients_with_the_noise_frozen() -> None:
    layer = BayesianLinear(3, 2, prior_rho=-0.5).double()

    def outputs(mu: Tensor, rho: Tensor, inputs: Tensor) -> Tensor:
        torch.manual_seed(0)
        found: Tensor = functional_call(layer, {"mu": mu, "rho": rho}, inputs)
        return found

    inputs = inputs_of(4, 3).double().requires_grad_()
    assert torch.autograd.gradcheck(outputs, (layer.mu, layer.rho, inputs))


@pytest.mark.parametrize("prior_std", [0.1, 1.0, 3.0])
@pytest.mark.parametrize("rho", [-8.0, -1.0, 2.0])
def test_kl_is_the_divergence_of_normals(prior_std: float, rho: float) -> None:
    layer = BayesianLinear(5, 4, prior_rho=rho).double()
    posterior = Normal(layer.mu, layer.deviation)
    prior = Normal(torch.zeros_like(layer.mu), prior_std)
    torch.testing.assert_close(layer.kl(prior_std), kl_divergence(posterior, prior).sum())
    layer.kl(prior_std).backward()
    assert layer.mu.grad is not None
    assert layer.rho.grad is not None


def test_kl_of_the_prior_itself_is_zero() -> None:
    layer = BayesianLinear(5, 4, prior_rho=0.0)
    nn.init.zeros_(layer.mu)
    assert layer.kl(layer.deviation[0, 0].item()).item() == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("mixing", MIXINGS)
def test_released_mixing_knows_no_order_of_segments(mixing: str) -> None:
    block = MixerBlock(8, 6, mixing=mixing).eval()
    inputs, order = inputs_of(3, 6, 8), torch.tensor([5, 2, 0, 1, 4, 3])
    equivariant = torch.allclose(block(inputs[:, order]), block(inputs)[:, order], atol=1e-6)
    assert equivariant == (mixing == "released")


@pytest.mark.parametrize("mixing", MIXINGS)
def test_only_across_mixes_segments(mixing: str) -> None:
    block = MixerBlock(8, 6, mixing=mixing).eval()
    inputs = inputs_of(1, 6, 8).requires_grad_()
    # A first channel alone: what it takes from other segments' other channels is nothing.
    (gradient,) = torch.autograd.grad(block(inputs)[0, 0].sum(), inputs)
    assert bool(gradient[0, 1:].abs().sum() > 0) == (mixing == "across")


@pytest.mark.parametrize("mixing", MIXINGS)
def test_block_is_its_formula(mixing: str) -> None:
    block = MixerBlock(8, 6, mixing=mixing, dropout=0.5).eval()
    inputs = inputs_of(2, 6, 8)

    def perceptron(layers: nn.Module, values: Tensor) -> Tensor:
        first, second = (layer for layer in layers.modules() if isinstance(layer, nn.Linear))
        found: Tensor = second(functional.gelu(first(values)))
        return found

    normed = functional.layer_norm(inputs, (8,))
    if mixing == "across":
        mixed = torch.stack([perceptron(block.first, normed[..., c]) for c in range(8)], -1)
    else:
        mixed = perceptron(block.first, normed)
    half = inputs + mixed
    expected = half + perceptron(block.second, functional.layer_norm(half, (8,)))
    torch.testing.assert_close(block(inputs), expected)


def test_ratios_are_the_hidden_sizes() -> None:
    sizes = {
        mixing: [
            part.out_features
            for part in MixerBlock(8, 6, mixing=mixing).modules()
            if isinstance(part, nn.Linear)
        ]
        for mixing in MIXINGS
    }
    assert sizes == {"released": [32, 8, 4, 8], "across": [24, 6, 4, 8]}


@pytest.mark.parametrize("mixing", MIXINGS)
@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("bayesian", [True, False])
def test_every_form_runs_and_learns(mixing: str, body: str, head: str, bayesian: bool) -> None:
    model = MABN(7, mixing=mixing, body=body, head=head, bayesian=bayesian, outputs=3, **SMALL)
    outputs = model(inputs_of(5, 7))
    assert outputs.shape == (5, 3)
    (outputs.square().sum() + model.kl()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
    layers = [part for part in model.modules() if isinstance(part, BayesianLinear)]
    assert len(layers) == (2 if bayesian else 0)
    assert bool(model.kl() > 0) == bayesian


@pytest.mark.parametrize("shape", [(7,), (0, 7), (1, 7), (2, 3, 7)])
def test_shapes(shape: tuple[int, ...]) -> None:
    assert MABN(7, **SMALL)(torch.zeros(shape)).shape == (*shape[:-1], 1)


def test_published_sizes() -> None:
    model = MABN(294)
    assert model.project.weight.shape == (256, 294)
    assert [
        tuple(part.mu.shape) for part in model.modules() if isinstance(part, BayesianLinear)
    ] == [(512, 16), (1, 512)]
    assert sum(isinstance(part, MixerBlock) for part in model.modules()) == 4


def test_model_is_its_formula() -> None:
    model = MABN(7, **SMALL).eval()
    inputs = inputs_of(2, 7)
    segments = model.project(inputs).reshape(2, 4, 6)
    mixed = model.body(segments @ model.embed.mu.T)
    expected = functional.layer_norm(mixed, (8,)).mean(1) @ model.head.mu.T
    torch.testing.assert_close(model(inputs), expected)


def test_released_model_knows_no_order_of_segments() -> None:
    """Only the projection tells segments apart: swapping two of its blocks changes nothing."""
    for mixing in MIXINGS:
        model = MABN(7, mixing=mixing, **SMALL).eval()
        swapped = copy.deepcopy(model)
        order = torch.cat([torch.arange(6, 12), torch.arange(6), torch.arange(12, 24)])
        with torch.no_grad():
            swapped.project.weight.copy_(model.project.weight[order])
            swapped.project.bias.copy_(model.project.bias[order])
        same = torch.allclose(model(inputs_of(5, 7)), swapped(inputs_of(5, 7)), atol=1e-6)
        assert same == (mixing == "released")


@pytest.mark.parametrize("evaluation", ["mean", "sample"])
def test_evaluation_of_the_whole_model(evaluation: str) -> None:
    for head in HEADS:
        model = MABN(7, evaluation=evaluation, head=head, **SMALL).eval()
        same = torch.equal(model(inputs_of(5, 7)), model(inputs_of(5, 7)))
        assert same == (evaluation == "mean")


def test_stand_alone_head_is_its_formula() -> None:
    head = StandAloneHead(8, 2).eval()
    linear, last = (part for part in head.modules() if isinstance(part, nn.Linear))
    bayesian = next(part for part in head.modules() if isinstance(part, BayesianLinear))
    assert bayesian.mu.shape == (8, 8)
    assert linear.weight.shape == (4, 8)
    inputs = inputs_of(3, 8)
    torch.testing.assert_close(head(inputs), last(linear(inputs @ bayesian.mu.T)))
    assert StandAloneHead(1)(torch.zeros(2, 1)).shape == (2, 1)


def test_kl_sums_over_layers() -> None:
    model = MABN(7, head="stand_alone", **SMALL)
    layers = [part for part in model.modules() if isinstance(part, BayesianLinear)]
    expected = sum(layer.kl(0.5).item() for layer in layers)
    assert model.kl(0.5).item() == pytest.approx(expected, rel=1e-6)


def test_monte_carlo_is_mean_and_deviation_of_samples() -> None:
    model = MABN(7, evaluation="sample", prior_rho=-2.0, **SMALL).eval()
    inputs = inputs_of(5, 7)
    mean, deviation = monte_carlo(model, inputs, draws=6, seed=4)
    torch.manual_seed(4)
    samples = torch.stack([model(inputs) for _ in range(6)])
    torch.testing.assert_close(mean, samples.mean(0))
    torch.testing.assert_close(deviation, samples.std(0))
    assert not mean.requires_grad


def test_monte_carlo_deviation_is_that_of_the_weights() -> None:
    layer = BayesianLinear(3, 1, prior_rho=0.0)
    inputs = torch.tensor([[1.0, 2.0, 2.0]])
    mean, deviation = monte_carlo(layer, inputs, draws=4000, seed=0)
    sigma = layer.deviation[0, 0].item()
    assert deviation.item() == pytest.approx(3 * sigma, rel=0.05)  # |inputs| = 3
    assert mean.item() == pytest.approx(float((inputs @ layer.mu.T).detach()), abs=0.2)


def test_monte_carlo_deviation_grows_with_rho() -> None:
    deviations = []
    for rho in (-9.0, -5.0, -3.0, -1.0):
        torch.manual_seed(0)
        model = MABN(7, prior_rho=rho, **SMALL)
        deviations.append(monte_carlo(model, inputs_of(5, 7), 20, seed=0)[1].mean().item())
    assert deviations == sorted(deviations)
    assert deviations[0] > 0


def test_monte_carlo_is_zero_without_bayesian_layers() -> None:
    model = MABN(7, bayesian=False, dropout=0.5, **SMALL)
    assert (monte_carlo(model, inputs_of(5, 7), 3, seed=0)[1] == 0).all()


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("evaluation", ["mean", "sample"])
def test_monte_carlo_leaves_no_trace(training: bool, evaluation: str) -> None:
    model = MABN(7, evaluation=evaluation, **SMALL).train(training)
    model.norm.train(not training)
    before = copy.deepcopy(model)
    state = torch.get_rng_state()
    first = monte_carlo(model, inputs_of(5, 7), 4, seed=1)
    assert torch.equal(state, torch.get_rng_state())
    with pytest.raises(InputError):
        monte_carlo(model, torch.zeros(5, 6), 4, seed=1)
    assert torch.equal(state, torch.get_rng_state())
    for part, original in zip(model.modules(), before.modules(), strict=True):
        assert part.training == original.training
        assert getattr(part, "evaluation", None) == getattr(original, "evaluation", None)
    assert repr(model.state_dict()) == repr(before.state_dict())
    second = monte_carlo(model, inputs_of(5, 7), 4, seed=1)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    other = monte_carlo(model, inputs_of(5, 7), 4, seed=2)
    assert not torch.equal(first[0], other[0])


def test_state_can_be_saved_and_loaded() -> None:
    model, other = MABN(7, **SMALL).eval(), MABN(7, **SMALL).eval()
    other.load_state_dict(model.state_dict())
    assert torch.equal(model(inputs_of(2, 7)), other(inputs_of(2, 7)))


def test_learns_a_toy() -> None:
    inputs = inputs_of(64, 7)
    truth = inputs[:, :2].sum(1)
    model = MABN(7, dropout=0.0, **SMALL)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(100):
        optimiser.zero_grad()
        (model(inputs).squeeze(1) - truth).square().mean().backward()
        optimiser.step()
    error = (model.eval()(inputs).squeeze(1) - truth).square().mean()
    assert error < 0.1 * truth.var()


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: MABN(7, length=24, segment=5), "segment: got 5, expected a divisor of length=24"),
        (lambda: MABN(0), "inputs: got 0"),
        (lambda: MABN(7, segment=0), "segment: got 0"),
        (lambda: MABN(7, width=2.5), "width: got 2.5"),
        (lambda: MABN(7, outputs=0), "outputs: got 0"),
        (lambda: MABN(7, depth=-1), "depth: got -1, expected a whole number of at least 0"),
        (lambda: MABN(7, mixing="true"), "mixing: got 'true', expected one of: released, across"),
        (lambda: MABN(7, body="gnn"), "body: got 'gnn', expected one of: mixer, mlp"),
        (lambda: MABN(7, head="two"), "head: got 'two', expected one of: linear, stand_alone"),
        (lambda: MABN(7, bayesian=False, evaluation="no"), "evaluation: got 'no'"),
        (lambda: BayesianLinear(0, 1), "in_features: got 0"),
        (lambda: BayesianLinear(1, 1).kl(0.0), "prior_std: got 0.0"),
        (lambda: MixerBlock(4, 0), "segments: got 0"),
        (lambda: StandAloneHead(0), "width: got 0"),
        (lambda: MABN(7, **SMALL)(torch.zeros(5, 6)), r"inputs: got shape \(5, 6\), expected"),
        (lambda: MABN(7, **SMALL)(torch.tensor(1.0)), r"inputs: got shape \(\)"),
        (lambda: monte_carlo(MABN(7, **SMALL), torch.zeros(1, 7), 1, 0), "draws: got 1"),
    ],
)
def test_wrong_arguments_are_named(call: Callable[[], object], says: str) -> None:
    with pytest.raises(InputError, match=says):
        call()
