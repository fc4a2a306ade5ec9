"""One model under measurement: its data, its loss, and how it is run without leaving a trace."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...errors import NotApplicable, ScoreError
from ...graphs import Graph
from ...graphs.inputs.models import float_type
from ...graphs.inputs.tensors import tensors_in
from ...graphs.module_path import ModulePath
from ...graphs.operators import NORMS
from ...graphs.randomness import Own, own_generators, seeded
from ...graphs.side_effects import kept, rewinding, uncompiled
from .attempts import failed_forward
from .batches import Batch, as_real, in_precision, rows_of
from .differentiation import own_functions, without_checkpoints
from .modes import WithoutDropout, WithoutNorm, attention_in_steps
from .objective import (
    Loss,
    class_targets,
    given_loss,
    lists_samples,
    main_of_entries,
    main_tensor,
    output_depths,
)
from .precision.cancellation import Cancellation
from .precision.casts import InPrecision
from .samples.arrangements import arrangements
from .samples.layout import independent
from .samples.survey import Layouts, moves_rows, picks_rows, rows_first, survey
from .weights.effective import (
    AppliedWeights,
    EffectiveWeightFinder,
    EffectiveWeights,
    Replaced,
    applied_directly,
)
from .weights.hidden import refuse_computed
from .weights.parameters import (
    SpecialWeights,
    applied,
    distance_weights,
    multiplied_together,
    named_parameters,
    refuse_hidden_weights,
    refuse_replaced,
    scales_by_hand,
)
from .weights.stand_ins import Change, Place, copies_of_others, stand_ins


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
        drew: whether a forward has drawn random numbers so far.
        quiet: modules that run in evaluation in any mode, since they are random in training.
    """

    model: nn.Module
    graph: Graph
    batches: list[Batch]
    loss: Loss | None
    seed: int
    dtype: torch.dtype
    mode: str = "train"
    drew: bool = field(default=False, init=False)
    quiet: set[nn.Module] | None = field(default=None, init=False)
    _effective: dict[str, EffectiveWeights] = field(default_factory=dict, repr=False)
    _separable: dict[str, bool] = field(default_factory=dict, repr=False)
    _layouts: dict[str, Layouts] = field(default_factory=dict, repr=False)
    _own: torch.dtype = field(init=False, repr=False)
    _running: torch.dtype | None = field(default=None, init=False, repr=False)
    _places: list[Place] = field(default_factory=list, init=False, repr=False)
    _learnt: dict[str, Tensor] = field(default_factory=dict, init=False, repr=False)
    _rewind: Callable[[], None] | None = field(default=None, init=False, repr=False)
    _samples: int = field(default=1, init=False, repr=False)
    _listed: bool = field(default=False, init=False, repr=False)
    _replaced: Replaced | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        self._own = float_type(self.model)

    @cached_property
    def _generators(self) -> list[Own]:
        return own_generators(self.model)

    @property
    def weight_names(self) -> list[str]:
        """The weights that layers apply, in model order.

        These are parameters of two or more dimensions; of several that are made into one weight,
        the one that stands for it.
        """
        effective = self.effective()
        return [
            name
            for name, parameter in named_parameters(self.model)
            if name in effective.values
            or (name in self._applied and name not in effective.sources and parameter.dim() > 1)
        ]

    @cached_property
    def special(self) -> SpecialWeights:
        """The weights that are no matrix of a layer."""
        return SpecialWeights.of(self.graph, self.model)

    @cached_property
    def _applied(self) -> set[str]:
        """The parameters that layers apply, to whichever samples."""
        found = {name for _, name in applied(self.graph)} | self.effective().modulated
        certain = self.special.certain | distance_weights(self.graph)
        doubtful = multiplied_together(self.graph, dict(self.model.named_parameters()))
        if self.graph.exact and not doubtful:
            return found | certain
        # The graph is that of one sample, which may not reach all experts or branches.
        with self.substituted(gradients=False, names=()):
            noted = AppliedWeights(*self._origins())
            with noted:
                for batch in self.batches:
                    self.run(batch)
        return (found - doubtful) | noted.names | certain

    def effective(self) -> EffectiveWeights:
        """Return the weights that layers compute from parameters; found once in each mode."""
        if self.mode not in self._effective:
            direct = self.graph.exact and applied_directly(self.model, self.graph)
            self._effective[self.mode] = EffectiveWeights() if direct else self._found_weights()
        return self._effective[self.mode]

    def _found_weights(self) -> EffectiveWeights:
        """Run the network on few samples, since weights depend on no data; what runs may do so."""
        batches = [self.some(2)] if self.graph.exact else self.batches
        given: dict[str, Tensor] = dict(self.model.named_parameters())
        learnt = [name for name, parameter in given.items() if parameter.requires_grad]
        with self.substituted(names=learnt):
            finder = EffectiveWeightFinder(given, *self._origins())
            with WithoutNorm(), finder:  # norms that cannot stand so few are left out
                for batch in batches:
                    self.run(batch)
                if finder.repeats and self.graph.exact:  # maybe for each sample
                    self.run(self.some(3))
        return finder.result()

    @property
    def separable(self) -> bool:
        """Whether a sample can be run alone; the nodes of a graph cannot, for its edges."""
        known = self._separable
        if self.mode not in known:
            batch = self.batches[0]
            # Of a dictionary values say where samples lie; its graph may be that of the whole.
            plain = not batch.kwargs and [t.layout for t in batch.tensors] == [torch.strided]
            plain = plain and batch.entries == 0
            known[self.mode] = plain or self._runs_alone(batch)
            if not known[self.mode]:
                self._mark(together=True, outputs=self._outputs())
        return known[self.mode]

    def _runs_alone(self, batch: Batch) -> bool:
        """Return whether a sample runs alone; arrange the batches as samples lie in them."""
        runs = False
        with self.substituted(gradients=False, names=()), WithoutNorm():
            together = self._main_or_none(batch)
            several = together is not None and together.dim() > 2
            for by_step in (False, True) if several else (False,):
                outputs = 0 if together is None or together.dim() == 0 else together.shape[by_step]
                for one in arrangements(batch, outputs):
                    last = len(one) - 1
                    if one.listed:
                        together = self._main_or_none(one)
                    alone = self._main_or_none(one.rows(last, last + 1))
                    if alone is None or (by_step and not one.second):
                        continue
                    runs = runs or not (one.second or one.listed)
                    pair = [
                        t.transpose(0, int(by_step)) for t in (together, alone) if t is not None
                    ]
                    if len(pair) == 2 and independent(pair[0], pair[1], len(one), last):
                        self._arrange(one, by_step)
                        return True
        return runs

    def _arrange(self, as_one: Batch, by_step: bool) -> None:
        batches = [(as_one.listed and b.stacked()) or b for b in self.batches]
        moved = [b.arranged(as_one.second, as_one.whole, as_one.place) for b in batches]
        self.batches[:] = [replace(batch, by_step=by_step) for batch in moved]

    def _main_or_none(self, batch: Batch) -> Tensor | None:
        try:
            return self.main_output(self.run(batch)).detach()
        except Exception:  # whatever a forward may raise
            return None

    def _outputs(self) -> int | None:
        """Return the rows of the main output, None if not the whole input was traced."""
        if self.batches[0].entries:
            return self.batches[0].entries
        if next((s[0] for s in self.graph.input_shapes if s), 0) != len(self.batches[0]):
            return None
        shapes = [node.out_shape for node in self.graph.nodes if node.operator == "output"]
        main = max(zip(output_depths(self.graph), shapes, strict=True), default=(0, ()))[1]
        return main[0] if main else None

    def _mark(self, **facts: Any) -> None:
        self.batches[:] = [replace(b, **facts) for b in self.batches]

    @property
    def first(self) -> Batch:
        """The first batch, which knows whether its samples go together."""
        assert self.separable or self.batches[0].together
        return self.batches[0]

    def some(self, count: int) -> Batch:
        """Return the first samples of the batch, or all of them if they go together."""
        return self.first.rows(0, count) if self.separable else self.first

    def layouts(self) -> Layouts:
        """Return where samples lie in what the network makes of them; found once in each mode."""
        if self.mode not in self._layouts:
            picks, moves = picks_rows(self.graph), moves_rows(self.graph)
            shown = rows_first(self.graph) and not (picks or self.effective().for_each)
            found = Layouts(shown=shown and self.separable, together=not self.separable)
            if not self.separable and self.batches[0].entries:
                found = Layouts(failed=True)
            if (moves or not shown) and self.separable:
                batch, size = self.first, len(self.first)
                # What fails for one sample is said by the passes that need it.
                found = Layouts(failed=True)
                with suppress(Exception), self.substituted(gradients=False):
                    seen = survey(lambda i, j: self.run(batch.rows(i, j)), size, picks, moves)
                    found = Layouts(shown=True) if shown and not seen.moved else seen
            self._layouts[self.mode] = found
        return self._layouts[self.mode]

    def _origins(self) -> tuple[dict[str, Tensor], list[Tensor], SpecialWeights]:
        """Return parameters by name, and buffers, as the model holds them now."""
        return dict(self.model.named_parameters()), list(self.model.buffers()), self.special

    @property
    def norm_scales(self) -> set[str]:
        """Scales of norms: the first parameter of each layer, and those of norms by hand."""
        norms = {
            node.parameters[0]
            for node in self.graph.nodes
            if node.operator in NORMS and node.parameters
        }
        norms |= scales_by_hand(self.graph)
        return norms.difference(self.weight_names)  # which a norm may standardise

    def require_weights(self) -> None:
        """Refuse a model without weights.

        Raises:
            ScoreError: it has none, or hides some.
        """
        refuse_hidden_weights(self.model)
        refuse_computed(self.effective().mapped)
        if not self.weight_names:
            raise NotApplicable(
                "the model has no weight of a convolution, linear or recurrent layer"
            )

    def weights(self) -> dict[str, Tensor]:
        """Return the weights themselves, detached, in the type in which the passes run.

        Raises:
            ScoreError: it has none.
        """
        self.require_weights()
        known = {**dict(self.model.named_parameters()), **self.effective().values}
        return {n: as_real(in_precision(known[n].detach(), self.dtype)) for n in self.weight_names}

    @contextmanager
    def substituted(
        self,
        gradients: bool = True,
        dtype: torch.dtype | None = None,
        change: Change | None = None,
        names: Iterable[str] | None = None,
    ) -> Iterator[dict[str, Tensor]]:
        """Run the model on stand-ins of its parameters and buffers; yield name -> leaf.

        Stand-ins are copies, for models to write to; those of very many parameters share memory
        with them unless ``dtype`` or ``change`` make new ones.
        Whatever happens inside, the model comes back as it was.

        Args:
            gradients: whether the leaves require gradients.
            dtype: floating type to run in; default the runner's.
            change: (name, parameter in that type) -> stand-in.
            names: parameters whose stand-ins are leaves; default the weights.
        """
        dtype = dtype or self.dtype
        folded = EffectiveWeights() if names is not None else self.effective()
        wanted = set(self.weight_names if names is None else names)
        replacing = stand_ins(self.model, folded, wanted, dtype, gradients, change)
        learnt = {name for name, p in self.model.named_parameters() if p.requires_grad}
        with ExitStack() as stack:
            stack.enter_context(_restored(self.model, copies_of_others(self.model, dtype)))
            stack.enter_context(without_checkpoints())
            stack.enter_context(own_functions())
            stack.enter_context(attention_in_steps())
            stack.enter_context(torch.inference_mode(False))
            stack.enter_context(uncompiled())
            moved = stack.enter_context(seeded(self.seed, self._generators))
            stack.callback(lambda: setattr(self, "drew", self.drew or moved()))
            stack.enter_context(torch.set_grad_enabled(gradients))
            for module in self.model.modules():
                if self.mode != "as given":
                    module.training = self.mode == "train"
                if self.quiet is not None and module in self.quiet:
                    module.training = False
            stack.callback(setattr, self, "_places", self._places)
            self._places = replacing.put_into(self.model)
            stack.callback(setattr, self, "_learnt", self._learnt)
            self._learnt = {n: p for n, p in self.model.named_parameters() if n in learnt}
            stack.callback(setattr, self, "_rewind", self._rewind)
            self._rewind = rewinding(self.model)
            stack.callback(setattr, self, "_running", self._running)
            self._running = None if dtype == self.dtype else dtype
            if folded.replace or (names is None and any(self.special)):
                stack.callback(setattr, self, "_replaced", self._replaced)
                self._replaced = Replaced(*self._origins(), replacing.leaves, folded)
            yield replacing.leaves

    def replaced(self) -> list[Tensor]:
        """Return what layers apply, inside ``substituted``, in place of what they compute."""
        return [] if self._replaced is None else self._replaced.applied_leaves

    def hush(self) -> bool:
        """Find the modules that are random in training; from now on they run in evaluation.

        Those are stochastic depth, dropped layers, patches and blocks, noise. Looked for once.

        Returns:
            Whether there are any, so that what was recorded must be recorded again.
        """
        if self.quiet is not None:
            return False
        self.quiet = set()
        while True:
            path = ModulePath(self.model)
            with (
                suppress(Exception),
                self.substituted(gradients=False),
                WithoutDropout(),
                path.tracked(watching=True),
            ):
                self.run(self.batches[0])
            if not path.drawing:
                if self.quiet:  # what was found by chance is found again
                    for found in (self._effective, self._separable, self._layouts):
                        found.clear()
                return bool(self.quiet)
            self.quiet |= path.drawing

    def run(self, batch: Batch) -> Any:
        """Run one forward and return the raw output.

        Buffers, and what the model holds, are as they were given, whatever forwards before it made
        of them, and the forward gets copies of its inputs, to which it may write.

        Raises:
            ScoreError: it fails; says in which module.
        """
        changed = self._running or (None if self._own == self.dtype else self.dtype)
        casts: Any = nullcontext()
        if changed is not None:
            batch, casts = batch.in_precision(changed), InPrecision(self._own, changed)
        self._samples = batch.samples
        if self._rewind is not None:
            self._rewind()
        for place in self._places:
            place.rewind()
        try:
            with (
                failed_forward(self.model),
                casts,
                self._replaced or nullcontext(),
                Cancellation(),
            ):
                args, kwargs = batch.copied().taken
                output = self.model(*args, **kwargs)
                refuse_replaced(self.model, self._learnt)
                return output
        except ScoreError as error:
            if changed is None or error.status != "error" or not _is_of_precision(error):
                raise
            raise ScoreError(f"it is computed in {changed}, for which {error}") from error

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
        """Return the tensor of the output that the classifier's loss is about, samples first."""
        self._listed = self._listed or lists_samples(output, self.graph, self._samples)
        if self._listed and isinstance(output, (list, tuple)):
            return main_of_entries(output, self.graph)
        found = main_tensor(output, self.graph, self._samples)
        return found.transpose(0, 1) if self.batches[0].by_step and found.dim() > 2 else found

    def real_output(self, output: Any) -> Tensor:
        """Return the main output, which must be of real numbers.

        Raises:
            NotApplicable: it is complex.
        """
        found = self.main_output(output)
        if found.is_complex():
            raise NotApplicable(
                f"the output is complex ({found.dtype}), so neither its sum nor cross-entropy has "
                "a gradient; let the model return real numbers, such as absolute values"
            )
        return found

    def batch_loss(self, output: Any, batch: Batch) -> Tensor:
        """Return the mean loss of a batch."""
        if self.loss is not None:
            return given_loss(self.loss, output, batch.targets)
        logits = self.real_output(output)
        return F.cross_entropy(logits, self.class_targets(logits, batch))

    def sum_of_losses(self, output: Any, batch: Batch) -> Tensor:
        """Return the sum of the losses of the samples, each as a batch of one."""
        if self.loss is None:
            logits = self.real_output(output)
            return F.cross_entropy(logits, self.class_targets(logits, batch), reduction="sum")
        size = batch.samples
        total = torch.zeros(())
        for i in range(size):
            row, target = (rows_of(v, i, i + 1, size) for v in (output, batch.targets))
            total = total + given_loss(self.loss, row, target)
        return total

    def class_targets(self, logits: Tensor, batch: Batch) -> Tensor:
        """Return the classes of a batch, drawn by the seed where none are given."""
        return class_targets(logits, batch.targets, self.seed)


def _is_of_precision(error: ScoreError) -> bool:
    """Return whether a forward failed for the type of its numbers, by the words of its error."""
    return re.search("dtype|precision|[Dd]ouble|[Ff]loat", str(error.__cause__)) is not None


@contextmanager
def _restored(model: nn.Module, copied: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Put back all that a forward or a pass changes in the model; no fused transformer layers."""
    refuse_hidden_weights(model)
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with kept(model, stand_in=copied):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)


def pass_dtype(model: nn.Module) -> torch.dtype:
    """Return the model's floating type, half precision promoted to float32."""
    found = float_type(model)
    return found if found in (torch.float32, torch.float64) else torch.float32
