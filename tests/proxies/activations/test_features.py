"""Proxies of features' moments against numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from reference_network import data, gradients, network, ours
from torch import Tensor, nn

import archrank


def features(net: nn.Module, images: Tensor) -> list[tuple[nn.Module, np.ndarray]]:
    """Return outputs of layers and rectifiers, channels last."""
    found = []
    for layer in net:
        if isinstance(layer, (nn.Conv2d, nn.ReLU, nn.Linear)):
            layer.register_forward_hook(lambda m, i, o: found.append((m, o.detach())))
    net.train()(images)
    return [(m, (o.movedim(1, -1) if o.dim() == 4 else o).numpy()) for m, o in found]


def test_near_by_singular_values() -> None:
    expected = 0.0
    for _, output in features(network(), data()[0]):
        rows = output.reshape(-1, output.shape[-1])
        s = np.linalg.svd(rows, compute_uv=False)
        p = s[s > 0] / s.sum()
        rank = np.exp(-(p * np.log(p)).sum())
        assert 1 <= rank <= output.shape[-1] + 1e-9
        expected += rank
    assert ours("near") == pytest.approx(expected, rel=1e-5)


def test_meco_with_numpy() -> None:
    expected = sampled = 0.0
    generator = torch.Generator().manual_seed(0)
    for _, output in features(network(), data()[0]):
        first = output[0].reshape(-1, output.shape[-1])
        if len(first) == 1:
            continue  # the linear layer's
        with np.errstate(invalid="ignore"):
            correlation = np.nan_to_num(np.corrcoef(first.T))
        expected += np.linalg.eigvalsh(correlation)[0]
        drawn = torch.randperm(len(correlation), generator=generator)[:3].numpy()
        part = correlation[np.ix_(drawn, drawn)]
        sampled += len(correlation) / 3 * np.linalg.eigvalsh(part)[0]
    assert ours("meco") == pytest.approx(expected, abs=1e-9)
    images, labels = data()
    names = ["meco_opt[n=3]", "meco_opt[n=1000]", "meco", "meco_opt[n=0]"]
    scores = archrank.score(network(), images, labels, proxies=names)
    assert scores["meco_opt[n=3]"].value == pytest.approx(sampled, abs=1e-9)
    assert scores["meco_opt[n=1000]"].value == pytest.approx(scores["meco"].value, abs=1e-9)
    assert "at least 1 channel" in scores["meco_opt[n=0]"].reason


def test_in_train_by_eigenvalues() -> None:
    expressed = 0.0
    for module, output in features(network(), data()[0]):
        if not isinstance(module, nn.ReLU):
            v = np.linalg.eigvalsh(np.cov(output.reshape(-1, output.shape[-1]).T, bias=True))
            expressed += np.log(v.sum() ** 2 / (v**2).sum())
    spread = 0.0
    for g in (g.numpy() for g in gradients(network(), *data())):
        spread += min(1.0, g.std(ddof=1) / np.abs(g).max())
    assert ours("in_train") == pytest.approx(expressed * (1 + spread) / np.log(4))
