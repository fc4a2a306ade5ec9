"""What recorders make of hand-made tensors, and what cannot matter to it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import archrank
from archrank.errors import ScoreError
from archrank.proxies.activations.features import in_train, meco, near
from archrank.proxies.recording.recorders.features import (
    FeatureReader,
    first_standardised,
    moments,
)
from archrank.proxies.recording.recorders.rectifiers import CodeKernel, PatternCount
from archrank.proxies.recording.samples.survey import Layouts
from archrank.proxies.recording.signals import ActivationPatterns, LayerFeatures
from archrank.proxies.spectra import correlation


def counted(*sources: Tensor) -> ActivationPatterns:
    recorder = PatternCount(Layouts().counted(len(sources[0])))
    with recorder:
        for source in sources:
            F.relu(source)
    return recorder.result()


def distinct(*sources: Tensor) -> int:
    """Return the same by sets of tuples."""
    return len({tuple(unit) for s in sources for unit in (s.flatten(1) > 0).T.tolist()})


@given(st.integers(1, 200), st.integers(1, 60), st.integers(1, 60), st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_patterns_are_counted_exactly(samples: int, a: int, b: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    # few different columns, so that most units share their pattern with others
    pool = torch.randn(samples, 7, generator=generator)
    first, second = (pool[:, torch.randint(7, (n,), generator=generator)] for n in (a, b))
    found = counted(first, second)
    assert found.total == distinct(first, second)
    assert found.by_rectifier == (distinct(first), distinct(second))
    assert max(found.by_rectifier) <= found.total <= sum(found.by_rectifier)


@given(st.integers(2, 130), st.integers(1, 50), st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_patterns_know_no_order(samples: int, units: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    source = torch.randn(samples, units, generator=generator)
    rows = torch.randperm(samples, generator=generator)
    columns = torch.randperm(units, generator=generator)
    for changed in (source[rows], source[:, columns], 3 * source, torch.cat([source, source], 1)):
        assert counted(changed).total == counted(source).total


@pytest.mark.parametrize("samples", [64, 65, 128, 129])
def test_the_last_sample_counts(samples: int) -> None:
    """The highest bit of a word is its sign, and the next sample's is in another word."""
    source = torch.ones(samples, 2)
    source[-1, 0] = -1
    assert counted(source).total == 2


@pytest.mark.parametrize(
    "recorder",
    [PatternCount(Layouts().counted(3)), CodeKernel(Layouts().counted(3))],
    ids=["patterns", "codes"],
)
def test_rectifiers_of_other_shapes_are_left_out(recorder) -> None:
    with recorder:
        F.relu(torch.randn(4, 5))  # no row per sample
        F.relu(torch.randn(3))
    with pytest.raises(ScoreError, match="no rectifier"):
        recorder.result()


def looked_at(forward, *leaves: Tensor, samples: int, read=moments) -> list:
    named = {f"w{i}": leaf for i, leaf in enumerate(leaves)}
    recorder = FeatureReader(named, Layouts(), samples, read)
    with recorder:
        forward()
    return recorder.result()


def test_moments_with_numpy() -> None:
    weight = torch.randn(5, 3, 3, 3, dtype=torch.float64)
    images = torch.randn(4, 3, 6, 6, dtype=torch.float64)
    output = F.conv2d(images, weight)

    def run() -> None:
        F.relu(F.conv2d(images, weight))

    features = looked_at(run, weight, samples=4)
    first_features = looked_at(run, weight, samples=4, read=first_standardised)
    expected = ((output, "w0"), (output.relu(), None))
    for found, columns, (tensor, name) in zip(features, first_features, expected, strict=True):
        rows = tensor.movedim(1, -1).reshape(-1, 5).numpy()
        assert found.parameter == name
        np.testing.assert_allclose(found.moment, rows.T @ rows / len(rows))
        np.testing.assert_allclose(found.covariance, np.cov(rows.T, bias=True))
        first = tensor[0].reshape(5, -1).numpy()
        np.testing.assert_allclose(columns.T @ columns, np.corrcoef(first))


def test_features_of_one_position_are_left_out() -> None:
    weight, rows = torch.randn(5, 3), torch.randn(4, 3)

    def run() -> None:
        F.linear(rows, weight)

    assert looked_at(run, weight, samples=4, read=first_standardised) == []
    assert len(looked_at(run, weight, samples=4)) == 1


def test_rectified_images_with_channels_last() -> None:
    weight, images = torch.randn(5, 3), torch.randn(4, 6, 6, 3)
    layer, rectifier = looked_at(lambda: F.gelu(F.linear(images, weight)), weight, samples=4)
    assert len(layer.moment) == len(rectifier.moment) == 5
    # a later image of convolutions is not taken for one of them
    kernel = torch.randn(7, 3, 1, 1)

    def both() -> None:
        F.linear(images, weight)
        F.relu(F.conv2d(images.movedim(-1, 1), kernel))

    assert [len(f.moment) for f in looked_at(both, weight, kernel, samples=4)] == [5, 7, 7]


