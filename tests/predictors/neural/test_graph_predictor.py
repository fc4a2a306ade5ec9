"""Graph predictors: what they read, what they keep, and the baseline's settings."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.base import clone

from archrank.errors import InputError
from archrank.predictors import KGNN, GraphPredictor, Pretraining, samples, with_context
from archrank.predictors.checks import small_graphs
from archrank.predictors.neural.encoders import encoders
from archrank.predictors.neural.regressor import Regressor

SMALL = {"width": 16, "layers": 2}
GRAPHS = small_graphs()
LABELS = np.array([float(np.log(graph.params)) for graph in GRAPHS])


def small(**options: object) -> GraphPredictor:
    return GraphPredictor(
        **{"options": SMALL, "head": (16,), "epochs": 3, "loss": "mse", **options}
    )


@pytest.mark.parametrize("name", encoders())
def test_every_encoder_serves(name: str, tmp_path: Path) -> None:
    options = {"width": 16} if name in ("kgnn", "flow") else {"width": 16, "heads": 2}
    options = SMALL if name == "gin" else options
    fitted = small(encoder=name, options=options, epochs=1).fit(GRAPHS, LABELS)
    fitted.save(tmp_path / "model")
    loaded = GraphPredictor.load(tmp_path / "model")
    assert np.array_equal(loaded.predict(GRAPHS), fitted.predict(GRAPHS))


@pytest.mark.parametrize("loss", ["mse", "huber", "diff_kendall", "pairwise_logistic"])
def test_it_learns_size_on_the_scale_of_labels(loss: str) -> None:
    fitted = small(loss=loss, epochs=60, learning_rate=1e-2).fit(GRAPHS, LABELS)
    predicted = fitted.predict(GRAPHS)
    assert fitted.score(GRAPHS, LABELS) > 0.8
    assert abs(predicted.mean() - LABELS.mean()) < 0.3
    assert 0.5 < predicted.std() / LABELS.std() < 1.5


def test_ranking_losses_see_the_order_of_labels_alone() -> None:
    fitted = [small(loss="diff_kendall").fit(GRAPHS, y) for y in (LABELS, np.exp(3 * LABELS))]
    one, other = (f.predict(GRAPHS) for f in fitted)
    assert np.allclose((one - one.mean()) / one.std(), (other - other.mean()) / other.std())
    seen = small(loss="diff_kendall", normal_scores=False).fit(GRAPHS, np.exp(3 * LABELS))
    assert not np.allclose(seen.weights_[0]["head.0.bias"], fitted[0].weights_[0]["head.0.bias"])


@pytest.mark.parametrize("kind", [GraphPredictor, KGNN])
def test_ranking_losses_mix_sizes(kind: type[GraphPredictor]) -> None:
    plan = kind(loss="list_mle")._plan(0)
    assert (plan.batching, plan.selection, plan.spread) == ("similar", "kendall", np.inf)
    asked = kind(loss="list_mle", training={"spread": 0.5})._plan(0)
    assert asked.spread == 0.5
    assert kind(loss="mse")._plan(0).spread == 0.5


def test_members_spread() -> None:
    fitted = small(members=3).fit(GRAPHS, LABELS)
    mean, std = fitted.predict(GRAPHS, return_std=True)
    alone = [small(random_state=seed).fit(GRAPHS, LABELS).predict(GRAPHS) for seed in range(3)]
    assert np.allclose(mean, np.mean(alone, axis=0))
    assert np.allclose(std, np.std(alone, axis=0))
    with pytest.raises(InputError, match="deviations"):
        small().fit(GRAPHS, LABELS).predict(GRAPHS, return_std=True)


def test_statistics_of_nodes_are_read() -> None:
    rng = np.random.default_rng(0)
    drawn = rng.permutation(len(GRAPHS)).astype(float)
    twins = [
        replace(one, node_scores={"drawn": np.where(np.arange(len(one.graph)) % 2, value, np.nan)})
        for one, value in zip(samples([GRAPHS[0]] * len(GRAPHS)), drawn, strict=True)
    ]
    fitted = small(epochs=80, learning_rate=1e-2).fit(twins, drawn)
    assert fitted.score(twins, drawn) > 0.8
    without = fitted.predict([GRAPHS[0]])
    assert np.isfinite(without).all()


def test_scale_of_statistics_does_not_matter() -> None:
    def read(scale: float) -> np.ndarray:
        given = [
            replace(one, node_scores={"size": scale * np.arange(1.0, len(one.graph) + 1.0)})
            for one in samples(GRAPHS)
        ]
        return small().fit(given, LABELS).predict(given)

    assert np.allclose(read(1e-6), read(1e6), rtol=1e-4)


def test_context_is_read() -> None:
    both = samples([*GRAPHS, *GRAPHS])
    given = with_context(both, np.repeat([[0.0, 3.0], [100.0, 3.0]], len(GRAPHS), axis=0))
    y = np.array([one.context[0] for one in given])
    fitted = small(epochs=60, learning_rate=1e-2).fit(given, y)
    assert np.allclose(fitted.predict(given), y, atol=20.0)
    with pytest.raises(InputError, match="context"):
        fitted.predict(GRAPHS)
    with pytest.raises(InputError, match="contexts of 0 and 2"):
        small().fit([*given[:4], *both[:4]], np.arange(8.0))


def test_without_folding_repeated_blocks_are_seen() -> None:
    folded, whole = (small(fold=fold).fit(GRAPHS, LABELS) for fold in (True, False))
    assert not np.allclose(folded.predict(GRAPHS), whole.predict(GRAPHS))


class TestAdapting:
    def test_it_goes_on_from_the_weights(self) -> None:
        fitted = small(epochs=5).fit(GRAPHS, LABELS)
        before = fitted.predict(GRAPHS)
        mirrored = 2 * LABELS.mean() - LABELS
        fitted.adapt(GRAPHS[:6], mirrored[:6], epochs=200, batch_size=6, learning_rate=1e-2)
        after = fitted.predict(GRAPHS)
        assert np.corrcoef(after[:6], mirrored[:6])[0, 1] > 0.8
        assert not np.allclose(before, after)
        assert fitted.label_mean_ == LABELS.mean()

    def test_a_ranking_loss_sees_more_than_one_label_at_a_time(self) -> None:
        fitted = small(epochs=5, loss="pairwise_logistic").fit(GRAPHS, LABELS)
        mirrored = 2 * LABELS.mean() - LABELS
        fitted.adapt(GRAPHS[:6], mirrored[:6], epochs=200, learning_rate=1e-2)
        assert fitted.score(GRAPHS[:6], mirrored[:6]) > 0.5

    def test_it_needs_weights(self) -> None:
        with pytest.raises(InputError, match="fit it first"):
            small().adapt(GRAPHS, LABELS)


class TestPretrained:
    PRETRAINED = Pretraining("gin", SMALL, projection=4, epochs=1).fit(GRAPHS)

    def test_its_weights_are_the_start(self) -> None:
        fitted = small(encoder="kgnn", pretrained=self.PRETRAINED, epochs=0).fit(GRAPHS, LABELS)
        weights = self.PRETRAINED.weights_
        assert fitted.encoder_ == "gin"
        for name, value in weights.items():
            assert np.array_equal(fitted.weights_[0][f"encoder.{name}"], value)

    def test_by_path_and_saved_whole(self, tmp_path: Path) -> None:
        self.PRETRAINED.save(tmp_path / "encoder")
        by_path = small(pretrained=str(tmp_path / "encoder")).fit(GRAPHS, LABELS)
        by_value = small(pretrained=self.PRETRAINED).fit(GRAPHS, LABELS)
        assert np.array_equal(by_path.predict(GRAPHS), by_value.predict(GRAPHS))
        for number, fitted in enumerate((by_path, by_value)):
            fitted.save(tmp_path / f"{number}")
        (tmp_path / "encoder").rename(tmp_path / "elsewhere")
        for number in range(2):
            loaded = GraphPredictor.load(tmp_path / f"{number}")
            assert np.array_equal(loaded.predict(GRAPHS), by_value.predict(GRAPHS))

    def test_statistics_and_context_may_join(self) -> None:
        given = with_context(
            [replace(s, node_scores={"one": np.ones(len(s.graph))}) for s in samples(GRAPHS)],
            np.arange(16.0)[:, None],
        )
        fitted = small(pretrained=self.PRETRAINED, epochs=1).fit(given, LABELS)
        assert np.isfinite(fitted.predict(given)).all()

    def test_clones_share_it(self) -> None:
        assert clone(small(pretrained=self.PRETRAINED)).pretrained is self.PRETRAINED


class TestCheckpoints:
    def test_finished_members_are_not_trained_again(self, tmp_path: Path) -> None:
        seen: list[object] = []
        first = small(members=2).fit(GRAPHS, LABELS, tmp_path, seen.append)
        assert len(seen) == 6
        second = small(members=2).fit(GRAPHS, LABELS, tmp_path, seen.append)
        assert len(seen) == 6
        assert np.array_equal(first.predict(GRAPHS), second.predict(GRAPHS))


class TestKGNN:
    def test_it_has_the_released_number_of_weights(self) -> None:
        fitted = KGNN(epochs=0).fit(GRAPHS, LABELS)
        assert sum(array.size for array in fitted.weights_[0].values()) == 18014 + 33

    def test_its_training_is_the_released(self) -> None:
        plan = KGNN()._plan(0)
        assert (plan.epochs, plan.batch_size, plan.learning_rate) == (40, 32, 1e-4)
        assert (plan.optimiser, plan.weight_decay, plan.schedule) == ("adam", 0.0, "constant")
        assert (plan.clip, plan.batching, plan.selection) == (5.0, "equal", "mape")

    def test_it_sees_the_labels_as_given(self) -> None:
        """Untrained, its output is that of the module, not of a standardised label."""
        fitted = KGNN(epochs=0).fit(GRAPHS, LABELS + 100.0)
        assert np.abs(fitted.predict(GRAPHS)).max() < 2.0
        standardised = KGNN(epochs=0, standardise=True).fit(GRAPHS, LABELS + 100.0)
        assert np.abs(standardised.predict(GRAPHS)).min() > 90.0


def test_predicting_leaves_the_caller_s_random_state(tmp_path: Path) -> None:
    small().fit(GRAPHS, LABELS).save(tmp_path / "model")
    before = torch.get_rng_state()
    GraphPredictor.load(tmp_path / "model").predict(GRAPHS)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"members": 0}, "members"),
        ({"training": {"momentum": 0.9}}, "momentum"),
        ({"encoder": "mamba"}, "encoder"),
        ({"loss": "l1"}, "loss"),
        ({"epochs": -1}, "epochs"),
        ({"options": {"depth": 3}}, "depth"),
    ],
)
def test_wrong_arguments_are_told(wrong: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=said):
        small(**wrong).fit(GRAPHS, LABELS)


def test_weights_of_another_module_are_told(tmp_path: Path) -> None:
    from archrank.predictors.neural.encoders import encoder
    from archrank.predictors.neural.learning.weights import arrays_of, load_arrays

    first, second = (Regressor(encoder("gin", width=w, layers=1)) for w in (8, 16))
    with pytest.raises(InputError, match="do not fit"):
        load_arrays(second, arrays_of(first))
