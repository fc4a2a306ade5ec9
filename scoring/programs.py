"""Networks in files of torch.export and ONNX, and exported programs in memory."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.export import ExportedProgram

from ..errors import InputError
from ..graphs.exchange.network import load_onnx
from .candidate import Builder, Candidate, Given

PROGRAM, ONNX = ".pt2", ".onnx"
SUFFIXES = (PROGRAM, ONNX)
"""How names of files end that hold a network."""


@dataclass(frozen=True)
class FromProgram(Builder):
    """A builder that loads the network of a file with its weights."""

    path: str

    @property
    def identity(self) -> tuple[str, str]:
        """The contents of the file."""
        path = Path(self.path)
        return "program", f"{path.name} {hashlib.sha256(path.read_bytes()).hexdigest()[:16]}"

    def __call__(self) -> nn.Module:
        path = Path(self.path)
        return load_onnx(path)[0] if path.suffix == ONNX else load_program(path).module()


def from_program(path: Path) -> Candidate:
    """Return the candidate of a file; its input is the one of the export.

    Raises:
        InputError: the file does not exist or holds no network.
        MissingExtraError: onnx is needed to read the file and is not installed.
        UnsupportedModelError: the network has an unknown operator.
    """
    if path.suffix == ONNX:
        _, inputs = load_onnx(path)
        build = FromProgram(str(path.resolve()))
        return Candidate(path.stem, build, rebuilds=False, inputs=inputs)
    inputs = example_of(load_program(path))
    return Candidate(path.stem, FromProgram(str(path.resolve())), rebuilds=False, inputs=inputs)


def given_program(program: ExportedProgram) -> Candidate:
    """Return the candidate of a program in memory."""
    inputs = example_of(program)
    return Candidate("ExportedProgram", Given(program.module()), rebuilds=False, inputs=inputs)


def load_program(path: Path) -> ExportedProgram:
    """Load a file of ``torch.export.save``.

    Raises:
        InputError: the file does not exist or holds no program.
    """
    if not path.is_file():
        raise InputError(f"candidates: there is no file {str(path)!r}; check the path")
    try:
        return torch.export.load(str(path))
    except Exception as error:  # whatever a file of something else makes torch raise
        raise InputError(
            f"candidates: {str(path)!r} holds no program that torch.export.load can read "
            f"({type(error).__name__}: {error})"
        ) from error


def example_of(program: ExportedProgram) -> Any:
    """Return the input of a program's export in the form that ``trace`` takes; None if unknown.

    A single tensor is returned as it is, and its first sample is traced. Several tensors are traced
    whole, since a program that was exported for one batch size runs on no other.
    """
    args, kwargs = program.example_inputs or ((), {})
    if kwargs and not args:
        return dict(kwargs)
    if kwargs or not args:
        return None
    return args[0] if len(args) == 1 and isinstance(args[0], torch.Tensor) else tuple(args)
