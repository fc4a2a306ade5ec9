"""The passes over a network, each recording several signals at once.

A pass takes the model runner and the names of the signals that are needed. It returns name ->
signal, or name -> ``ScoreError`` for a signal that could not be recorded. If one pass fails, the
others still run.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .per_sample import record_per_sample
from .recording.attempts import Recorded, attempt
from .recording.attention import record_attention
from .recording.batch_pass import OF_FORWARD, OF_LOSS, OF_OUTPUT, record_batch
from .recording.blocks.views import record_blocks
from .recording.changed_weights import record_constant_outputs, record_perturbation
from .recording.flow.synaptic_flow import record_flow
from .recording.model_runner import ModelRunner
from .recording.reference_signals import (
    record_batch_gradients,
    record_coupled_kernel,
    record_given_blocks,
    record_given_perturbation,
    record_module_features,
    record_module_sizes,
    record_parameter_gradients,
    record_relus,
    record_second_saliencies,
)
from .recording.twins import record_twins


@dataclass(frozen=True)
class Pass:
    """A pass over the network: the signals that it can record, and the function that does so."""

    provides: frozenset[str]
    record: Callable[[ModelRunner, frozenset[str]], Recorded]


def record_weights(runner: ModelRunner, wanted: frozenset[str]) -> Recorded:
    """Return the graph and the weights; no forward is needed."""
    recorded: Recorded = {"graph": runner.graph}
    if "weights" in wanted:
        with attempt(recorded, "weights"):
            recorded["weights"] = runner.weights()
    return recorded


PASSES: tuple[Pass, ...] = (
    Pass(frozenset({"graph", "weights"}), record_weights),
    Pass(frozenset({*OF_FORWARD, *OF_OUTPUT, *OF_LOSS}), record_batch),
    Pass(frozenset({"flow", "flow_with_norm"}), record_flow),
    Pass(frozenset({"perturbation"}), record_perturbation),
    Pass(frozenset({"sign_sums", "gradient_entries", "gradient_kernel"}), record_per_sample),
    Pass(frozenset({"tangent_kernel"}), record_per_sample),
    Pass(frozenset({"attention_confidences", "attention_importances"}), record_attention),
    Pass(frozenset({"blocks"}), record_blocks),
    Pass(frozenset({"constant_outputs"}), record_constant_outputs),
    Pass(frozenset({"twins"}), record_twins),
    Pass(frozenset({"named_relu_kernel", "relu_kernel", "relu_patterns"}), record_relus),
    Pass(frozenset({"second_saliencies"}), record_second_saliencies),
    Pass(frozenset({"module_features"}), record_module_features),
    Pass(frozenset({"module_sizes"}), record_module_sizes),
    Pass(frozenset({"parameter_gradients"}), record_parameter_gradients),
    Pass(frozenset({"batch_gradients"}), record_batch_gradients),
    Pass(frozenset({"coupled_kernel"}), record_coupled_kernel),
    Pass(frozenset({"given_perturbation"}), record_given_perturbation),
    Pass(frozenset({"given_blocks"}), record_given_blocks),
)
