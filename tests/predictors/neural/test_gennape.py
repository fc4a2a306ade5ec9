"""GENNAPE: the label transform, its heads against loops, its members and their weights."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import kendalltau
from sklearn.base import clone
from torch.nn import functional

from archrank.errors import InputError
from archrank.metrics import kendall
from archrank.predictors import (
    GENNAPE,
    KGNN,
    FuzzyCMeans,
    HeadSettings,
    Pretraining,
    check_predictor,
)
from archrank.predictors.checks import small_graphs
from archrank.predictors.neural.gennape import MEMBERS, FuzzyHeads, FuzzyPairHeads, LabelTransform
from archrank.predictors.neural.gennape.headed import ScoringMember
from archrank.predictors.neural.losses import Scheduled

GRAPHS = small_graphs()
LABELS = np.array([float(np.log(graph.params)) for graph in GRAPHS])
QUICK = Pretraining("gin", {"width": 16, "layers": 2}, projection=8, epochs=3)
PRETRAINED = QUICK.fit(GRAPHS)
HEADS = HeadSettings(hidden=8, references=8, learning_rate=1e-2)


def quick(**options: object) -> GENNAPE:
    given: dict[str, object] = {
        "epochs": 20,
        "clusters": 2,
        "pretrained": QUICK,
        "heads": HEADS,
        "kgnn": KGNN(epochs=2),
    }
    return GENNAPE(**{**given, **options})


class TestLabelTransform:
    FLOPS = np.array([0.0, 1e6, 3e9, 5e11])
    RAW = np.array([0.7, 0.8, 0.93, 0.91])

    @pytest.mark.parametrize("by_flops", [True, False])
    def test_the_inverse_is_exact(self, by_flops: bool) -> None:
        transform = LabelTransform.of(self.RAW, self.FLOPS, by_flops)
        back = transform.inverse(transform.forward(self.RAW, self.FLOPS), self.FLOPS)
        assert np.abs(back - self.RAW).max() < 1e-12

    def test_it_is_the_formula(self) -> None:
        plain = self.RAW / (np.log10(self.FLOPS / 1e9 + 1) + 1)
        expected = (plain - plain.mean()) / plain.std()
        got = LabelTransform.of(self.RAW, self.FLOPS).forward(self.RAW, self.FLOPS)
        assert np.allclose(got, expected)

    def test_its_scale_is_that_of_the_training_set(self) -> None:
        source = LabelTransform.of(self.RAW, self.FLOPS)
        fitted = quick(members=("single",), loss="mse", epochs=0).fit(GRAPHS, LABELS)
        before = fitted.target_mean_, fitted.target_std_
        fitted.adapt(GRAPHS[:4], LABELS[:4] + 50.0, epochs=0)
        assert (fitted.target_mean_, fitted.target_std_) == before
        assert source.forward(self.RAW[:2] + 9, self.FLOPS[:2]).mean() > 1


class TestHeads:
    def test_memberships_weigh_heads(self) -> None:
        torch.manual_seed(0)
        heads, vectors = FuzzyHeads(5, 3, 4), torch.randn(6, 5)
        memberships = torch.rand(6, 4)
        expected = []
        for h, own in zip(vectors, memberships, strict=True):
            total = torch.zeros(())
            for j in range(4):
                rows = slice(3 * j, 3 * j + 3)
                hidden = heads.hidden.weight[rows] @ h + heads.hidden.bias[rows]
                total = total + own[j] * (heads.out[j] @ functional.silu(hidden) + heads.bias[j])
            expected.append(total)
        assert torch.allclose(heads(vectors, memberships), torch.stack(expected), atol=1e-6)

    def test_a_head_s_gradient_is_scaled_by_membership(self) -> None:
        heads = FuzzyHeads(5, 3, 2)
        heads(torch.zeros(1, 5), torch.tensor([[0.25, 0.75]])).sum().backward()
        assert heads.bias.grad.tolist() == [0.25, 0.75]

    def test_pairs_against_a_loop(self) -> None:
        torch.manual_seed(0)
        heads = FuzzyPairHeads(5, 3, 2)
        a, b, of_a, of_b = torch.randn(4, 5), torch.randn(3, 5), torch.rand(4, 2), torch.rand(3, 2)

        def wins(x: torch.Tensor, y: torch.Tensor, j: int) -> torch.Tensor:
            hidden = (heads.left(x) + heads.right(y))[3 * j : 3 * j + 3]
            return heads.out[j] @ functional.silu(hidden)

        odds = heads(a, of_a, b, of_b)
        for i in range(4):
            for k in range(3):
                expected = sum(
                    (of_a[i, j] + of_b[k, j]) / 2 * (wins(a[i], b[k], j) - wins(b[k], a[i], j))
                    for j in range(2)
                )
                assert torch.allclose(odds[i, k], expected, atol=1e-6)
        assert torch.allclose(heads(b, of_b, a, of_a), -odds.T, atol=1e-6)


class TestMembers:
    @pytest.mark.slow
    @pytest.mark.parametrize("name", MEMBERS)
    def test_each_alone(self, name: str) -> None:
        epochs = 200 if "pairwise" in name else 600
        fitted = quick(members=(name,), pretrained=PRETRAINED, epochs=epochs).fit(GRAPHS, LABELS)
        predicted = fitted.predict(GRAPHS)
        assert abs(predicted.mean() - LABELS.mean()) < 0.2
        if name == "flops":
            assert fitted.score(GRAPHS, LABELS) == kendall([g.flops for g in GRAPHS], LABELS)
        elif name != "kgnn":  # which two epochs teach nothing
            assert fitted.score(GRAPHS, LABELS) > 0.75
        with pytest.raises(InputError, match="deviations"):
            fitted.predict(GRAPHS, return_std=True)

    @pytest.mark.parametrize("loss", ["mse", "huber", "pairwise_logistic", "list_mle"])
    def test_heads_learn_by_any_loss(self, loss: str) -> None:
        quickly = {"pretrained": PRETRAINED, "transform": None, "epochs": 300}
        fitted = quick(members=("single",), loss=loss, **quickly).fit(GRAPHS, LABELS)
        assert fitted.score(GRAPHS, LABELS) > 0.75

    def test_pairs_learn_by_any_loss(self) -> None:
        ordered = replace(HEADS, pair_loss="list_mle")
        taught = quick(members=("fuzzy pairwise",), heads=ordered, epochs=200)
        assert taught.fit(GRAPHS, LABELS).score(GRAPHS, LABELS) > 0.75

    def test_a_schedule_is_told_the_epoch(self) -> None:
        schedule = Scheduled([("mse", 2), ("pairwise_logistic", 2)])
        quick(members=("single",), loss=schedule, epochs=4).fit(GRAPHS, LABELS)
        assert schedule.epoch == 3

    def test_the_prediction_is_their_mean(self) -> None:
        names = ("single", "fuzzy pairwise", "flops")
        fitted = quick(members=names).fit(GRAPHS, LABELS)
        alone = [quick(members=(name,)).fit(GRAPHS, LABELS).predict(GRAPHS) for name in names]
        standardised = np.array([(p - p.mean()) / p.std() for p in alone])
        said = fitted.explain(GRAPHS)
        assert list(said) == list(names)
        assert np.array_equal(said["flops"], np.log10([1.0 + graph.flops for graph in GRAPHS]))
        mean, std = fitted.predict(GRAPHS, return_std=True)
        assert fitted.weights_ == dict.fromkeys(names, 1 / 3)
        assert np.corrcoef(mean, standardised.mean(axis=0))[0, 1] > 1 - 1e-6
        assert np.corrcoef(std, standardised.std(axis=0))[0, 1] > 1 - 1e-6

    def test_one_cluster_is_the_single_head(self) -> None:
        fitted = quick(members=("fuzzy", "single"), clusters=1).fit(GRAPHS, LABELS)
        shapes = [
            {key: array.shape for key, array in fitted.member_weights_[name].items()}
            for name in ("fuzzy", "single")
        ]
        assert shapes[0] == shapes[1]

    def test_without_transform_flops_are_not_in_the_prediction(self) -> None:
        fitted = quick(members=("single",), transform=None, loss="mse", epochs=0)
        fitted.fit(GRAPHS, LABELS)
        own = fitted._outputs(fitted._read(GRAPHS))["single"]
        inputs = fitted._inputs(fitted._read(GRAPHS))
        with torch.no_grad():
            heads = fitted._members()["single"].model.heads
            values = heads(inputs.vectors, torch.ones(16, 1)).numpy()
        assert np.allclose(own, values * LABELS.std() + LABELS.mean(), atol=1e-5)

    def test_the_encoder_stays_unless_asked(self, tmp_path: Path) -> None:
        frozen = quick(members=("single",), pretrained=PRETRAINED).fit(GRAPHS, LABELS)
        assert not any(name.startswith("encoder") for name in frozen.member_weights_["single"])
        tuned = quick(members=("single",), pretrained=PRETRAINED, finetune_encoder=True, epochs=3)
        tuned.fit(GRAPHS, LABELS)
        differ = [
            not np.array_equal(value, tuned.member_weights_["single"][f"encoder.{name}"])
            for name, value in PRETRAINED.weights_.items()
        ]
        assert any(differ)
        tuned.save(tmp_path / "tuned")
        loaded = GENNAPE.load(tmp_path / "tuned")
        assert np.array_equal(loaded.predict(GRAPHS), tuned.predict(GRAPHS))

    def test_without_pretraining_the_encoder_learns_from_labels(self) -> None:
        never = clone(QUICK).set_params(epochs=0)
        fitted = quick(members=("single",), pretrained=never, finetune_encoder=True, epochs=2)
        fitted.fit(GRAPHS, LABELS)
        assert fitted.encoder_.history_ == []
        assert any(name.startswith("encoder") for name in fitted.member_weights_["single"])


BOTH = ("fuzzy", "single pairwise")


@pytest.mark.parametrize(
    "options",
    [
        {"combination": "ranked", "members": ("single", "single pairwise", "flops")},
        {"finetune_encoder": True, "members": ("fuzzy", "fuzzy pairwise")},
        {"members": ("flops",)},
        {"heads": HeadSettings(4, sizes=True), "finetune_encoder": True, "members": BOTH},
    ],
)
def test_the_contract_holds_in_other_forms(options: dict[str, object]) -> None:
    given = {"pretrained": PRETRAINED, "epochs": 1, "heads": HeadSettings(4), **options}
    check_predictor(quick(**given))


class TestFamilies:
    SHIFTED = LABELS[:8] * 1000.0 - 7.0

    def fitted(self, **options: object) -> GENNAPE:
        families = {"a": (GRAPHS[:8], self.SHIFTED), "b": (GRAPHS[8:], LABELS[8:])}
        return quick(members=("single", "flops"), **options).fit_families(families)

    def test_units_of_labels_do_not_matter(self) -> None:
        families = {"a": (GRAPHS[:8], LABELS[:8]), "b": (GRAPHS[8:], LABELS[8:])}
        other = quick(members=("single", "flops")).fit_families(families)
        assert np.array_equal(self.fitted().predict(GRAPHS), other.predict(GRAPHS))

    def test_members_are_measured_within_families(self) -> None:
        fitted = self.fitted()
        flops = np.log10(1.0 + np.array([graph.flops for graph in GRAPHS], dtype=float))
        within = np.sqrt((flops[:8].var() + flops[8:].var()) / 2)
        assert fitted.ordered_["flops"].std() == pytest.approx(within)
        assert fitted.weights_ == {"single": 0.5, "flops": 0.5}

    def test_heads_read_sizes_as_they_vary_within_families(self) -> None:
        fitted = self.fitted(heads=HeadSettings(sizes=True), pretrained=PRETRAINED, epochs=0)
        read = fitted._inputs(fitted._read(GRAPHS)).vectors.numpy()
        assert read.shape == (16, 16 + 4)
        params = np.log2(1.0 + np.array([graph.params for graph in GRAPHS], dtype=float))
        within = np.sqrt((params[:8].var() + params[8:].var()) / 2)
        assert np.allclose(read[:, 16], (params - params.mean()) / within, atol=1e-4)

    def test_no_batch_holds_two_families(self, monkeypatch: pytest.MonkeyPatch) -> None:
        seen: list[torch.Tensor] = []
        scored = ScoringMember.loss_of

        def watched(self: ScoringMember, vectors: torch.Tensor, *rest: torch.Tensor):
            seen.append(vectors)
            return scored(self, vectors, *rest)

        monkeypatch.setattr(ScoringMember, "loss_of", watched)
        fitted = self.fitted(epochs=2)
        read = fitted._inputs(fitted._read(GRAPHS)).vectors
        first, second = ({tuple(row.tolist()) for row in part} for part in read.split(8))
        assert not first & second
        batches = [{tuple(row.tolist()) for row in batch} for batch in seen]
        assert all(batch <= first or batch <= second for batch in batches)
        assert len(batches) == 4

    def test_adapting_and_files(self, tmp_path: Path) -> None:
        fitted = self.fitted().adapt(GRAPHS[:6], 80.0 + LABELS[:6], epochs=5)
        assert fitted.predict(GRAPHS[:6]).mean() == pytest.approx(80.0 + LABELS[:6].mean())
        fitted.save(tmp_path / "model")
        loaded = GENNAPE.load(tmp_path / "model")
        assert loaded.families_ == ["a", "b"]
        assert np.array_equal(loaded.predict(GRAPHS), fitted.predict(GRAPHS))

    @pytest.mark.parametrize(
        ("families", "options", "said"),
        [
            ({}, {}, "families: got none"),
            ({"a": (GRAPHS[:3], [1.0, 1.0, 1.0])}, {}, "'a' are equal"),
            ({"a": (GRAPHS[:2], [1.0, 2.0])}, {"loss": "mse"}, "transform"),
        ],
    )
    def test_what_does_not_fit_is_told(
        self, families: dict[str, object], options: dict[str, object], said: str
    ) -> None:
        with pytest.raises(InputError, match=said):
            quick(**options).fit_families(families)


def flat(arguments: dict[str, object]) -> dict[str, object]:
    """Return the arguments of a file as files named them when each setting stood on its own."""
    settings = arguments.pop("heads")["arguments"]
    how = arguments.pop("pretrained")
    return {**arguments, **settings, "m": 2.0, "contrastive": True, "pretraining": how}


class TestOlderFiles:
    @pytest.fixture
    def fitted(self, tmp_path: Path) -> GENNAPE:
        made = quick(members=("single", "fuzzy pairwise"), loss="mse").fit(GRAPHS, LABELS)
        made.save(tmp_path / "model")
        return made

    def rewritten(self, path: Path, without: tuple[str, ...], **changes: object) -> GENNAPE:
        file = path / "model" / "predictor.json"
        facts = json.loads(file.read_text())
        predictor = facts["predictor"]
        predictor["arguments"] = {**flat(predictor["arguments"]), **changes}
        for group in ("arguments", "fitted"):
            predictor[group] = {k: v for k, v in predictor[group].items() if k not in without}
        file.write_text(json.dumps(facts))
        return GENNAPE.load(path / "model")

    def test_settings_on_their_own_are_gathered(self, fitted: GENNAPE, tmp_path: Path) -> None:
        read = self.rewritten(tmp_path, ())
        assert read.heads == HEADS
        assert read.pretrained.get_params() == QUICK.get_params()
        assert (read.clusters, read.finetune_encoder) == (2, False)
        assert np.array_equal(read.predict(GRAPHS), fitted.predict(GRAPHS))
        again = [
            one.adapt(GRAPHS[:8], LABELS[:8], epochs=2).predict(GRAPHS) for one in (read, fitted)
        ]
        assert np.array_equal(*again)

    def test_an_encoder_that_was_never_pretrained(self, fitted: GENNAPE, tmp_path: Path) -> None:
        read = self.rewritten(tmp_path, (), contrastive=False, m=1.5)
        assert (read.pretrained.epochs, read.finetune_encoder) == (0, True)
        assert (read.clusters.n_clusters, read.clusters.m) == (2, 1.5)

    def test_from_before_there_was_a_loss(self, fitted: GENNAPE, tmp_path: Path) -> None:
        read = self.rewritten(tmp_path, ("loss", "pair_loss", "loss_", "families_"))
        assert np.array_equal(read.predict(GRAPHS), fitted.predict(GRAPHS))


class TestAdapting:
    def test_weights_are_the_softmax_of_tau(self) -> None:
        fitted = quick(members=("single", "kgnn", "flops")).fit(GRAPHS, LABELS)
        rng = np.random.default_rng(0)
        few, labels = GRAPHS[4:12], rng.random(8)
        fitted.adapt(few, labels, epochs=1)
        outputs = fitted._outputs(fitted._read(few))
        taus = np.array([kendall(outputs[name], labels) for name in fitted.weights_])
        assert np.allclose(list(fitted.weights_.values()), np.exp(taus) / np.exp(taus).sum())

    def test_predictions_take_the_target_s_scale(self) -> None:
        fitted = quick(members=("single", "flops")).fit(GRAPHS, LABELS)
        fitted.adapt(GRAPHS[:8], 100 + 5 * LABELS[:8], epochs=5)
        predicted = fitted.predict(GRAPHS[:8])
        assert predicted.mean() == pytest.approx(100 + 5 * LABELS[:8].mean())

    def test_it_learns_the_target(self) -> None:
        members = ("single", "single pairwise")
        fitted = quick(members=members, pretrained=PRETRAINED, epochs=3).fit(GRAPHS, LABELS)
        mirrored = 2 * LABELS.mean() - LABELS
        assert fitted.score(GRAPHS[:8], mirrored[:8]) < 0.5
        fitted.adapt(GRAPHS[:8], mirrored[:8], epochs=100)
        assert fitted.score(GRAPHS[:8], mirrored[:8]) > 0.5

    def test_what_was_adapted_is_saved(self, tmp_path: Path) -> None:
        fitted = quick().fit(GRAPHS, LABELS).adapt(GRAPHS[:8], LABELS[7::-1], epochs=2)
        fitted.save(tmp_path / "model")
        loaded = GENNAPE.load(tmp_path / "model")
        assert np.array_equal(loaded.predict(GRAPHS), fitted.predict(GRAPHS))
        assert loaded.weights_ == fitted.weights_

    def test_folds_held_out_weigh_what_predicts_them(self) -> None:
        # FLOPs order labels made of them, which heads that learn for no epoch cannot.
        flops = [float(graph.flops) for graph in GRAPHS]
        fitted = quick(members=("single", "flops")).fit(GRAPHS, LABELS)
        fitted.adapt(GRAPHS, flops, epochs=0, folds=2)
        halves = np.array_split(np.random.default_rng(0).permutation(16), 2)
        said = {name: np.array(values) for name, values in fitted.explain(GRAPHS).items()}
        truth = np.array(flops)
        taus = [
            np.mean([kendalltau(said[name][half], truth[half]).statistic for half in halves])
            for name in fitted.weights_
        ]
        spread = (2 * 37 / (9 * 16 * 15)) ** 0.5
        wanted = np.exp(np.array(taus) / spread) / np.exp(np.array(taus) / spread).sum()
        assert list(fitted.weights_.values()) == pytest.approx(wanted)
        assert fitted.weights_["flops"] > 0.5

    @pytest.mark.parametrize("folds", [1, 9, -2])
    def test_folds_out_of_range_are_told(self, folds: int) -> None:
        fitted = quick(members=("flops",)).fit(GRAPHS, LABELS)
        with pytest.raises(InputError, match=f"folds: got {folds}, expected 0, or 2 to half of 16"):
            fitted.adapt(GRAPHS, LABELS, folds=folds)

    def test_what_it_needs_is_told(self) -> None:
        with pytest.raises(InputError, match="fit it first"):
            quick().adapt(GRAPHS, LABELS)
        fitted = quick(members=("flops",)).fit(GRAPHS, LABELS)
        with pytest.raises(InputError, match="equal labels"):
            fitted.adapt(GRAPHS, np.ones(16))


def test_killed_and_continued_is_uninterrupted(tmp_path: Path) -> None:
    expected = quick(epochs=2).fit(GRAPHS, LABELS).predict(GRAPHS)
    left = 9

    def stop(_: object) -> None:
        nonlocal left
        left -= 1
        if not left:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        quick(epochs=2).fit(GRAPHS, LABELS, tmp_path, stop)
    seen: list[object] = []
    continued = quick(epochs=2).fit(GRAPHS, LABELS, tmp_path, seen.append)
    assert np.array_equal(continued.predict(GRAPHS), expected)
    assert len(seen) < 3 + 4 * 2 + 2  # what was finished is not repeated


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"members": ()}, "members"),
        ({"members": ("kgnn", "kgnn")}, "members"),
        ({"members": ("boosting",)}, "members"),
        ({"transform": "log"}, "transform"),
        ({"combination": "median"}, "combination"),
        ({"clusters": 0}, "clusters"),
        ({"clusters": FuzzyCMeans(2, m=1.0)}, "m:"),
    ],
)
def test_wrong_arguments_are_told(wrong: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=said):
        quick(**wrong).fit(GRAPHS, LABELS)
