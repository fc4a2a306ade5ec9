"""The pass that watches attention: which tokens it looks at, and how the loss feels that."""

from __future__ import annotations

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from ..errors import ScoreError
from .attempts import Recorded, attempt
from .subject import Subject, WithoutDropout
from .taps import AttentionWatch

_MAKES_MAPS = frozenset({"attention", "softmax"})


def record_attention(subject: Subject, wanted: frozenset[str]) -> Recorded:
    """One forward and backward of the batch with unfused attention."""
    recorded: Recorded = {}
    with attempt(recorded, *wanted):
        if not _MAKES_MAPS.intersection(subject.graph.operators):
            raise ScoreError("the model has no attention")
        batch = subject.batches[0]
        watch = AttentionWatch(len(batch))
        with (
            subject.substituted() as leaves,
            # Fused attention hides its maps; a backward in another thread hides from the watch.
            sdpa_kernel(SDPBackend.MATH),
            torch.autograd.set_multithreading_enabled(False),
            WithoutDropout(),
            watch,
        ):
            loss = subject.batch_loss(subject.run(batch), batch)
            torch.autograd.grad(loss, [*leaves.values()], allow_unused=True)
        recorded["attention"] = watch.result()
    return recorded
