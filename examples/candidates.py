"""Sixteen small networks for 32x32 colour images and 10 classes, of sixteen different designs.

    archrank rank examples/candidates.py

They are ordinary PyTorch models: archrank only needs a forward pass that runs. Every public
function without arguments is one candidate, and ``INPUT`` is the input shape of all.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

INPUT = (3, 32, 32)
CLASSES = 10


# --- shared parts ---------------------------------------------------------------------------------


def _conv_norm(
    source: int, target: int, kernel: int = 3, stride: int = 1, groups: int = 1
) -> nn.Sequential:
    """Build a convolution and batch norm."""
    convolution = nn.Conv2d(source, target, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(target))


def _conv_relu(
    source: int, target: int, kernel: int = 3, stride: int = 1, groups: int = 1
) -> nn.Sequential:
    """Convolution, batch norm and ReLU."""
    return _conv_norm(source, target, kernel, stride, groups).append(nn.ReLU())


def _norm_relu_conv(source: int, target: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """Build batch norm, ReLU and convolution."""
    convolution = nn.Conv2d(source, target, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(nn.BatchNorm2d(source), nn.ReLU(), convolution)


def _head(width: int) -> nn.Sequential:
    """Global average pooling and a linear classifier."""
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, CLASSES))


def _mlp(width: int, hidden: int) -> nn.Sequential:
    """Build two linear layers with GELU between."""
    return nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))


class _Residual(nn.Module):
    """``after(shortcut(x) + body(x))``; the shortcut is the identity by default."""

    def __init__(
        self, body: nn.Module, shortcut: nn.Module | None = None, after: nn.Module | None = None
    ):
        super().__init__()
        self.body = body
        self.shortcut = shortcut or nn.Identity()
        self.after = after or nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.after(self.shortcut(x) + self.body(x))


class _Patches(nn.Module):
    """Patches of an image as a sequence of tokens, (N, tokens, width)."""

    def __init__(self, width: int, size: int):
        super().__init__()
        self.projection = nn.Conv2d(3, width, size, size)

    def forward(self, x: Tensor) -> Tensor:
        return self.projection(x).flatten(2).transpose(1, 2)


class _Attention(nn.Module):
    """Multi-head self-attention over tokens (N, tokens, width)."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


def _transformer_block(width: int, heads: int) -> nn.Sequential:
    """Pre-norm attention, then a pre-norm MLP, both residual."""
    attention = nn.Sequential(nn.LayerNorm(width), _Attention(width, heads))
    mlp = nn.Sequential(nn.LayerNorm(width), _mlp(width, 2 * width))
    return nn.Sequential(_Residual(attention), _Residual(mlp))


class _TokenHead(nn.Module):
    """Norm, mean over tokens and a linear classifier."""

    def __init__(self, width: int):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.classifier = nn.Linear(width, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.norm(x).mean(dim=1))


# --- plain and residual convolutions --------------------------------------------------------------


def vgg() -> nn.Module:
    """Build a plain stack of 3x3 convolutions (Simonyan and Zisserman, 2015), with batch norm."""
    layers: list[nn.Module] = []
    source = 3
    for width in (24, 48, 96):
        layers += [_conv_relu(source, width), _conv_relu(width, width), nn.MaxPool2d(2)]
        source = width
    return nn.Sequential(*layers, _head(source))


def lenet() -> nn.Module:
    """LeNet-5 (LeCun et al., 1998), with ReLU."""
    return nn.Sequential(
        *(nn.Conv2d(3, 6, 5), nn.ReLU(), nn.AvgPool2d(2)),
        *(nn.Conv2d(6, 16, 5), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten()),
        *(nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU()),
        nn.Linear(84, CLASSES),
    )


def _basic_block(source: int, target: int, stride: int) -> nn.Module:
    body = nn.Sequential(_conv_relu(source, target, stride=stride), _conv_norm(target, target))
    same = source == target and stride == 1
    return _Residual(body, None if same else _conv_norm(source, target, 1, stride), nn.ReLU())


def resnet20() -> nn.Module:
    """ResNet-20 for CIFAR (He et al., 2016), with projection shortcuts."""
    layers: list[nn.Module] = [_conv_relu(3, 16)]
    source = 16
    for stage, width in enumerate((16, 32, 64)):
        for block in range(3):
            layers.append(_basic_block(source, width, stride=2 if stage and not block else 1))
            source = width
    return nn.Sequential(*layers, _head(source))


