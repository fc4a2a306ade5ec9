"""Networks that tests of tracing trace."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class Net(nn.Module):
    """A small convolutional network with a skip connection, batch norm and dropout."""

    def __init__(self, names: tuple[str, str] = ("first", "second")):
        super().__init__()
        self.names = names
        setattr(self, names[0], nn.Conv2d(3, 8, 3, padding=1))
        setattr(self, names[1], nn.Conv2d(8, 8, 3, padding=1))
        self.norm, self.drop = nn.BatchNorm2d(8), nn.Dropout(0.3)
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = getattr(self, self.names[0])(x)
        x = x + self.drop(F.relu(self.norm(getattr(self, self.names[1])(x))))
        return self.head(x.mean((2, 3)))


class Lambda(nn.Module):
    """A module around a function of itself and its inputs."""

    def __init__(self, function, **children: nn.Module):
        super().__init__()
        self.function = function
        for name, child in children.items():
            self.add_module(name, child)

    def forward(self, *args, **kwargs):
        return self.function(self, *args, **kwargs)
