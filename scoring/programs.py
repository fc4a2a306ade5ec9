"""Networks of files: of torch.export and of ONNX, and exported programs in memory."""

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
    """Loads the network of a file, with the weights that it holds."""

    path: str

    @property
    def identity(self) -> tuple[str, str]:
        """The file by its contents."""
        path = Path(self.path)
        return "program", f"{path.name} {hashlib.sha256(path.read_bytes()).hexdigest()[:16]}"

    def __call__(self) -> nn.Module:
        path = Path(self.path)
        return load_onnx(path)[0] if path.suffix == ONNX else load_program(path).module()


def from_program(path: Path) -> Candidate:
    """Return the network of a file, which says its input by that of its export.

    Raises:
        InputError: there is no such file, or it holds no network.
        MissingExtraError: onnx, which is needed to read it, is not installed.
        UnsupportedModelError: it holds an operator that is not known.
    """
    if path.suffix == ONNX:
        _, inputs = load_onnx(path)
        build = FromProgram(str(path.resolve()))
        return Candidate(path.stem, build, rebuilds=False, inputs=inputs)
    inputs = example_of(load_program(path))
    return Candidate(path.stem, FromProgram(str(path.resolve())), rebuilds=False, inputs=inputs)


def given_program(program: ExportedProgram) -> Candidate:
    """Return the network of a program in memory."""
    inputs = example_of(program)
    return Candidate("ExportedProgram", Given(program.module()), rebuilds=False, inputs=inputs)


def load_program(path: Path) -> ExportedProgram:
    """Load a file of ``torch.export.save``.

    Raises:
        InputError: there is no such file, or it holds no program.
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
    """Return the input that a program was exported with, as ``trace`` takes it; None if unknown.

    Where it is one tensor, it is that, and the first sample is traced; a program that was exported
    for one size of batch runs on no other, so that several tensors are traced whole.
    """
    args, kwargs = program.example_inputs or ((), {})
    if kwargs and not args:
        return dict(kwargs)
    if kwargs or not args:
        return None
    return args[0] if len(args) == 1 and isinstance(args[0], torch.Tensor) else tuple(args)
