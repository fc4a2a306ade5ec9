"""One small training loop for everything in this room that is a torch module."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ...errors import InputError
from ...metrics import kendall
from .batches import GraphBatch, GraphTensors, batches
from .losses import Scheduled
from .losses import loss as loss_by_name

FORMAT = 1
OPTIMISERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
}
SCHEDULES: dict[str, Callable[[float], float]] = {
    "constant": lambda done: 1.0,
    "cosine": lambda done: (1.0 + math.cos(math.pi * done)) / 2.0,
}
"""Name -> learning rate relative to the first, by the share of the training that is done."""
BATCHINGS = ("similar", "equal")
HOLDOUTS = ("random", "last")
SELECTIONS: dict[str, Callable[[Any, Any], float]] = {
    "kendall": kendall,
    "mape": lambda predicted, labels: -float(np.mean(np.abs((predicted - labels) / labels))),
}
"""Name -> how good predictions of held-out labels are; larger is better."""

Objective = Callable[[list[int], int], Tensor]
"""The loss of the items at some positions, in an epoch."""
Batching = Callable[[int], list[list[int]]]
"""The batches of an epoch, as positions of items."""


@dataclass(frozen=True)
class Plan:
    """How to train.

    Attributes:
        epochs: how many; 0 leaves the weights as they are.
        batch_size: the most items in a batch.
        learning_rate, weight_decay, optimiser: ``"adam"`` or ``"adamw"``.
        schedule: of the learning rate r: ``"constant"``, or ``"cosine"``, ``r (1 + cos(pi d)) / 2``
            with d the share of the steps done.
        clip: the largest norm of the gradient; None for none.
        batching: of graphs: ``"similar"`` in size and cut anew every epoch
            (:func:`~archrank.predictors.neural.batches.batches`), or ``"equal"`` in the number of
            nodes and of weighted nodes, cut once and only shuffled (GENNAPE's released code).
        spread: of ``"similar"``: how many doublings of size may be mixed.
        validation: share of the labels to hold out; 0 for none. The weights of the epoch that
            predicts them best are kept.
        holdout: which labels are held out: ``"random"`` ones or the ``"last"``.
        selection: what best means: ``"kendall"``, the tau-b, or ``"mape"``, the least mean
            absolute error relative to the label.
        patience: stop after so many epochs without a better one; None never stops.
        seed: of everything random but the initial weights.
        device: to train on.
        interval: seconds between two checkpoints.

    Raises:
        InputError: a value outside its range.

    Example:
        >>> Plan(epochs=3, schedule="cosine").rate(0.5)
        0.0005
    """

    epochs: int = 100
    batch_size: int = 32
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    optimiser: str = "adam"
    schedule: str = "constant"
    clip: float | None = None
    batching: str = "similar"
    spread: float = 0.5
    validation: float = 0.0
    holdout: str = "random"
    selection: str = "kendall"
    patience: int | None = None
    seed: int = 0
    device: str = "cpu"
    interval: float = 30.0

    def __post_init__(self) -> None:
        choices: tuple[tuple[str, Iterable[str]], ...] = (
            ("optimiser", OPTIMISERS),
            ("schedule", SCHEDULES),
            ("batching", BATCHINGS),
            ("holdout", HOLDOUTS),
            ("selection", SELECTIONS),
        )
        for name, known in choices:
            if getattr(self, name) not in known:
                came = getattr(self, name)
                raise InputError(f"{name}: got {came!r}, expected one of {', '.join(known)}")
        for name, least in (("epochs", 0), ("batch_size", 1), ("seed", 0), ("patience", 1)):
            value = getattr(self, name)
            if value is not None and not (isinstance(value, (int, np.integer)) and value >= least):
                raise InputError(
                    f"{name}: got {value!r}, expected a whole number of at least {least}"
                )
        for name in ("learning_rate", "clip"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value > 0):
                raise InputError(f"{name}: got {value!r}, expected a finite number above 0")
        if not 0 <= self.validation < 1:
            raise InputError(f"validation: got {self.validation!r}, expected a share in [0, 1)")

    def rate(self, done: float) -> float:
        """The learning rate when a share of the training is done."""
        return self.learning_rate * SCHEDULES[self.schedule](done)


@dataclass(frozen=True)
class Epoch:
    """What is told of an epoch that is over.

    Attributes:
        epoch, epochs: which one, counted from 1, of how many.
        loss: the mean over its batches.
        validation: what :attr:`Plan.selection` says of the held-out labels; None without any.
    """

    epoch: int
    epochs: int
    loss: float
    validation: float | None = None


Progress = Callable[[Epoch], None]


def train(
    module: nn.Module,
    objective: Objective,
    batching: Batching,
    plan: Plan,
    *,
    validate: Callable[[], float] | None = None,
    identity: str = "",
    checkpoint: str | Path | None = None,
    progress: Progress | None = None,
) -> list[Epoch]:
    """Train a module in place; it ends on the plan's device, in evaluation mode.

    Every step draws from a seed of its own, so that a checkpoint (weights, optimiser, history) goes
    on from any step as if nothing had happened, bit for bit on a CPU; torch's global generator is
    left as it was. A checkpoint of a finished run gives its weights at once.

    Args:
        module: what to train, with the same initial weights when a run goes on.
        objective: (positions of items, epoch from 0) -> scalar loss.
        batching: epoch from 0 -> batches of positions; must be the same each time it is asked.
        plan: how.
        validate: called after each epoch, larger is better: the best epoch's weights are kept.
        identity: what else tells this run's data from another's, for the checkpoint.
        checkpoint: file to write every ``plan.interval`` seconds and to go on from if it is there.
        progress: called after each epoch.

    Returns:
        All epochs, those before an interruption too.

    Raises:
        InputError: the loss is not finite, or the checkpoint is damaged or of another run.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> line, x = nn.Linear(1, 1), torch.arange(4.0)[:, None]
        >>> def objective(rows, epoch):
        ...     return (line(x[rows]) - 3 * x[rows]).square().mean()
        >>> history = train(line, objective, lambda epoch: [[0, 1], [2, 3]], Plan(400, 2, 0.05))
        >>> round(line.weight.item(), 1)
        3.0
    """
    with _own_random_state(plan.device):
        run = _Run(module, plan, identity, None if checkpoint is None else Path(checkpoint))
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
    plan: Plan,
    *,
    context: Tensor | None = None,
    loss: str | nn.Module = "mse",
    checkpoint: str | Path | None = None,
    progress: Progress | None = None,
) -> list[Epoch]:
    """Train a module that predicts (graphs,) from a :class:`GraphBatch`.

    Args:
        module: what to train.
        graphs: what to learn from.
        labels: (len(graphs),).
        plan: how; fewer than two labels are not held out.
        context: (len(graphs), c), one row per graph.
        loss: one of :data:`~archrank.predictors.neural.losses.LOSSES`, or a module of (predictions,
            labels); :class:`~archrank.predictors.neural.losses.Scheduled` is told the epoch.
        checkpoint, progress: see :func:`train`.

    Raises:
        InputError: see :func:`train`.

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
        >>> history = train_on_labels(Model(), [GraphTensors.of(net)], torch.ones(1), Plan(2))
        >>> [epoch.epoch for epoch in history]
        [1, 2]
    """
    judged = loss_by_name(loss)
    scheduled = [part for part in judged.modules() if isinstance(part, Scheduled)]
    learnt, held = _split(len(graphs), plan)

    def rows_of(chosen: list[int]) -> tuple[GraphBatch, Tensor]:
        batch = GraphBatch.of(
            [graphs[i] for i in chosen], None if context is None else context[chosen]
        )
        return batch.to(plan.device), labels[chosen].to(plan.device)

    def objective(rows: list[int], epoch: int) -> Tensor:
        for part in scheduled:
            part.epoch = epoch
        batch, wanted = rows_of([learnt[i] for i in rows])
        value: Tensor = judged(module(batch), wanted)
        return value

    @torch.no_grad()
    def validate() -> float:
        predicted = torch.zeros(len(held))
        for rows in batches([graphs[i] for i in held], 64, shuffle=False):
            predicted[rows] = module(rows_of([held[i] for i in rows])[0]).float().cpu()
        with np.errstate(divide="ignore", invalid="ignore"):  # of labels that are 0
            return SELECTIONS[plan.selection](predicted.numpy(), labels[held].numpy())

    return train(
        module,
        objective,
        graph_batching([graphs[i] for i in learnt], plan),
        plan,
        validate=validate if held else None,
        identity=digest([one.key for one in graphs], labels, context, repr(judged)),
        checkpoint=checkpoint,
        progress=progress,
    )


def graph_batching(graphs: Sequence[GraphTensors], plan: Plan) -> Batching:
    """The batches of graphs that a plan says, epoch by epoch.

    Example:
        >>> import archrank
        >>> nets = [nn.ReLU(), nn.Sequential(nn.ReLU(), nn.ReLU()), nn.Tanh()]
        >>> graphs = [GraphTensors.of(archrank.trace(net, (3, 8, 8))) for net in nets]
        >>> sorted(graph_batching(graphs, Plan(batching="equal"))(0))
        [[0, 2], [1]]
    """
    if plan.batching == "similar":
        return lambda epoch: batches(
            graphs, plan.batch_size, seed=_seed(plan.seed, epoch), spread=plan.spread
        )
    alike: dict[tuple[int, int], list[int]] = {}
    for i, graph in enumerate(graphs):
        alike.setdefault((len(graph), int(graph.weighted.sum())), []).append(i)
    cut = [part for group in alike.values() for part in _chunks(group, plan.batch_size)]
    return lambda epoch: [cut[i] for i in _generator(plan.seed, epoch).permutation(len(cut))]


def even_batching(count: int, plan: Plan) -> Batching:
    """Batches of items that have no size, shuffled anew every epoch.

    Example:
        >>> [len(batch) for batch in even_batching(5, Plan(batch_size=2))(0)]
        [2, 2, 1]
    """
    return lambda epoch: _chunks(
        _generator(plan.seed, epoch).permutation(count).tolist(), plan.batch_size
    )


def digest(*parts: Any) -> str:
    """Hex digits that tell data apart: tensors by their bytes, anything else by its ``repr``.

    Example:
        >>> digest(torch.ones(2), "a") == digest(torch.ones(2), "b")
        False
    """
    hashed = blake2b(digest_size=16)
    for part in parts:
        if isinstance(part, Tensor):
            part = part.detach().cpu().contiguous().numpy().tobytes()
        hashed.update(part if isinstance(part, bytes) else repr(part).encode())
    return hashed.hexdigest()


class _Run:
    """A training under way: what it has done so far, and the file that it can go on from."""

    def __init__(self, module: nn.Module, plan: Plan, identity: str, file: Path | None):
        self.module, self.plan, self.file = module.to(plan.device), plan, file
        self.optimiser = OPTIMISERS[plan.optimiser](
            [p for p in module.parameters() if p.requires_grad],
            lr=plan.learning_rate,
            weight_decay=plan.weight_decay,
        )
        self.history: list[Epoch] = []
        self.step, self.total = 0, 0.0
        self.best: dict[str, Tensor] = {}
        self.best_epoch = 0
        self.saved = time.monotonic()
        if file is not None:
            facts = {**asdict(plan), "device": "", "interval": 0.0}
            weights = (part for pair in _flat(module.state_dict()) for part in pair)
            self.mark = digest(facts, identity, *weights)

    @property
    def epoch(self) -> int:
        return len(self.history)

    def finished(self) -> bool:
        patience = self.plan.patience
        tired = (
            patience is not None and bool(self.best) and self.epoch - self.best_epoch >= patience
        )
        return self.epoch >= self.plan.epochs or tired

    def advance(self, objective: Objective, cut: list[list[int]]) -> None:
        """One step of the optimiser."""
        torch.manual_seed(_seed(self.plan.seed, self.epoch, self.step))
        done = (self.epoch + self.step / len(cut)) / self.plan.epochs
        for group in self.optimiser.param_groups:
            group["lr"] = self.plan.rate(done)
        self.optimiser.zero_grad(set_to_none=True)
        value = objective(cut[self.step], self.epoch)
        if not torch.isfinite(value):
            raise InputError(
                f"learning_rate: with {self.plan.learning_rate} the loss became {value.item()} in "
                f"epoch {self.epoch + 1}; try a smaller one"
            )
        value.backward()
        if self.plan.clip is not None:
            nn.utils.clip_grad_norm_(self.module.parameters(), self.plan.clip)
        self.optimiser.step()
        self.total += value.item()
        self.step += 1
        if time.monotonic() - self.saved >= self.plan.interval:
            self.save()

    def close_epoch(self, steps: int, validation: float | None) -> None:
        """Note what the epoch gave, and its weights if none gave better."""
        mean = self.total / max(steps, 1)
        self.history.append(Epoch(self.epoch + 1, self.plan.epochs, mean, validation))
        self.step, self.total = 0, 0.0
        if validation is None:
            return
        before = self.history[self.best_epoch - 1].validation if self.best else None
        # Constant predictions have no tau (NaN): anything is better.
        if before is None or math.isnan(before) or validation > before:
            self.best = {k: v.detach().clone() for k, v in self.module.state_dict().items()}
            self.best_epoch = self.epoch

    def finish(self) -> None:
        """Keep a file of the end, then take the best weights."""
        self.save()
        if self.best:
            self.module.load_state_dict(self.best)
        self.module.eval()

    def save(self) -> None:
        """Write the checkpoint; the file is the old or the new one, never half of one."""
        if self.file is None:
            return
        from safetensors.torch import save_file

        states = {str(i): state for i, state in self.optimiser.state_dict()["state"].items()}
        nested = {"module": self.module.state_dict(), "best": self.best, "optimiser": states}
        tensors = {k: v.detach().cpu().clone().contiguous() for k, v in _flat(nested)}
        facts = {
            "format": FORMAT,
            "mark": self.mark,
            "history": [asdict(epoch) for epoch in self.history],
            "step": self.step,
            "total": self.total,
            "best_epoch": self.best_epoch,
        }
        self.file.parent.mkdir(parents=True, exist_ok=True)
        partial = self.file.with_name(f".{self.file.name}.part")
        save_file(tensors, partial, metadata={"run": json.dumps(facts)})
        partial.replace(self.file)
        self.saved = time.monotonic()

    def resume(self) -> None:
        """Go on from the checkpoint, if there is one."""
        if self.file is None or not self.file.exists():
            return
        from safetensors import SafetensorError, safe_open

        problem = f"checkpoint: {str(self.file)!r}"
        try:
            with safe_open(self.file, "pt") as opened:
                facts = json.loads((opened.metadata() or {})["run"])
                nested = _nested({name: opened.get_tensor(name) for name in opened.keys()})  # noqa: SIM118
            if facts["format"] != FORMAT:
                raise InputError(f"{problem} is of another version of archrank; delete it")
            if facts["mark"] != self.mark:
                raise InputError(
                    f"{problem} is of another training (other data, weights or settings); delete "
                    "it or name another file"
                )
            self._restore(nested, facts)
        except (ValueError, KeyError, TypeError, RuntimeError, OSError, SafetensorError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"{problem} is damaged ({error}); delete it") from error

    def _restore(self, nested: dict[str, dict[str, Tensor]], facts: dict[str, Any]) -> None:
        self.module.load_state_dict(nested.get("module", {}))
        self.best = {k: v.to(self.plan.device) for k, v in nested.get("best", {}).items()}
        states: dict[int, dict[str, Tensor]] = {}
        for name, tensor in nested.get("optimiser", {}).items():
            index, _, part = name.partition(".")
            states.setdefault(int(index), {})[part] = tensor
        self.optimiser.load_state_dict({**self.optimiser.state_dict(), "state": states})
        self.history = [Epoch(**epoch) for epoch in facts["history"]]
        self.step, self.total = facts["step"], facts["total"]
        self.best_epoch = facts["best_epoch"]


def _flat(nested: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    """Tensors with the path to each, joined by dots."""
    for name, value in nested.items():
        if isinstance(value, Tensor):
            yield prefix + name, value
        else:
            yield from _flat(value, f"{prefix}{name}.")


def _nested(tensors: dict[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """Tensors by the first part of their path, then by the rest of it."""
    result: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        first, _, rest = name.partition(".")
        result.setdefault(first, {})[rest] = tensor
    return result


def _split(count: int, plan: Plan) -> tuple[list[int], list[int]]:
    """Positions to learn from, and those held out."""
    held = round(count * plan.validation)
    held = held if held > 1 else 0  # one label has no order
    order = np.arange(count)
    if plan.holdout == "random":
        order = _generator(plan.seed).permutation(count)
    return sorted(order[: count - held].tolist()), sorted(order[count - held :].tolist())


def _chunks(items: list[int], size: int) -> list[list[int]]:
    return [items[start : start + size] for start in range(0, len(items), size)]


def _seed(*parts: int) -> int:
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0])


def _generator(*parts: int) -> np.random.Generator:
    return np.random.default_rng(parts)


@contextmanager
def _own_random_state(device: str) -> Iterator[None]:
    kind = torch.device(device)
    if kind.type == "cuda" and kind.index is None:
        kind = torch.device("cuda", torch.cuda.current_device())
    with torch.random.fork_rng(devices=[kind.index] if kind.type == "cuda" else []):
        yield


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """torch's generator seeded within, as it was afterwards; for initial weights.

    Example:
        >>> with seeded(0):
        ...     first = torch.rand(1)
        >>> with seeded(0):
        ...     bool(torch.rand(1) == first)
        True
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
