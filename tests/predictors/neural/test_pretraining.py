"""Pretraining: the loss against loops, the targets' properties, and what is learnt."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.base import clone

import archrank
from archrank.data import space
from archrank.errors import InputError
from archrank.predictors import Pretrained, Pretraining
from archrank.predictors.checks import small_graphs
from archrank.predictors.neural.contrast import contrastive_loss, spectral_targets
from archrank.predictors.neural.objectives.tables import log_sizes

GRAPHS = small_graphs()
SMALL = {"width": 16, "layers": 1, "dropout": 0.1}


def small(**options: object) -> Pretraining:
    return Pretraining(
        **{"encoder": "gin", "options": SMALL, "projection": 8, "epochs": 2, **options}
    )


def spectra(count: int = 6, q: int = 5) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(count, q, generator=generator, dtype=torch.float64).sort(dim=1).values


class TestTargets:
    def test_rows_are_distributions_over_the_others(self) -> None:
        targets = spectral_targets(spectra(), 0.05)
        assert targets.shape == (12, 12)
        assert torch.allclose(targets.sum(dim=1), torch.ones(12, dtype=torch.float64))
        assert (targets.diagonal() == 0).all()

    def test_the_copy_of_a_graph_weighs_most(self) -> None:
        targets = spectral_targets(spectra(), 0.05)
        assert targets.argmax(dim=1).tolist() == [6, 7, 8, 9, 10, 11, 0, 1, 2, 3, 4, 5]

    def test_against_a_loop(self) -> None:
        given = spectra()
        rows, temperature = [*given, *given], 0.3
        targets = spectral_targets(given, temperature)
        for i, own in enumerate(rows):
            weights = [
                0.0 if i == j else math.exp(-float((own - other).norm()) / temperature)
                for j, other in enumerate(rows)
            ]
            expected = torch.tensor(weights, dtype=torch.float64) / sum(weights)
            assert torch.allclose(targets[i], expected)

    def test_the_order_of_nodes_does_not_matter(self) -> None:
        from archrank.graphs.spectra import laplacian_spectrum

        cells = space("nasbench201")
        graphs = [cells.graph(arch) for arch in cells.sample(4, seed=0)]
        rng = np.random.default_rng(0)

        class Renumbered:
            """The same graph with its nodes in another order."""

            def __init__(self, graph: archrank.Graph):
                self.edges = rng.permutation(len(graph))[graph.edges]
                self.length = len(graph)

            def __len__(self) -> int:
                return self.length

        first, second = (
            spectral_targets(torch.from_numpy(np.stack(list(map(laplacian_spectrum, some)))), 0.05)
            for some in (graphs, [Renumbered(graph) for graph in graphs])
        )
        assert torch.allclose(first, second, atol=1e-9)

    def test_the_softmax_of_the_distance_itself_would_invert_neighbours(self) -> None:
        given = torch.tensor([[0.0], [0.1], [0.9]])
        near = spectral_targets(given, 0.5, copies=1)
        distance = torch.cdist(given, given).masked_fill(torch.eye(3, dtype=torch.bool), -math.inf)
        far = (distance / 0.5).softmax(dim=1)
        assert near[0].argmax() == 1
        assert far[0].argmax() == 2

    def test_one_graph_has_its_copy(self) -> None:
        assert spectral_targets(torch.zeros(1, 3), 0.05).tolist() == [[0.0, 1.0], [1.0, 0.0]]

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            ((torch.zeros(3, 2), 0.0), "temperature"),
            ((torch.zeros(3), 0.1), "spectra"),
            ((torch.zeros(1, 2), 0.1, 1), "copies"),
        ],
    )
    def test_wrong_arguments_are_told(self, arguments: tuple[object, ...], said: str) -> None:
        with pytest.raises(InputError, match=said):
            spectral_targets(*arguments)


class TestLoss:
    def test_against_a_loop(self) -> None:
        generator = torch.Generator().manual_seed(1)
        z = torch.randn(8, 3, generator=generator, dtype=torch.float64)
        alpha, temperature = spectral_targets(spectra(4), 0.2), 0.3
        expected = 0.0
        for i in range(8):
            similarity = [
                float(z[i] @ z[j]) / float(z[i].norm() * z[j].norm()) / temperature
                for j in range(8)
            ]
            total = sum(math.exp(s) for r, s in enumerate(similarity) if r != i)
            expected -= sum(
                float(alpha[i, j]) * math.log(math.exp(similarity[j]) / total)
                for j in range(8)
                if j != i
            )
        assert contrastive_loss(z, alpha, temperature).item() == pytest.approx(expected / 8)

    def test_its_gradient(self) -> None:
        z = torch.randn(6, 3, dtype=torch.float64, requires_grad=True)
        alpha = spectral_targets(spectra(3), 0.2)
        assert torch.autograd.gradcheck(lambda x: contrastive_loss(x, alpha, 0.5), (z,))

    def test_length_does_not_matter(self) -> None:
        z, alpha = torch.randn(6, 3), spectral_targets(spectra(3), 0.2).float()
        assert torch.allclose(contrastive_loss(z, alpha, 0.1), contrastive_loss(5 * z, alpha, 0.1))

    def test_shapes_are_checked(self) -> None:
        with pytest.raises(InputError, match="targets"):
            contrastive_loss(torch.zeros(3, 2), torch.zeros(2, 2), 0.1)
        with pytest.raises(InputError, match="temperature"):
            contrastive_loss(torch.zeros(2, 2), torch.zeros(2, 2), -1.0)


class TestPretraining:
    def test_the_loss_falls(self) -> None:
        history = small(epochs=20, learning_rate=1e-2).fit(GRAPHS).history_
        assert history[-1] < history[0]

    def test_spaces_separate(self) -> None:
        graphs = []
        for name in ("nasbench201", "nasbench301"):
            cells = space(name)
            graphs += [cells.graph(arch) for arch in cells.sample(12, seed=0)]
        pretrained = small(epochs=30, learning_rate=3e-3).fit(graphs)
        embedded = pretrained.embed(graphs)
        centres = embedded[:12].mean(axis=0), embedded[12:].mean(axis=0)
        nearest = np.array([np.linalg.norm(embedded - c, axis=1) for c in centres]).argmin(axis=0)
        assert nearest.tolist() == [0] * 12 + [1] * 12
        spread = np.mean([embedded[:12].std(axis=0), embedded[12:].std(axis=0)], axis=0)
        assert np.linalg.norm(centres[0] - centres[1]) > np.linalg.norm(spread)

    def test_free_statistics_become_readable(self) -> None:
        facts = np.array([log_sizes(graph)[0] for graph in GRAPHS])

        def unexplained(pretrained: Pretrained) -> float:
            embedded = pretrained.embed(GRAPHS)[:, :]
            design = np.column_stack([embedded @ np.linalg.svd(embedded)[2][:4].T, np.ones(16)])
            return float(np.linalg.lstsq(design, facts, rcond=None)[1][0])

        trained = small(objectives={"sizes": 1.0}, epochs=60, learning_rate=1e-2)
        assert unexplained(trained.fit(GRAPHS)) < unexplained(small(epochs=0).fit(GRAPHS))
        assert trained.fit(GRAPHS).history_[-1] < 0.1

    def test_killed_and_continued_is_uninterrupted(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from archrank.predictors.neural.learning import run as running

        both = small(objectives={"spectral": 1.0, "masked": 0.5}, epochs=4, batch_size=4)
        expected = both.fit(GRAPHS)
        monkeypatch.setattr(running.time, "monotonic", iter(range(0, 10**6, 60)).__next__)
        left = 7
        own = running.Run.advance

        def advance(run: object, *arguments: object) -> None:
            nonlocal left
            if not left:
                raise KeyboardInterrupt
            left -= 1
            own(run, *arguments)

        monkeypatch.setattr(running.Run, "advance", advance)
        with pytest.raises(KeyboardInterrupt):
            both.fit(GRAPHS, tmp_path / "run.safetensors")
        left = 9  # of 16 steps in all
        continued = both.fit(GRAPHS, tmp_path / "run.safetensors")
        assert left == 0
        assert continued.history_ == expected.history_
        for name, value in expected.weights_.items():
            assert np.array_equal(continued.weights_[name], value)

    def test_the_caller_s_random_state_stays(self) -> None:
        before = torch.get_rng_state()
        small().fit(GRAPHS).embed(GRAPHS)
        assert torch.equal(before, torch.get_rng_state())

    def test_progress_is_told(self) -> None:
        seen: list[int] = []
        small().fit(GRAPHS, progress=lambda epoch: seen.append(epoch.epoch))
        assert seen == [1, 2]

    @pytest.mark.parametrize(
        ("wrong", "said"),
        [
            ({"projection": 16}, "projection"),
            ({"q": 0, "objectives": "published"}, "q:"),
            ({"temperature": 0.0}, "temperature"),
            ({"spectral_temperature": -1.0}, "spectral_temperature"),
            ({"objectives": {"masked": -1.0}}, "objectives"),
            ({"objectives": {"masked": 0.0}}, "objectives"),
            ({"objectives": {"guessing": 1.0}}, "objectives"),
            ({"objectives": {"scores": 1.0}}, "scores"),
            ({"objectives": "none"}, "objectives"),
            ({"label_temperature": 0.0}, "label_temperature"),
            ({"together": -1}, "together"),
            ({"encoder": "mamba"}, "encoder"),
        ],
    )
    def test_wrong_arguments_are_told(self, wrong: dict[str, object], said: str) -> None:
        with pytest.raises(InputError, match=said):
            small(**wrong).fit(GRAPHS)

    def test_nothing_to_learn_from_is_told(self) -> None:
        with pytest.raises(InputError, match="graphs"):
            small().fit([])


class TestFiles:
    def test_what_is_read_embeds_the_same(self, tmp_path: Path) -> None:
        pretrained = small().fit(GRAPHS)
        pretrained.save(tmp_path / "encoder")
        loaded = Pretrained.load(tmp_path / "encoder")
        assert np.array_equal(loaded.embed(GRAPHS), pretrained.embed(GRAPHS))
        assert loaded.history_ == pretrained.history_
        assert clone(loaded) is loaded

    def test_damaged_and_newer_files_are_told(self, tmp_path: Path) -> None:
        path = tmp_path / "encoder"
        small().fit(GRAPHS).save(path)
        facts, arrays = path / "predictor.json", path / "arrays.safetensors"
        text, content = facts.read_text(), arrays.read_bytes()
        newer = json.dumps({**json.loads(text), "format": 99})
        other = text.replace('"width": 16', '"width": 24')
        for damaged in (text[:50], "{}", newer, other):
            facts.write_text(damaged)
            with pytest.raises(InputError, match="path"):
                Pretrained.load(path)
        facts.write_text(text)
        arrays.write_bytes(content[:-9])
        with pytest.raises(InputError, match="path"):
            Pretrained.load(path)
        with pytest.raises(InputError, match="no file"):
            Pretrained.load(tmp_path / "none")
