"""One small training loop for all torch modules of this room."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ..batches import GraphBatch, GraphTensors, batches
from ..losses import loss as loss_by_name
from ..losses import tell_epoch
from .plan import SELECTIONS, Epoch, EpochProgress, TrainingPlan
from .run import Objective, Run, digest
from .seeds import generator_of, own_random_state, seed_of

Batching = Callable[[int], list[list[int]]]
"""The batches of an epoch, as positions of items."""


def train(
    module: nn.Module,
    objective: Objective,
    batching: Batching,
    plan: TrainingPlan,
    *,
    validate: Callable[[], float] | None = None,
    identity: str = "",
    checkpoint: str | Path | None = None,
    progress: EpochProgress | None = None,
) -> list[Epoch]:
    """Train a module in place; it ends on the plan's device, in evaluation mode.

    Every step has its own seed. So a run that continues from a checkpoint (weights, optimiser,
    history) gives the same result as an uninterrupted run, bit for bit on a CPU. The state of
    torch's global generator is restored. A checkpoint of a finished run gives its weights at once.

    Args:
        module: the module to train. A run that continues needs the same initial weights.
        objective: a function (positions of items, epoch from 0) -> scalar loss.
        batching: a function from an epoch, counted from 0, to batches of positions, always the same
            for the same epoch.
        plan: the settings of the training.
        validate: a function that is called after each epoch and returns its quality. Larger is
            better, and the weights of the best epoch are kept.
        identity: further data that distinguish this run from others, for the checkpoint.
        checkpoint: the file that is written every ``plan.interval`` seconds, and from which the run
            continues if it exists.
        progress: a function that is called after each epoch.

    Returns:
        All epochs, including those before an interruption.

    Raises:
        InputError: the loss is not finite, or the checkpoint is damaged or belongs to another run.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> line, x = nn.Linear(1, 1), torch.arange(4.0)[:, None]
        >>> def objective(rows, epoch):
        ...     return (line(x[rows]) - 3 * x[rows]).square().mean()
        >>> plan = TrainingPlan(400, 2, 0.05)
        >>> history = train(line, objective, lambda epoch: [[0, 1], [2, 3]], plan)
        >>> round(line.weight.item(), 1)
        3.0
    """
    with own_random_state(plan.device):
        run = Run(module, plan, identity, None if checkpoint is None else Path(checkpoint))
        run.resume()
        while not run.finished():
            module.train()
            cut = batching(run.epoch)
            while run.step < len(cut):
                run.advance(objective, cut)
            module.eval()
            run.close_epoch(len(cut), None if validate is None else validate())
            if progress is not None:
                progress(run.history[-1])
        run.finish()
    return run.history


def train_on_labels(
    module: nn.Module,
    graphs: Sequence[GraphTensors],
    labels: Tensor,
    plan: TrainingPlan,
    *,
    context: Tensor | None = None,
    loss: str | nn.Module = "mse",
    checkpoint: str | Path | None = None,
    progress: EpochProgress | None = None,
) -> list[Epoch]:
    """Train a module that predicts (graphs,) from a ``GraphBatch``.

    Args:
        module: the module to train.
        graphs: the graphs to learn from.
        labels: (len(graphs),).
        plan: the settings; if fewer than two labels would be held out, none is.
        context: (len(graphs), c), one row per graph.
        loss: one of ``LOSSES``, or a module of (predictions, labels); ``Scheduled`` receives the
            epoch.
        checkpoint, progress: see ``train``.

    Raises:
        InputError: see ``train``.

    Example:
        >>> import archrank
        >>> from archrank.predictors.neural.encoders import encoder
        >>> class Model(nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.encoder = encoder("gin", width=8, layers=1)
        ...     def forward(self, batch):
        ...         return self.encoder(batch).mean(dim=1)
        >>> net = archrank.trace(nn.ReLU(), (3, 8, 8))
        >>> given = Model(), [GraphTensors.of(net)], torch.ones(1)
        >>> history = train_on_labels(*given, TrainingPlan(2))
        >>> [epoch.epoch for epoch in history]
        [1, 2]
    """
    lesson = _Lesson(module, graphs, labels, context, loss_by_name(loss), plan)
    return train(
        module,
        lesson.objective,
        graph_batching([graphs[i] for i in lesson.learnt], plan),
        plan,
        validate=lesson.validate if lesson.held else None,
        identity=digest([one.key for one in graphs], labels, context, repr(lesson.loss)),
        checkpoint=checkpoint,
        progress=progress,
    )


class _Lesson:
    """Labelled graphs, some to learn from and others held out, and a module's loss on them."""

    def __init__(
        self,
        module: nn.Module,
        graphs: Sequence[GraphTensors],
        labels: Tensor,
        context: Tensor | None,
        loss: nn.Module,
        plan: TrainingPlan,
    ):
        self.module, self.loss, self.plan = module, loss, plan
        self.graphs, self.labels, self.context = graphs, labels, context
        self.learnt, self.held = _split(len(graphs), plan)

    def objective(self, rows: list[int], epoch: int) -> Tensor:
        """Return the loss of some of the graphs to learn from."""
        tell_epoch(self.loss, epoch)
        chosen = [self.learnt[i] for i in rows]
        predicted = self.module(self._batch(chosen))
        value: Tensor = self.loss(predicted, self.labels[chosen].to(self.plan.device))
        return value

    @torch.no_grad()
    def validate(self) -> float:
        """Return the quality of predictions of the held-out labels; larger is better."""
        predicted = torch.zeros(len(self.held))
        for rows in batches([self.graphs[i] for i in self.held], 64, shuffle=False):
            batch = self._batch([self.held[i] for i in rows])
            predicted[rows] = self.module(batch).float().cpu()
        judge = SELECTIONS[self.plan.selection]
        with np.errstate(divide="ignore", invalid="ignore"):  # labels may be 0
            return judge(predicted.numpy(), self.labels[self.held].numpy())

    def _batch(self, chosen: list[int]) -> GraphBatch:
        context = None if self.context is None else self.context[chosen]
        return GraphBatch.of([self.graphs[i] for i in chosen], context).to(self.plan.device)


def graph_batching(graphs: Sequence[GraphTensors], plan: TrainingPlan) -> Batching:
    """Return a function from an epoch to the batches of graphs, by a plan.

    Example:
        >>> import archrank
        >>> nets = [nn.ReLU(), nn.Sequential(nn.ReLU(), nn.ReLU()), nn.Tanh()]
        >>> graphs = [GraphTensors.of(archrank.trace(net, (3, 8, 8))) for net in nets]
        >>> sorted(graph_batching(graphs, TrainingPlan(batching="equal"))(0))
        [[0, 2], [1]]
    """
    if plan.batching == "similar":
        return lambda epoch: batches(
            graphs, plan.batch_size, seed=seed_of(plan.seed, epoch), spread=plan.spread
        )
    alike: dict[tuple[int, int], list[int]] = {}
    for i, graph in enumerate(graphs):
        alike.setdefault((len(graph), int(graph.weighted.sum())), []).append(i)
    cut = [part for group in alike.values() for part in _chunks(group, plan.batch_size)]
    return lambda epoch: [cut[i] for i in generator_of(plan.seed, epoch).permutation(len(cut))]


def even_batching(count: int, plan: TrainingPlan, groups: Sequence[int] | None = None) -> Batching:
    """Return a function from an epoch to batches of items without a size, shuffled anew each time.

    Args:
        count: the number of items.
        plan: the settings of the training.
        groups: the group of each item; items of different groups are never in one batch.

    Example:
        >>> [len(batch) for batch in even_batching(5, TrainingPlan(batch_size=2))(0)]
        [2, 2, 1]
        >>> sorted(map(sorted, even_batching(3, TrainingPlan(), groups=[0, 1, 0])(0)))
        [[0, 2], [1]]
    """
    member = np.zeros(count, dtype=np.int64) if groups is None else np.asarray(groups)

    def cut(epoch: int) -> list[list[int]]:
        random = generator_of(plan.seed, epoch)
        order = random.permutation(count)
        alike = [order[member[order] == group].tolist() for group in np.unique(member)]
        found = [part for group in alike for part in _chunks(group, plan.batch_size)]
        if len(alike) > 1:
            found = [found[i] for i in random.permutation(len(found))]
        return found

    return cut


def _split(count: int, plan: TrainingPlan) -> tuple[list[int], list[int]]:
    """Return the positions to learn from and the held-out positions."""
    held = round(count * plan.validation)
    held = held if held > 1 else 0  # one label has no order
    order = np.arange(count)
    if plan.holdout == "random":
        order = generator_of(plan.seed).permutation(count)
    return sorted(order[: count - held].tolist()), sorted(order[count - held :].tolist())


def _chunks(items: list[int], size: int) -> list[list[int]]:
    return [items[start : start + size] for start in range(0, len(items), size)]
