"""Networks whose branches are fused after training, as RepVGG's, beside their fused twins.

Both are one function where the norms of the fused twin carry the statistics of the batch. Proxies
of the rectifiers and of the output are defined on the function, so their values are the same. Those
of weights, gradients and layers are not: training moves the weights of the branches.
"""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import archrank
from archrank.vision import import_vision

OF_THE_FUNCTION = ("naswot", "linear_regions", "swap", "softmax_confidence")
OF_THE_BRANCHES = ("l2_norm", "grad_norm", "gradsign", "near")


class Branches(nn.Module):
    """A 3x3 convolution, a 1x1 and an identity, each with its norm, and a rectifier of the sum."""

    def __init__(self, channels: int):
        super().__init__()
        self.wide = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.narrow = nn.Conv2d(channels, channels, 1, bias=False)
        self.norms = nn.ModuleList(nn.BatchNorm2d(channels) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        branches = (self.wide(x), self.narrow(x), x)
        return F.relu(sum(norm(b) for norm, b in zip(self.norms, branches, strict=True)))

    def fused(self) -> nn.Module:
        """Return one convolution and a rectifier, by the running statistics."""
        channels = self.wide.out_channels
        identity = torch.eye(channels).to(self.wide.weight)[..., None, None]
        kernels = (self.wide.weight, F.pad(self.narrow.weight, [1] * 4), F.pad(identity, [1] * 4))
        layer = nn.Conv2d(channels, channels, 3, padding=1).to(self.wide.weight)
        with torch.no_grad():
            layer.weight.zero_()
            layer.bias.zero_()
            for norm, kernel in zip(self.norms, kernels, strict=True):
                scale = norm.weight / (norm.running_var + norm.eps).sqrt()
                layer.weight += scale[:, None, None, None] * kernel
                layer.bias += norm.bias - scale * norm.running_mean
        return nn.Sequential(layer, nn.ReLU())


def calibrate(model: nn.Module, x: Tensor) -> None:
    """Give norms the batch's own statistics, as training mode uses them."""

    def keep(norm: nn.Module, inputs: tuple[Tensor]) -> None:
        variance, mean = torch.var_mean(inputs[0].detach(), (0, 2, 3), correction=0)
        norm.running_mean, norm.running_var = mean, variance

    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    handles = [norm.register_forward_pre_hook(keep) for norm in norms]
    model.eval()(x)
    for handle in handles:
        handle.remove()


def compared(model: nn.Module, fused: nn.Module, x: Tensor) -> None:
    assert torch.allclose(model.eval()(x), fused.eval()(x))
    targets = torch.arange(len(x)) % 4
    names = (*OF_THE_FUNCTION, *OF_THE_BRANCHES)
    one, other = (archrank.score(m.train(), x, targets, proxies=names) for m in (model, fused))
    for name in OF_THE_FUNCTION:
        assert one[name].value == pytest.approx(other[name].value, rel=1e-9), name
    for name in OF_THE_BRANCHES:
        assert {one[name].status, other[name].status} == {"ok"}
        assert one[name].value != pytest.approx(other[name].value, rel=1e-4), name


def test_branches_and_their_fused_twin() -> None:
    torch.manual_seed(0)
    x = torch.randn(5, 6, 9, 9, dtype=torch.float64)
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4))
    model = nn.Sequential(Branches(6), Branches(6), head).double()
    calibrate(model, x)
    fused = nn.Sequential(*(m.fused() for m in model[:2]), copy.deepcopy(head))
    compared(model, fused, x)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["repvgg_a0", "mobileone_s0", "fastvit_t8", "repghostnet_050"])
def test_timm_models_and_their_fused_twins(name: str) -> None:
    timm = pytest.importorskip("timm", reason="timm is not installed")
    model = import_vision("timm").create_model(name, num_classes=4).double()
    for module in model.modules():
        if type(module).__name__ == "DropPath":
            module.drop_prob = 0.0
        elif isinstance(module, nn.Dropout):
            module.p = 0.0
    x = torch.randn(4, 3, 64, 64, dtype=torch.float64)
    calibrate(model, x)
    compared(model, timm.utils.model.reparameterize_model(model), x)