def _preactivation_block(source: int, target: int, stride: int) -> nn.Module:
    body = nn.Sequential(
        _norm_relu_conv(source, target, stride=stride), _norm_relu_conv(target, target)
    )
    same = source == target and stride == 1
    return _Residual(body, None if same else nn.Conv2d(source, target, 1, stride, bias=False))


def _preactivation_resnet(widths: tuple[int, ...], blocks: int) -> nn.Module:
    source = 16
    layers: list[nn.Module] = [nn.Conv2d(3, source, 3, padding=1, bias=False)]
    for stage, width in enumerate(widths):
        for block in range(blocks):
            stride = 2 if stage and not block else 1
            layers.append(_preactivation_block(source, width, stride))
            source = width
    return nn.Sequential(*layers, nn.BatchNorm2d(source), nn.ReLU(), _head(source))


def preactivation_resnet() -> nn.Module:
    """Build a deep and thin pre-activation ResNet (He et al., 2016b)."""
    return _preactivation_resnet((8, 16, 32), blocks=6)


def wide_resnet() -> nn.Module:
    """Build a shallow and wide pre-activation ResNet (Zagoruyko and Komodakis, 2016)."""
    return _preactivation_resnet((24, 48, 96), blocks=1)


# --- dense, parallel and grouped convolutions -----------------------------------------------------


class _DenseLayer(nn.Module):
    """Appends ``growth`` channels to its input."""

    def __init__(self, source: int, growth: int):
        super().__init__()
        self.body = nn.Sequential(
            _norm_relu_conv(source, 4 * growth, 1), _norm_relu_conv(4 * growth, growth)
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.body(x)], dim=1)


