"""Convolutions whose kernels depend on the sample: grouped over the batch, or one by one."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import archrank

OF_FEATURES = ("fisher", "near", "naswot", "swap", "meco", "in_train")


class Dynamic(nn.Module):
    """A dynamic convolution: each sample mixes kernels of its own."""

    def __init__(self, kind: str):
        super().__init__()
        torch.manual_seed(0)
        self.bank = nn.Parameter(torch.randn(2, 8, 3, 3, 3) * 0.2)
        self.router, self.head, self.kind = nn.Linear(3, 2), nn.Linear(8, 4), kind

    def forward(self, x: Tensor) -> Tensor:
        shares = self.router(x.mean((2, 3))).softmax(-1)
        kernels = torch.einsum("bk,koixy->boixy", shares, self.bank)
        if self.kind == "one by one":
            made = [F.conv2d(x[i : i + 1], kernels[i]) for i in range(len(x))]
            return self.head(torch.relu(torch.cat(made)).mean((2, 3)))
        together = x.reshape(1, -1, *x.shape[2:])
        y = F.conv2d(together, kernels.flatten(0, 1), groups=len(x))
        if self.kind == "rectified among channels":
            return self.head(torch.relu(y).view(len(x), 8, *y.shape[2:]).mean((2, 3)))
        return self.head(torch.relu(y.view(len(x), 8, *y.shape[2:])).mean((2, 3)))


@pytest.fixture(scope="module")
def scores() -> dict[str, archrank.proxies.Scores]:
    generator = torch.Generator().manual_seed(1)
    data = [(torch.randn(6, 3, 9, 9, generator=generator), torch.arange(6) % 4) for _ in range(2)]
    kinds = ("one by one", "grouped", "rectified among channels")
    return {kind: archrank.score(Dynamic(kind), data) for kind in kinds}


def test_grouped_over_the_batch_they_score_as_one_by_one(scores) -> None:
    expected, grouped = scores["one by one"], scores["grouped"]
    assert sum(result.status == "ok" for result in grouped.values()) > 40
    compared = [name for name in grouped if expected[name].status == "ok"]
    assert {"grad_norm", "snip", "gradsign", "synflow", "zico", "ntk_condition"} < {*compared}
    for name in compared:
        assert grouped[name].value == pytest.approx(expected[name].value, rel=1e-3), name


def test_a_rectifier_on_grouped_channels_reads_each_samples_own(scores) -> None:
    expected, rectified = scores["grouped"], scores["rectified among channels"]
    for name in OF_FEATURES:
        assert rectified[name].value == pytest.approx(expected[name].value, rel=1e-4), name


def test_features_of_one_by_one_are_refused(scores) -> None:
    for name in set(OF_FEATURES) - {"fisher"}:  # which runs the samples one by one
        assert scores["one by one"][name].status == "unsupported", name
        assert "on parts of the batch" in scores["one by one"][name].reason
