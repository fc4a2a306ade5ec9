"""The training loop: what it learns, what it leaves alone, and going on after an interruption."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from archrank.errors import InputError
from archrank.predictors.checks import small_graphs
from archrank.predictors.neural.batches import GraphTensors
from archrank.predictors.neural.encoders import encoder
from archrank.predictors.neural.learning.plan import Epoch, TrainingPlan
from archrank.predictors.neural.learning.training import graph_batching, train, train_on_labels
from archrank.predictors.neural.losses import MSE, Scheduled
from archrank.predictors.neural.regressor import Regressor


class Stopped(Exception):
    """What a test stops a training with."""


def model() -> Regressor:
    torch.manual_seed(0)
    return Regressor(encoder("gin", width=8, layers=1, dropout=0.2), (8,))


@pytest.fixture(scope="module")
def data() -> tuple[list[GraphTensors], Tensor]:
    graphs = small_graphs()
    labels = torch.tensor([float(np.log(graph.params)) for graph in graphs])
    return [GraphTensors.of(graph) for graph in graphs], (labels - labels.mean()) / labels.std()


def weights(module: nn.Module) -> list[Tensor]:
    return [value.clone() for value in module.state_dict().values()]


def equal(first: list[Tensor], second: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_it_learns(data) -> None:
    graphs, labels = data
    one = model()
    history = train_on_labels(one, graphs, labels, TrainingPlan(60, 8, 1e-2, schedule="cosine"))
    assert history[-1].loss < history[0].loss / 2
    assert not one.training


def test_the_same_seed_gives_the_same_and_leaves_the_caller_s_state(data) -> None:
    graphs, labels = data
    plan = TrainingPlan(3, 4, seed=5)
    runs = []
    for _ in range(2):
        one = model()
        before = torch.get_rng_state()
        train_on_labels(one, graphs, labels, plan)
        assert torch.equal(before, torch.get_rng_state())
        torch.rand(7)
        runs.append(weights(one))
    assert equal(*runs)
    other = model()
    train_on_labels(other, graphs, labels, TrainingPlan(3, 4, seed=6))
    assert not equal(runs[0], weights(other))


class TestCheckpoints:
    PLAN = TrainingPlan(
        4, 4, 1e-2, 0.01, "adamw", "cosine", 1.0, validation=0.25, patience=9, interval=0.0
    )

    @pytest.mark.parametrize("steps", [1, 3, 4, 8])
    def test_killed_and_continued_is_uninterrupted(self, data, tmp_path: Path, steps: int) -> None:
        graphs, labels = data
        whole = model()
        expected = train_on_labels(whole, graphs, labels, self.PLAN)
        file, killed = tmp_path / "run.safetensors", model()
        left = steps

        class Failing(MSE):
            def forward(self, predictions: Tensor, targets: Tensor) -> Tensor:
                nonlocal left
                if not left:
                    raise Stopped
                left -= 1
                return super().forward(predictions, targets)

        with pytest.raises(Stopped):
            train_on_labels(killed, graphs, labels, self.PLAN, loss=Failing(), checkpoint=file)
        left, again = 10**6, model()
        history = train_on_labels(again, graphs, labels, self.PLAN, loss=Failing(), checkpoint=file)
        assert history == expected
        assert equal(weights(again), weights(whole))

    def test_a_finished_run_is_not_repeated(self, data, tmp_path: Path) -> None:
        file, seen = tmp_path / "run.safetensors", []
        first, second = model(), model()
        train_on_labels(first, *data, TrainingPlan(2), checkpoint=file)
        history = train_on_labels(
            second, *data, TrainingPlan(2), checkpoint=file, progress=seen.append
        )
        assert len(history) == 2
        assert not seen
        assert equal(weights(first), weights(second))

    def test_of_another_run_is_refused(self, data, tmp_path: Path) -> None:
        graphs, labels = data
        file = tmp_path / "run.safetensors"
        train_on_labels(model(), graphs, labels, TrainingPlan(2), checkpoint=file)
        for changed, plan in ((labels * 2, TrainingPlan(2)), (labels, TrainingPlan(3))):
            with pytest.raises(InputError, match="another training"):
                train_on_labels(model(), graphs, changed, plan, checkpoint=file)
        other = model()
        with torch.no_grad():
            next(other.parameters())[-1, -1] += 1e-6  # too little to be printed
        with pytest.raises(InputError, match="another training"):
            train_on_labels(other, graphs, labels, TrainingPlan(2), checkpoint=file)

    def test_damaged_is_told(self, data, tmp_path: Path) -> None:
        file = tmp_path / "run.safetensors"
        train_on_labels(model(), *data, TrainingPlan(1), checkpoint=file)
        content = file.read_bytes()
        for damaged in (b"", content[:-9], b"{}" * 100, content.replace(b'\\"mark', b'\\"kram')):
            file.write_bytes(damaged)
            with pytest.raises(InputError, match="damaged"):
                train_on_labels(model(), *data, TrainingPlan(1), checkpoint=file)
        file.write_bytes(content.replace(b'format\\": 1', b'format\\": 9'))
        with pytest.raises(InputError, match="version"):
            train_on_labels(model(), *data, TrainingPlan(1), checkpoint=file)
        assert [found.name for found in tmp_path.iterdir()] == [file.name]


class TestValidation:
    def test_the_best_weights_are_kept(self, data) -> None:
        graphs, labels = data
        kept: list[list[Tensor]] = []
        one = model()
        plan = TrainingPlan(30, 4, 0.02, validation=0.5, seed=1)
        history = train_on_labels(
            one, graphs, labels, plan, progress=lambda _: kept.append(weights(one))
        )
        values = [epoch.validation for epoch in history]
        assert equal(weights(one), kept[int(np.nanargmax(np.array(values)))])

    def test_patience_stops(self) -> None:
        scores = iter([0.1, 0.5, 0.4, 0.5, 0.3, 0.9])
        line = nn.Linear(1, 1)
        history = train(
            line,
            lambda rows, epoch: line(torch.ones(1, 1)).sum(),
            lambda epoch: [[0]],
            TrainingPlan(20, patience=3),
            validate=lambda: next(scores),
        )
        assert [epoch.validation for epoch in history] == [0.1, 0.5, 0.4, 0.5, 0.3]

    def test_no_tau_is_worse_than_any(self) -> None:
        scores = iter([float("nan"), -0.2, float("nan")])
        line, seen = nn.Linear(1, 1), []
        train(
            line,
            lambda rows, epoch: line(torch.ones(1, 1)).sum(),
            lambda epoch: [[0]],
            TrainingPlan(3),
            validate=lambda: next(scores),
            progress=lambda _: seen.append(line.weight.item()),
        )
        assert line.weight.item() == seen[1]

    def test_one_label_is_not_held_out(self, data) -> None:
        graphs, labels = data
        history = train_on_labels(model(), graphs[:3], labels[:3], TrainingPlan(1, validation=0.4))
        assert history[0].validation is None


def test_scheduled_losses_are_told_the_epoch(data) -> None:
    seen: list[int] = []

    class Watched(Scheduled):
        def forward(self, predictions: Tensor, targets: Tensor) -> Tensor:
            seen.append(self.epoch)
            return super().forward(predictions, targets)

    train_on_labels(
        model(), *data, TrainingPlan(3, 16), loss=Watched([("mse", 1), ("diff_kendall", 1)])
    )
    assert sorted(set(seen)) == [0, 1, 2]


def test_the_schedule_is_the_cosine() -> None:
    line = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(line.weight)
    places = [0.0]
    train(
        line,
        lambda rows, epoch: line(torch.ones(1, 1)).sum(),  # Adam then steps by the learning rate
        lambda epoch: [[0]],
        TrainingPlan(4, learning_rate=0.1, schedule="cosine"),
        progress=lambda _: places.append(line.weight.item()),
    )
    expected = [0.05 * (1 + np.cos(np.pi * done / 4)) for done in range(4)]
    assert np.allclose(-np.diff(places), expected, atol=1e-6)


def test_gradients_are_clipped() -> None:
    line, norms = nn.Linear(1, 1), []

    def note(_: Epoch) -> None:
        norms.append(torch.cat([p.grad.flatten() for p in line.parameters()]).norm().item())

    train(
        line,
        lambda rows, epoch: 100 * line(torch.ones(1, 1)).sum(),
        lambda epoch: [[0]],
        TrainingPlan(1, clip=0.5),
        progress=note,
    )
    assert norms == [pytest.approx(0.5, rel=1e-3)]


def test_equal_batches_are_cut_once(data) -> None:
    graphs, _ = data
    batching = graph_batching(graphs, TrainingPlan(batch_size=3, batching="equal"))
    first, second = batching(0), batching(1)
    assert sorted(first) == sorted(second)
    assert first != second
    for batch in first:
        assert len({(len(graphs[i]), int(graphs[i].weighted.sum())) for i in batch}) == 1
    assert sorted(i for batch in first for i in batch) == list(range(len(graphs)))


def test_a_loss_that_diverges_is_told() -> None:
    line = nn.Linear(1, 1)
    with pytest.raises(InputError, match="learning_rate"):
        train(line, lambda r, e: line(torch.ones(1, 1)).sum() / 0, lambda e: [[0]], TrainingPlan(1))


@pytest.mark.parametrize(
    "wrong",
    [
        {"epochs": -1},
        {"batch_size": 0},
        {"learning_rate": 0.0},
        {"optimiser": "sgd"},
        {"schedule": "step"},
        {"clip": float("nan")},
        {"validation": 1.0},
        {"patience": 0},
        {"seed": -1},
    ],
)
def test_what_is_out_of_range_is_told(wrong: dict[str, object]) -> None:
    with pytest.raises(InputError, match=next(iter(wrong))):
        TrainingPlan(**wrong)


def test_progress_says_where_it_is() -> None:
    line, seen = nn.Linear(1, 1), []
    train(
        line,
        lambda r, e: line(torch.ones(1, 1)).sum() * 0 + 2,
        lambda e: [[0]] * 3,
        TrainingPlan(2),
        progress=seen.append,
    )
    assert seen == [Epoch(1, 2, 2.0), Epoch(2, 2, 2.0)]
