"""One model under measurement: its data, its loss, and how it is run without leaving a trace."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...errors import ScoreError
from ...graphs import Graph
from ...graphs.operators import CANONICAL, NORMS, WEIGHTED
from ...graphs.tracing import float_type, tensors_in
from .batches import Batch, rows_of

Loss = Callable[[Any, Any], Tensor]


@dataclass
class ModelRunner:
    """A model with everything that a pass needs to run it.

    Attributes:
        model: the module itself, never a copy; run it inside ``substituted`` only.
        graph: its graph.
        batches: one or more batches, on the model's device.
        loss: the user's loss on the raw output, or None for cross-entropy on the main output.
        seed: of everything random.
        dtype: floating type in which the passes run.
        mode: in which passes run: ``"train"``, ``"eval"`` or, as the modules are, ``"as given"``.
    """

    model: nn.Module
    graph: Graph
    batches: list[Batch]
    loss: Loss | None
    seed: int
    dtype: torch.dtype
    mode: str = "train"

    @property
    def weight_names(self) -> list[str]:
        """Parameters of two or more dimensions that a weighted operator applies, in model order."""
        wanted = WEIGHTED - {"embedding"}
        used: set[str] = set()
        for node in self.graph.nodes:
            if node.operator in wanted:
                used.update(node.parameters)
        return [n for n, p in self.model.named_parameters() if n in used and p.dim() > 1]

    @property
    def norm_scales(self) -> set[str]:
        """Scales of normalisation layers: the first parameter of each."""
        return {
            node.parameters[0]
            for node in self.graph.nodes
            if node.operator in NORMS and node.parameters
        }

    def require_weights(self) -> None:
        """Refuse a model without weights.

        Raises:
            ScoreError: it has none.
        """
        if not self.weight_names:
            raise ScoreError("the model has no weight of a convolution, linear or recurrent layer")

    def weights(self) -> dict[str, Tensor]:
        """Return the weights themselves, detached, in the type in which the passes run.

        Raises:
            ScoreError: it has none.
        """
        self.require_weights()
        parameters = dict(self.model.named_parameters())
        return {n: parameters[n].detach().to(self.dtype) for n in self.weight_names}

    @contextmanager
    def substituted(
        self,
        gradients: bool = True,
        dtype: torch.dtype | None = None,
        change: Callable[[str, Tensor], Tensor] | None = None,
        names: Iterable[str] | None = None,
    ) -> Iterator[dict[str, Tensor]]:
        """Run the model on stand-ins of its parameters and buffers; yield name -> leaf.

        Stand-ins of parameters share memory with the parameters unless ``dtype`` or ``change``
        make new ones; nothing may write to them. Buffers are copies, for batch norm to write to.
        Whatever happens inside, the model comes back as it was.

        Args:
            gradients: whether the leaves require gradients.
            dtype: floating type to run in; default the runner's.
            change: (name, parameter in that type) -> stand-in.
            names: parameters whose stand-ins are leaves; default the weights.
        """
        dtype = dtype or self.dtype
        wanted = set(self.weight_names if names is None else names)
        leaves: dict[str, Tensor] = {}
        stand_ins: dict[int, Tensor] = {}
        for name, parameter in self.model.named_parameters():
            stand_in = parameter.detach()
            if stand_in.is_floating_point():
                stand_in = stand_in.to(dtype)
            if change is not None:
                stand_in = change(name, stand_in)
            if stand_in.is_inference():
                stand_in = stand_in.clone()
            if name in wanted and stand_in.is_floating_point():
                leaves[name] = stand_in = stand_in.detach().requires_grad_(gradients)
            stand_ins[id(parameter)] = stand_in
        for buffer in self.model.buffers():
            copy = buffer.detach().clone()
            stand_ins[id(buffer)] = copy.to(dtype) if copy.is_floating_point() else copy
        with ExitStack() as stack:
            stack.enter_context(_kept(self.model))
            stack.enter_context(torch.inference_mode(False))
            stack.enter_context(torch.random.fork_rng(devices=self._cuda_devices()))
            torch.manual_seed(self.seed)
            stack.enter_context(torch.set_grad_enabled(gradients))
            stack.enter_context(torch.autocast("cpu", enabled=False))
            for module in self.model.modules():
                if self.mode != "as given":
                    module.training = self.mode == "train"
                tables: tuple[dict[str, Any], ...] = (module._parameters, module._buffers)
                for table in tables:
                    for name, tensor in table.items():
                        if tensor is not None:
                            table[name] = stand_ins[id(tensor)]
            yield leaves

    def run(self, batch: Batch) -> Any:
        """Run one forward and return the raw output."""
        return self.model(*batch.args, **batch.kwargs)

    def run_soundly(self, batch: Batch) -> Any:
        """Run one forward and return the raw output, which must hold numbers.

        Raises:
            ScoreError: it holds NaN, from which some proxies would make a number nevertheless.
        """
        output = self.run(batch)
        for tensor in tensors_in(output):
            if tensor.is_floating_point() and bool(torch.isnan(tensor).any()):
                raise ScoreError("the output is not a number", "non-finite")
        return output

    def main_output(self, output: Any) -> Tensor:
        """Return the tensor of the output that the classifier's loss is about.

        A mapping's (or object's) ``logits`` or ``out`` if it has one; else the output with the
        longest path behind it in the graph: of (features, logits) or (logits, auxiliary logits)
        that is the logits.
        """
        if isinstance(output, Tensor):
            return output
        for key in ("logits", "out"):
            found = output.get(key) if isinstance(output, Mapping) else getattr(output, key, None)
            if isinstance(found, Tensor):
                return found
        tensors = [t for t in tensors_in(output) if t.is_floating_point()]
        if not tensors:
            raise ScoreError(f"the model returns {type(output).__name__} without any float tensor")
        depths = self._output_depths()
        if len(depths) != len(tensors):
            return tensors[0]
        return tensors[depths.index(max(depths))]

    def _output_depths(self) -> list[int]:
        longest = [0] * len(self.graph)
        for source, target in self.graph.edges.tolist():
            longest[target] = max(longest[target], longest[source] + 1)
        output = CANONICAL.index("output")
        return [longest[i] for i, op in enumerate(self.graph.operator.tolist()) if op == output]

    def batch_loss(self, output: Any, batch: Batch) -> Tensor:
        """Return the mean loss of a batch."""
        if self.loss is not None:
            return _scalar(self.loss(output, batch.targets))
        logits = self.main_output(output)
        return F.cross_entropy(logits, self.class_targets(logits, batch))

    def sum_of_losses(self, output: Any, batch: Batch) -> Tensor:
        """Return the sum of the losses of the samples, each as a batch of one."""
        if self.loss is None:
            logits = self.main_output(output)
            return F.cross_entropy(logits, self.class_targets(logits, batch), reduction="sum")
        size = len(batch)
        total = torch.zeros(())
        for i in range(size):
            row, target = rows_of((output, batch.targets), i, i + 1, size)
            total = total + _scalar(self.loss(row, target))
        return total

    def class_targets(self, logits: Tensor, batch: Batch) -> Tensor:
        """Return the classes of a batch, drawn by the seed where none are given."""
        if logits.dim() != 2:
            raise ScoreError(
                f"the default loss is cross-entropy on (N, classes), but the output has shape "
                f"{tuple(logits.shape)}; pass loss= (and targets=)"
            )
        classes = logits.shape[1]
        if classes < 2:
            raise ScoreError(
                "cross-entropy over one class is constant; pass loss= (and targets=), e.g. "
                "torch.nn.functional.mse_loss"
            )
        if batch.targets is None:
            generator = torch.Generator().manual_seed(self.seed)
            targets = torch.randint(classes, (logits.shape[0],), generator=generator)
        else:
            targets = batch.targets
            if not isinstance(targets, Tensor) or len(targets) != len(logits):
                raise ScoreError(
                    f"targets: got {_describe(targets)} for {len(logits)} outputs, expected one "
                    "per sample"
                )
            if not targets.is_floating_point() and (
                int(targets.min()) < 0 or int(targets.max()) >= classes
            ):
                raise ScoreError(
                    f"targets: classes {int(targets.min())} to {int(targets.max())} do not fit "
                    f"the model's {classes} outputs"
                )
        return targets.to(logits.device)

    def _cuda_devices(self) -> list[torch.device]:
        return [d for d in {p.device for p in self.model.parameters()} if d.type == "cuda"]


def _scalar(loss: Any) -> Tensor:
    if not isinstance(loss, Tensor) or loss.numel() != 1:
        raise ScoreError(f"loss: returned {_describe(loss)}, expected a tensor of one number")
    return loss.reshape(())


def _describe(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)}"
    return type(value).__name__


@contextmanager
def _kept(model: nn.Module) -> Iterator[None]:
    """Remember modes, parameters and buffers of every module, and put them back."""
    kept: list[tuple[nn.Module, bool, tuple[Any, Any, Any]]] = []
    for module in model.modules():
        if isinstance(module, torch.jit.ScriptModule):
            raise ScoreError("TorchScript modules hide their weights; score the eager module")
        flat: dict[str, Any] = {
            name: module.__dict__[name]
            for name in ("_flat_weights", "_flat_weight_refs")  # nn.LSTM's own references
            if name in module.__dict__
        }
        tables = (dict(module._parameters), dict(module._buffers), flat)
        kept.append((module, module.training, tables))
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
        for module, training, (parameters, buffers, flat) in kept:
            module.training = training
            module._parameters.clear()
            module._parameters.update(parameters)
            module._buffers.clear()
            module._buffers.update(buffers)
            module.__dict__.update(flat)


def pass_dtype(model: nn.Module) -> torch.dtype:
    """Return the model's floating type, half precision promoted to float32."""
    found = float_type(model)
    return found if found in (torch.float32, torch.float64) else torch.float32
