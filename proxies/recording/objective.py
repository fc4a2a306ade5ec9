"""The objective: the main output, the classes, and the loss that the user gave."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ...errors import NotApplicable, ScoreError
from ...graphs import Graph
from ...graphs.inputs.tensors import tensors_in
from ...graphs.operators import CANONICAL
from .attempts import describe, kind_of, scalar

Loss = Callable[[Any, Any], Tensor]
"""(raw output, targets) -> loss."""


def main_tensor(output: Any, graph: Graph, samples: int) -> Tensor:
    """Return the tensor of the output that the loss of a classifier reads.

    This is ``logits`` or ``out`` of a mapping or an object that has one. Otherwise it is the output
    with the longest path in the graph, numbers and what is detached aside. Of (features, logits)
    and of (logits, auxiliary logits), these are the logits.

    Raises:
        ScoreError: there is no tensor of real or complex numbers.
    """
    if isinstance(output, Tensor):
        if not (output.is_floating_point() or output.is_complex()):
            raise NotApplicable(f"the output is of whole numbers ({output.dtype})")
        return output
    for key in ("logits", "out"):
        found = output.get(key) if isinstance(output, Mapping) else getattr(output, key, None)
        if isinstance(found, Tensor):
            return found
    tensors = [t for t in tensors_in(output) if t.is_floating_point()]
    if not tensors:
        raise ScoreError(f"the model returns {type(output).__name__} without any float tensor")
    depths = _depths_of(tensors, graph, samples)
    # A number beside others, such as an auxiliary loss, belongs to no class.
    sized = [i for i, tensor in enumerate(tensors) if tensor.dim() > 0]
    learnt = [i for i in sized if tensors[i].requires_grad]  # not what is detached beside it
    return tensors[max(learnt or sized or range(len(tensors)), key=lambda i: depths[i])]


def _depths_of(tensors: list[Tensor], graph: Graph, samples: int) -> list[int]:
    """Return the length of the longest path to each tensor, 0 to one that is not in the graph.

    The graph holds no constants, such as tables that a model returns beside its logits.
    """
    depths = output_depths(graph)
    if len(depths) == len(tensors):
        return depths
    shapes = (node.out_shape for node in graph.nodes if node.operator == "output")
    found = [0] * len(tensors)
    waiting = iter(range(len(tensors)))
    for depth, shape in zip(depths, shapes, strict=True):
        place = next((i for i in waiting if _is_of(tensors[i].shape, shape, samples)), None)
        if place is None:
            return [0] * len(tensors)
        found[place] = depth
    return found


def _is_of(shape: Sequence[int], of_one: Sequence[int], samples: int) -> bool:
    """Return whether a shape is that of one sample, grown with the samples."""
    if len(shape) != len(of_one):
        return False
    grown = [(size, one) for size, one in zip(shape, of_one, strict=True) if size != one]
    return len(grown) == (samples > 1) and all(size == samples * one for size, one in grown)


def lists_samples(output: Any, graph: Graph, samples: int) -> bool:
    """Return whether an output is a list with an entry for each sample, as detectors give.

    Args:
        output: of several samples.
        graph: of one sample.
        samples: how many there are.
    """
    if type(output) not in (list, tuple) or len(output) != samples or samples < 2:
        return False
    of_one = sum(node.operator == "output" for node in graph.nodes)
    if any(tensor.layout is not torch.strided for tensor in tensors_in(output)):
        return False  # a graph has no sparse tensors
    entries = [{id(tensor) for tensor in tensors_in(entry)} for entry in output]
    apart = len(set().union(*entries)) == len(output) * of_one  # not one tensor several times
    return apart and {len(entry) for entry in entries} == {of_one}


def main_of_entries(output: Any, graph: Graph) -> Tensor:
    """Return the main tensors of a list of samples' outputs as one, samples first.

    Raises:
        ScoreError: they are of several shapes.
    """
    found = [main_tensor(entry, graph, 1) for entry in output]
    if len({one.shape for one in found}) > 1:
        raise ScoreError(
            "the model returns a list with an output for each sample, and these differ in shape; "
            "only proxies of a loss= that reads them are defined"
        )
    return torch.stack(found)


def output_depths(graph: Graph) -> list[int]:
    """Return the length of the longest path to each output."""
    longest = [0] * len(graph)
    for source, target in graph.edges.tolist():
        longest[target] = max(longest[target], longest[source] + 1)
    output = CANONICAL.index("output")
    return [longest[i] for i, op in enumerate(graph.operator.tolist()) if op == output]


def class_targets(logits: Tensor, targets: Any, seed: int) -> Tensor:
    """Return classes (N,) or shares of classes (N, classes), drawn by the seed if none are given.

    Raises:
        ScoreError: the logits are not (N, classes), or the targets do not fit them.
    """
    if logits.dim() != 2:
        raise ScoreError(
            f"the default loss is cross-entropy on (N, classes), but the output has shape "
            f"{tuple(logits.shape)}; pass loss= (and targets=)"
        )
    count, classes = logits.shape
    if classes < 2:
        raise ScoreError(
            "cross-entropy over one class is constant; pass loss= (and targets=), e.g. "
            "torch.nn.functional.mse_loss"
        )
    if targets is None:
        generator = torch.Generator().manual_seed(seed)
        return torch.randint(classes, (count,), generator=generator).to(logits.device)
    if not isinstance(targets, Tensor) or len(targets) != count:
        raise ScoreError(
            f"targets: got {kind_of(targets)} for {count} outputs, expected one per sample"
        )
    if targets.is_floating_point() and targets.shape == logits.shape:
        return targets.to(logits.device)
    if targets.is_floating_point() or targets.dim() != 1:
        raise ScoreError(
            f"targets: got {kind_of(targets)} and {targets.dtype}, and cross-entropy takes a class "
            f"number for each sample, ({count},), or shares of classes, ({count}, {classes}), as "
            "real numbers; for other targets pass loss= (in the shell --loss)"
        )
    if int(targets.min()) < 0 or int(targets.max()) >= classes:
        raise ScoreError(
            f"targets: classes {int(targets.min())} to {int(targets.max())} do not fit "
            f"the model's {classes} outputs"
        )
    return targets.long().to(logits.device)  # the only whole numbers that cross-entropy takes


def given_loss(loss: Loss, output: Any, targets: Any) -> Tensor:
    """Return the user's loss.

    Raises:
        ScoreError: the loss raises an error, or is not a number.
    """
    try:
        value = loss(output, targets)
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # the user's own may raise anything
        given = f"an output that is {kind_of(output)}, targets that are {kind_of(targets)}"
        hint = "" if targets is not None else "; pass targets=, which were not given"
        raise ScoreError(
            f"loss: got {given} and raised {describe(error)}{hint}", "error"
        ) from error
    return scalar(value)
