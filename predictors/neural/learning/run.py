"""A training in progress, and the checkpoint from which it can continue."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from hashlib import blake2b
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ....errors import InputError
from ....files import written_whole
from ....progress import tell_of_kept
from .plan import OPTIMISERS, Epoch, TrainingPlan
from .seeds import seed_of

FORMAT = 1

Objective = Callable[[list[int], int], Tensor]
"""Maps positions of items and an epoch to a loss."""


class Run:
    """A training in progress: its history, and the file from which it can continue."""

    def __init__(self, module: nn.Module, plan: TrainingPlan, identity: str, file: Path | None):
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
        """Return the number of finished epochs."""
        return len(self.history)

    def finished(self) -> bool:
        """Return whether all epochs are finished, or too many have passed since the best one."""
        if self.epoch >= self.plan.epochs:
            return True
        patience = self.plan.patience
        return patience is not None and bool(self.best) and self.epoch - self.best_epoch >= patience

    def advance(self, objective: Objective, cut: list[list[int]]) -> None:
        """Take one step of the optimiser."""
        torch.manual_seed(seed_of(self.plan.seed, self.epoch, self.step))
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
        """Record the result of the epoch, and its weights if it is the best so far."""
        mean = self.total / max(steps, 1)
        self.history.append(Epoch(self.epoch + 1, self.plan.epochs, mean, validation))
        self.step, self.total = 0, 0.0
        if validation is None:
            return
        before = self.history[self.best_epoch - 1].validation if self.best else None
        # Constant predictions have no tau (NaN), so any value is better.
        if before is None or math.isnan(before) or validation > before:
            self.best = {k: v.detach().clone() for k, v in self.module.state_dict().items()}
            self.best_epoch = self.epoch

    def finish(self) -> None:
        """Save the final state, then load the best weights."""
        self.save()
        if self.best:
            self.module.load_state_dict(self.best)
        self.module.eval()

    def save(self) -> None:
        """Write the checkpoint atomically: the file is always either the old or the new one."""
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
        with written_whole(self.file) as partial:
            save_file(tensors, partial, metadata={"run": json.dumps(facts)})
        self.saved = time.monotonic()

    def resume(self) -> None:
        """Continue from the checkpoint, if there is one."""
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
        tell_of_kept(self.file, self.epoch, self.plan.epochs, "epochs")


def digest(*parts: Any) -> str:
    """Return a hexadecimal digest of data, by the bytes of tensors and the ``repr`` of all else.

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


def _flat(nested: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    """Yield tensors with their paths, joined by dots."""
    for name, value in nested.items():
        if isinstance(value, Tensor):
            yield prefix + name, value
        else:
            yield from _flat(value, f"{prefix}{name}.")


def _nested(tensors: dict[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """Return tensors by the first part of their paths, then by the rest."""
    result: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        first, _, rest = name.partition(".")
        result.setdefault(first, {})[rest] = tensor
    return result