def densenet() -> nn.Module:
    """DenseNet-BC (Huang et al., 2017): each layer reads all before it."""
    growth, width = 8, 16
    layers: list[nn.Module] = [nn.Conv2d(3, width, 3, padding=1, bias=False)]
    for stage in range(3):
        if stage:
            layers += [_norm_relu_conv(width, width // 2, 1), nn.AvgPool2d(2)]
            width //= 2
        for _ in range(5):
            layers.append(_DenseLayer(width, growth))
            width += growth
    return nn.Sequential(*layers, nn.BatchNorm2d(width), nn.ReLU(), _head(width))


class _Inception(nn.Module):
    """Four parallel branches, each a quarter of the output's channels."""

    def __init__(self, source: int, target: int):
        super().__init__()
        quarter = target // 4
        self.branches = nn.ModuleList(
            [
                _conv_relu(source, quarter, 1),
                nn.Sequential(_conv_relu(source, quarter, 1), _conv_relu(quarter, quarter, 3)),
                nn.Sequential(_conv_relu(source, quarter, 1), _conv_relu(quarter, quarter, 5)),
                nn.Sequential(nn.MaxPool2d(3, 1, 1), _conv_relu(source, quarter, 1)),
            ]
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([branch(x) for branch in self.branches], dim=1)


def inception() -> nn.Module:
    """Build parallel kernels of several sizes, concatenated (Szegedy et al., 2015)."""
    return nn.Sequential(
        *(_conv_relu(3, 32), nn.MaxPool2d(2), _Inception(32, 64), _Inception(64, 128)),
        *(nn.MaxPool2d(2), _Inception(128, 128), _Inception(128, 192), _head(192)),
    )


class _SqueezeExcite(nn.Module):
    """Scales channels by a gate computed from their means (Hu et al., 2018)."""

    def __init__(self, width: int, reduction: int = 4):
        super().__init__()
        hidden = width // reduction
        self.gate = nn.Sequential(
            *(nn.AdaptiveAvgPool2d(1), nn.Conv2d(width, hidden, 1), nn.ReLU()),
            *(nn.Conv2d(hidden, width, 1), nn.Sigmoid()),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate(x)


def _resnext_block(source: int, target: int, stride: int) -> nn.Module:
    hidden = target // 2
    body = nn.Sequential(
        _conv_relu(source, hidden, 1),
        _conv_relu(hidden, hidden, 3, stride, groups=8),
        _conv_norm(hidden, target, 1),
        _SqueezeExcite(target),
    )
    same = source == target and stride == 1
    return _Residual(body, None if same else _conv_norm(source, target, 1, stride), nn.ReLU())


def se_resnext() -> nn.Module:
    """Build grouped bottlenecks (Xie et al., 2017) with squeeze-and-excitation."""
    layers: list[nn.Module] = [_conv_relu(3, 32)]
    source = 32
    for width, stride in ((64, 2), (64, 1), (128, 2), (128, 1), (256, 2)):
        layers.append(_resnext_block(source, width, stride))
        source = width
    return nn.Sequential(*layers, _head(source))


# --- depthwise convolutions -----------------------------------------------------------------------


def _inverted_residual(source: int, target: int, stride: int, expansion: int) -> nn.Module:
    hidden = expansion * source
    body = nn.Sequential(
        *(_conv_norm(source, hidden, 1), nn.ReLU6()),
        *(_conv_norm(hidden, hidden, 3, stride, groups=hidden), nn.ReLU6()),
        _conv_norm(hidden, target, 1),
    )
    return _Residual(body) if source == target and stride == 1 else body


def mobilenet_v2() -> nn.Module:
    """Build inverted residuals with linear bottlenecks (Sandler et al., 2018)."""
    layers: list[nn.Module] = [_conv_norm(3, 16), nn.ReLU6()]
    source = 16
    for width, stride in ((16, 1), (24, 2), (24, 1), (32, 2), (32, 1), (48, 1)):
        layers.append(_inverted_residual(source, width, stride, expansion=4))
        source = width
    return nn.Sequential(*layers, _conv_norm(source, 160, 1), nn.ReLU6(), _head(160))


class _ShuffleUnit(nn.Module):
    """Works on half of the channels, then interleaves both halves."""

    def __init__(self, source: int, target: int, stride: int):
        super().__init__()
        self.stride = stride
        half = target // 2
        entry = source if stride == 2 else half
        self.main = nn.Sequential(
            _conv_relu(entry, half, 1),
            _conv_norm(half, half, 3, stride, groups=half),
            _conv_relu(half, half, 1),
        )
        self.side = nn.Identity()
        if stride == 2:
            self.side = nn.Sequential(
                _conv_norm(source, source, 3, 2, groups=source), _conv_relu(source, half, 1)
            )

    def forward(self, x: Tensor) -> Tensor:
        kept, worked = (x, x) if self.stride == 2 else x.chunk(2, dim=1)
        both = torch.stack([self.side(kept), self.main(worked)], dim=2)
        return both.flatten(1, 2)


def shufflenet_v2() -> nn.Module:
    """Build a network with channel split and channel shuffle (Ma et al., 2018)."""
    layers: list[nn.Module] = [_conv_relu(3, 24)]
    source = 24
    for width in (64, 128, 256):
        layers += [_ShuffleUnit(source, width, 2), _ShuffleUnit(width, width, 1)]
        layers.append(_ShuffleUnit(width, width, 1))
        source = width
    return nn.Sequential(*layers, _head(source))


class _ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of an image."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def _convnext_block(width: int) -> nn.Module:
    depthwise = nn.Conv2d(width, width, 7, padding=3, groups=width)
    widen, narrow = nn.Conv2d(width, 4 * width, 1), nn.Conv2d(4 * width, width, 1)
    return _Residual(nn.Sequential(depthwise, _ChannelNorm(width), widen, nn.GELU(), narrow))


def convnext() -> nn.Module:
    """Build depthwise 7x7 convolutions with layer norm and GELU (Liu et al., 2022)."""
    layers: list[nn.Module] = [nn.Conv2d(3, 40, 2, 2), _ChannelNorm(40)]
    for width in (40, 80, 160):
        if width > 40:
            layers += [_ChannelNorm(width // 2), nn.Conv2d(width // 2, width, 2, 2)]
        layers += [_convnext_block(width), _convnext_block(width)]
    return nn.Sequential(*layers, _ChannelNorm(160), _head(160))


# --- tokens ---------------------------------------------------------------------------------------


class _Positions(nn.Module):
    """Adds a learned vector to each token."""

    def __init__(self, tokens: int, width: int):
        super().__init__()
        self.table = nn.Parameter(0.02 * torch.randn(1, tokens, width))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.table


def vit() -> nn.Module:
    """Build a small vision transformer (Dosovitskiy et al., 2021) on 4x4 patches."""
    blocks = (_transformer_block(96, heads=4) for _ in range(5))
    return nn.Sequential(_Patches(96, 4), _Positions(64, 96), *blocks, _TokenHead(96))


class _MixerBlock(nn.Module):
    """An MLP across tokens, then one across channels, both residual."""

    def __init__(self, tokens: int, width: int):
        super().__init__()
        self.token_norm, self.token_mlp = nn.LayerNorm(width), _mlp(tokens, tokens)
        self.channel_norm, self.channel_mlp = nn.LayerNorm(width), _mlp(width, 2 * width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.token_mlp(self.token_norm(x).transpose(1, 2)).transpose(1, 2)
        return x + self.channel_mlp(self.channel_norm(x))


def mlp_mixer() -> nn.Module:
    """MLP-Mixer (Tolstikhin et al., 2021) on 4x4 patches."""
    blocks = (_MixerBlock(64, 96) for _ in range(6))
    return nn.Sequential(_Patches(96, 4), *blocks, _TokenHead(96))


class _ToTokens(nn.Module):
    """Positions of a feature map as tokens, (N, H * W, channels)."""

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(2).transpose(1, 2)


def conv_attention_hybrid() -> nn.Module:
    """Build convolutions below, attention above (as CoAtNet, Dai et al., 2021)."""
    return nn.Sequential(
        *(_conv_relu(3, 24), _basic_block(24, 48, 2), _basic_block(48, 96, 2), _ToTokens()),
        *(_Positions(64, 96), _transformer_block(96, 4), _transformer_block(96, 4)),
        _TokenHead(96),
    )


# --- a searched cell and a recurrent network ------------------------------------------------------


class _Cell(nn.Module):
    """A cell of NAS-Bench-201: four feature maps, an operator on each of six edges."""

    EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))

    def __init__(self, width: int, operators: tuple[str, ...]):
        super().__init__()
        make = {
            "skip": nn.Identity,
            "pool": lambda: nn.AvgPool2d(3, 1, 1),
            "conv1": lambda: nn.Sequential(nn.ReLU(), _conv_norm(width, width, 1)),
            "conv3": lambda: nn.Sequential(nn.ReLU(), _conv_norm(width, width, 3)),
        }
        self.operators = nn.ModuleList(make[operator]() for operator in operators)

    def forward(self, x: Tensor) -> Tensor:
        maps: list[Tensor] = [x]
        for target in (1, 2, 3):
            into = zip(self.EDGES, self.operators, strict=True)
            maps.append(sum(op(maps[start]) for (start, end), op in into if end == target))
        return maps[-1]


def nas_bench_201() -> nn.Module:
    """Build the skeleton of NAS-Bench-201 (Dong and Yang, 2020), two cells per stage."""
    operators = ("conv3", "skip", "conv3", "skip", "conv1", "pool")
    layers: list[nn.Module] = [_conv_norm(3, 16)]
    for width in (16, 32, 64):
        if width > 16:
            body = nn.Sequential(
                *(nn.ReLU(), _conv_norm(width // 2, width, stride=2)),
                *(nn.ReLU(), _conv_norm(width, width)),
            )
            shortcut = nn.Sequential(nn.AvgPool2d(2), nn.Conv2d(width // 2, width, 1, bias=False))
            layers.append(_Residual(body, shortcut))
        layers += [_Cell(width, operators) for _ in range(2)]
    return nn.Sequential(*layers, nn.BatchNorm2d(64), nn.ReLU(), _head(64))


class _RowReader(nn.Module):
    """Reads an image row by row, then classifies what it remembers."""

    def __init__(self, width: int):
        super().__init__()
        self.embed = nn.Sequential(nn.Linear(3 * 32, width), nn.ReLU())
        self.lstm = nn.LSTM(width, width, num_layers=2, batch_first=True)
        self.classifier = nn.Linear(width, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        rows = x.transpose(1, 2).flatten(2)  # (N, 32, 96)
        remembered, _ = self.lstm(self.embed(rows))
        return self.classifier(remembered[:, -1])


def row_lstm() -> nn.Module:
    """Build a two-layer LSTM (Hochreiter and Schmidhuber, 1997) over the rows of the image."""
    return _RowReader(128)
