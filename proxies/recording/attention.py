"""The pass that watches attention: its maps of tokens, and the gradient of the loss by them."""

from __future__ import annotations

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from ...errors import NotApplicable
from ...graphs import Graph
from .attempts import Recorded, attempt
from .differentiation import gradients
from .model_runner import ModelRunner
from .modes import WithoutDropout
from .recorders.attention import AttentionRecorder


def attention_maps(graph: Graph) -> set[int]:
    """Return the nodes that make maps of tokens to tokens, alone or fused with their use."""
    return {
        node.index
        for node in graph.nodes
        if node.operator == "attention"
        or (node.operator == "softmax" and node.out_shape[-1:] == node.out_shape[-2:-1])
    }


def record_attention(runner: ModelRunner, wanted: frozenset[str]) -> Recorded:
    """Run one forward of the batch with unfused attention, and a backward if it is needed."""
    recorded: Recorded = {}
    backward = "attention_importances" in wanted
    with attempt(recorded, *wanted):
        if not attention_maps(runner.graph):
            raise NotApplicable("the model has no attention")
        batch = runner.first
        recorder = AttentionRecorder(runner.layouts().counted(batch.samples))
        with (
            runner.substituted(gradients=backward) as leaves,
            # Fused attention hides its maps; a backward in another thread hides from the recorder.
            sdpa_kernel(SDPBackend.MATH),
            torch.autograd.set_multithreading_enabled(False),
            WithoutDropout(),
            recorder,
        ):
            output = runner.run_soundly(batch)
            if "attention_confidences" in wanted:
                recorded["attention_confidences"] = recorder.confidences()
            if backward:
                with attempt(recorded, "attention_importances"):
                    loss = runner.batch_loss(output, batch)
                    gradients(loss, leaves)
                    recorded["attention_importances"] = recorder.importances()
    return recorded