@given(st.integers(2, 12), st.integers(2, 12), st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_moments_of_few_rows_are_held_small(rows: int, channels: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(rows, channels, generator=generator, dtype=torch.float64)
    found = moments("w", values[None])
    whole = values.numpy().T @ values.numpy() / rows, np.cov(values.numpy().T, bias=True)
    for ours, expected in zip((found.moment, found.covariance), whole, strict=True):
        assert len(ours) == min(rows, channels)
        v = np.linalg.eigvalsh(expected)[-len(ours) :]
        np.testing.assert_allclose(np.linalg.eigvalsh(ours.numpy()), v, atol=1e-12)


def test_small_variances_beside_large_means() -> None:
    """In single precision, the mean square less the squared mean would be rounding alone."""
    rows = torch.randn(2000, 4, generator=torch.Generator().manual_seed(0)) * 0.01 + 100
    found = moments("w", rows)
    expected = np.cov(rows.double().numpy().T, bias=True)
    np.testing.assert_allclose(found.covariance, expected, rtol=1e-2, atol=1e-7)


def test_constant_channels_correlate_with_nothing() -> None:
    rows = torch.randn(50, 3)
    rows[:, 1] = 0.1  # whose mean over 50 rows is not exactly 0.1
    found = correlation(rows)
    assert not found[1].any()
    assert not found[:, 1].any()
    assert found[0, 0] == pytest.approx(1)
    rows[0, 2] = float("nan")
    assert bool(correlation(rows)[2].isnan().any())


def features_of(rows: Tensor, name: str | None = "w") -> list[LayerFeatures]:
    return [moments(name, rows[None])]


def first_of(rows: Tensor) -> list[Tensor]:
    found = first_standardised("w", rows[None])
    return [] if found is None else [found]


@given(st.integers(1, 9), st.integers(1, 30), st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_near_is_between_one_and_the_channels(channels: int, rows: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(rows, channels, generator=generator, dtype=torch.float64)
    rank = near(features_of(values)).total
    assert 1 - 1e-9 <= rank <= min(channels, rows) + 1e-4
    assert near(features_of(3 * values)).total == pytest.approx(rank)
    order = torch.randperm(channels, generator=generator)
    assert near(features_of(values[:, order])).total == pytest.approx(rank, rel=1e-6)


def test_near_of_known_ranks() -> None:
    assert near(features_of(torch.eye(6, dtype=torch.float64))).total == pytest.approx(6)
    assert near(features_of(torch.ones(9, 4, dtype=torch.float64))).total == pytest.approx(1)
    several = features_of(torch.eye(6).double()) + features_of(torch.eye(2).double(), None)
    found = near(several)
    assert found.total == pytest.approx(8)
    assert found.by_parameter == {"w": pytest.approx(6)}


@given(st.integers(2, 6), st.floats(0.1, 10), st.integers(0, 99))
@settings(max_examples=20, deadline=None)
def test_meco_knows_neither_scale_nor_offset(channels: int, scale: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(40, channels, generator=generator, dtype=torch.float64)
    smallest = meco(first_of(values)).total
    assert 0 <= smallest <= 1
    assert meco(first_of(scale * values + 2)).total == pytest.approx(smallest, abs=1e-9)


@pytest.mark.parametrize(
    "proxy", [lambda rows: near(features_of(rows)), lambda rows: meco(first_of(rows))]
)
def test_features_that_are_not_finite_are_named(proxy) -> None:
    rows = torch.randn(8, 3)
    rows[0, 0] = float("inf")
    with pytest.raises(ScoreError, match="a layer's features are not finite") as raised:
        proxy(rows)
    assert raised.value.status == "non-finite"


def test_in_train_of_constant_features() -> None:
    rows = torch.full((50, 3), 0.1)
    gradients = {"w": torch.tensor([[1.0, 2.0, 3.0]])}
    assert in_train(features_of(rows), gradients).total == 0
    with pytest.raises(ScoreError, match="gradients are not finite"):
        in_train(features_of(rows), {"w": torch.full((1, 3), float("nan"))})


class Returns(nn.Module):
    """Features beside the logits, as NAS-Bench-201 networks return them."""

    def __init__(self, kind: str):
        super().__init__()
        torch.manual_seed(0)
        self.body, self.head = nn.Conv2d(3, 6, 3, padding=1), nn.Linear(6, 4)
        self.second, self.kind = nn.Conv2d(6, 6, 3, padding=1), kind

    def forward(self, x: Tensor):
        features = F.relu(self.second(F.relu(self.body(x)))).mean((2, 3))
        logits = self.head(features)
        if self.kind == "tuple":
            return features, logits
        return {"logits": logits, "features": features} if self.kind == "dict" else logits


@pytest.mark.parametrize("kind", ["tuple", "dict"])
def test_other_outputs_beside_the_logits_change_nothing(kind: str) -> None:
    images, labels = torch.randn(6, 3, 6, 6), torch.arange(6) % 4
    batches = [(images, labels), (images.flip(0), labels)]
    expected = archrank.score(Returns("logits"), batches)
    scores = archrank.score(Returns(kind), batches)
    of_the_graph = {"nasgraph", "nasgraph_density"}  # there is one output more
    for name in set(expected) - of_the_graph:
        assert scores[name].status == expected[name].status, name
        if scores[name].value is not None:
            assert scores[name].value == pytest.approx(expected[name].value, rel=1e-6), name
