"""Confidence of outputs against loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
from reference_network import data, network, ours


def test_softmax_confidence_by_loops() -> None:
    outputs = network().train()(data()[0]).detach().tolist()
    largest = []
    for row in outputs:
        powers = [math.exp(value) for value in row]
        largest.append(max(powers) / sum(powers))
    assert ours("softmax_confidence") == pytest.approx(np.mean(largest))
