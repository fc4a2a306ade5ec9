# %% [markdown]
# # Rank my models
#
# This example ranks six networks before any of them is trained.

# %%
import torch
from torch import nn

import archrank


def network(width: int, depth: int, norm: bool) -> nn.Module:
    layers: list[nn.Module] = []
    channels = 3
    for step in range(depth):
        stride = 2 if step % 2 else 1
        layers += [nn.Conv2d(channels, width, 3, stride, padding=1), nn.ReLU()]
        if norm:
            layers.insert(-1, nn.BatchNorm2d(width))
        channels = width
    head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 10))
    return nn.Sequential(*layers, *head)


candidates = {
    f"{width} wide, {depth} deep{', norm' if norm else ''}": network(width, depth, norm)
    for width, depth, norm in [
        *((8, 3, False), (8, 3, True), (16, 3, True), (32, 2, True)),
        *((8, 6, True), (16, 6, False)),
    ]
}

# %% [markdown]
# It is best to use your own data: two batches of images and their classes, or a `DataLoader`.
# Here the data are random.

# %%
torch.manual_seed(0)
batches = [(torch.randn(32, 3, 16, 16), torch.randint(10, (32,))) for _ in range(2)]
ranking = archrank.rank(candidates, batches)
ranking

# %% [markdown]
# `~` marks networks that cannot be told apart from the one above. Which networks to train first,
# and why:

# %%
ranking.shortlist(3)

# %% [markdown]
# The number of parameters alone is a strong baseline. Compare both orders.

# %%
ranking.plot()

# %% [markdown]
# The evidence for each network:

# %%
ranking.details.round(2).T.head(12)
