"""What users give as a model: what it is, and what is inside wrappers."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from ...errors import InputError


def checked_module(model: Any) -> nn.Module:
    """Return a module unchanged, or the module of an exported program.

    Raises:
        InputError: it is neither; for a class, a function or a state dict the message says what to
            do.
    """
    if isinstance(model, nn.Module):
        return model
    if isinstance(model, ExportedProgram):
        return model.module()
    came, fix = type(model).__name__, ""
    if inspect.isclass(model):
        came, fix = f"the class {model.__name__}", f"; pass an instance, as {model.__name__}()"
    elif callable(model):
        fix = "; pass what it returns"
    elif isinstance(model, Mapping) and all(isinstance(v, Tensor) for v in model.values()):
        came, fix = "a state dict", "; build the network, load it by load_state_dict, and pass that"
    raise InputError(f"model: got {came}, expected a torch.nn.Module{fix}")


def unwrap(model: nn.Module) -> nn.Module:
    """Return the module inside wrappers that only change how it runs."""
    while True:
        if isinstance(model, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
            model = model.module
        elif isinstance(getattr(model, "_orig_mod", None), nn.Module):  # torch.compile
            model = model._orig_mod  # type: ignore[assignment]
        else:
            return model


def float_type(model: nn.Module) -> torch.dtype:
    """Return the floating type that the model's weights have; float32 if it has none."""
    return next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)
