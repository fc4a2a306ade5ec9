"""Networks in files of torch.export and ONNX, and exported programs in memory."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import ZipFile, is_zipfile

import torch
from torch import nn
from torch.export import ExportedProgram

from ..errors import InputError
from ..graphs.exchange.network import load_onnx
from .candidate import Builder, Candidate, Given

PROGRAM, ONNX = ".pt2", ".onnx"
SUFFIXES = (PROGRAM, ONNX)
"""How names of files end that hold a network."""
WEIGHTS_ONLY = (
    "which holds weights, or a network that cannot be rebuilt without its code; name the Python "
    "file that builds it, as models.py:net"
)
"""What is said of files of ``torch.save`` and the like."""


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
    problem = f"candidates: {str(path)!r} holds no program that torch.export.load can read"
    logger = logging.getLogger("torch.export")
    disabled, logger.disabled = logger.disabled, True  # it logs what the message says
    try:
        return torch.export.load(str(path))
    except Exception as error:  # whatever a file of something else makes torch raise
        if is_zipfile(path) and any(
            name.endswith("/data.pkl") for name in ZipFile(path).namelist()
        ):
            raise InputError(
                f"{problem}, but what torch.save wrote, {WEIGHTS_ONLY}, or save the network by "
                "torch.export.save(torch.export.export(network, inputs), path)"
            ) from error
        raise InputError(f"{problem} ({type(error).__name__}: {error})") from error
    finally:
        logger.disabled = disabled


def example_of(program: ExportedProgram) -> Any:
    """Return the input of a program's export in the form that ``trace`` takes; None if unknown.

    Of a program that takes batches of any size and a single tensor of fractions, it is the shape of
    a sample, so that it runs on the same data as any other network. Any other single tensor is
    returned as it is, and its first sample is traced. Several tensors are traced
    whole, since a program that was exported for one batch size runs on no other.
    """
    nothing: tuple[tuple[Any, ...], dict[str, Any]] = ((), {})
    args, kwargs = program.example_inputs or nothing
    if len(args) == 1 and not kwargs and _takes_any_batch(program, args[0]):
        return tuple(args[0].shape[1:])
    if kwargs and not args:
        return dict(kwargs)
    if kwargs or not args:
        return None
    return args[0] if len(args) == 1 and isinstance(args[0], torch.Tensor) else tuple(args)


def _takes_any_batch(program: ExportedProgram, example: Any) -> bool:
    """Return whether the first dimension of the only input is a dynamic one of samples."""
    if (
        not isinstance(example, torch.Tensor)
        or example.dim() < 2
        or not example.is_floating_point()
    ):
        return False
    names = list(program.graph_signature.user_inputs)
    node = next(node for node in program.graph.nodes if node.name in names)
    first, *others = node.meta["val"].shape
    return isinstance(first, torch.SymInt) and all(isinstance(size, int) for size in others)
