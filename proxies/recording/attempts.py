"""Attempts to record a signal: an error becomes the reason why the signal is missing, and where."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from ...errors import NotApplicable, ScoreError

_NO_MEMORY = ("not enough memory", "can't allocate memory")

_CHECK = "Check that a backward of the loss runs on this model"
_REGISTER = "Add one by torch.library.register_autograd, or call torch's own functions there"
SILENT_OPERATOR = r"(\S+): an autograd kernel was not registered"
"""What torch warns of: an operator that gradients may not go through, as if it were constant."""

_NO_FORMULA = rf"through (\S+) but no autograd formula|{SILENT_OPERATOR}"

Recorded = dict[str, Any]
"""Signal name -> signal, or the ``ScoreError`` that says why there is none."""


@contextmanager
def attempt(recorded: Recorded, *names: str) -> Iterator[None]:
    """Turn a failure inside into the reason why ``names`` are missing."""
    reason: ScoreError | None = None
    try:
        yield
    except ScoreError as error:
        reason = error
    except (torch.OutOfMemoryError, MemoryError) as error:
        reason = _out_of_memory(error)
    except Exception as error:
        # Anything a user's loss or autograd may raise: the reason, not a crash.
        wants_memory = is_want_of_memory(error)
        reason = _out_of_memory(error) if wants_memory else _after_the_forward(error)
    if reason is not None:
        recorded.update(dict.fromkeys(names, _without_frames(reason)))


def _without_frames(reason: ScoreError) -> ScoreError:
    """Drop the tracebacks: what is recorded would be held by its own frames, and the model too."""
    error: BaseException | None = reason
    while error is not None:
        error.__traceback__ = None
        error = error.__cause__ or error.__context__
    return reason


class BackwardError(ScoreError):
    """An error that was raised after a forward: in a backward, or in what is computed from it."""

    def __init__(self, cause: str, status: str = "error", advice: str = _CHECK):
        super().__init__(
            f"after the forward, in a backward or in what is made of it: {cause}. {advice}", status
        )
        self._cause, self._advice = cause, advice

    def located(self, path: str | None) -> ScoreError:
        """Return the error with the module in which the backward fails; unchanged if none does."""
        if path is None:
            return self
        where = f"module {path!r}" if path else "the model's own forward"
        return ScoreError(
            f"the backward failed in {where} ({self._cause}). {self._advice}", self.status
        )


def _after_the_forward(error: Exception) -> ScoreError:
    own = re.search(_NO_FORMULA, str(error))
    if own is not None:
        name = next(name for name in own.groups() if name)
        cause = f"operator {name} has no autograd formula"
        return BackwardError(cause, "unsupported", _REGISTER)
    lacking = re.search(r"derivative for (\S+) is not implemented", str(error))
    if lacking is None:
        return BackwardError(describe(error))
    return ScoreError(
        f"torch cannot differentiate {lacking.group(1)}, which the network's backward needs here"
    )


def _out_of_memory(error: BaseException) -> ScoreError:
    return ScoreError(f"{describe(error)}. A smaller batch needs less", "out of memory")


@contextmanager
def failed_forward(model: nn.Module) -> Iterator[None]:
    """Say in which module an error in a forward was raised.

    Raises:
        NotApplicable: the operation that runs there is not defined for the module.
        ScoreError: the forward raised anything else, except that memory ran out.
    """
    try:
        yield
    except NotApplicable as error:
        name = failing_module(model, error)
        raise NotApplicable(f"module {name!r}: {error}" if name else str(error)) from None
    except (ScoreError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        if is_want_of_memory(error):
            raise
        name = failing_module(model, error)
        where = f"module {name!r}" if name else "the model's own forward"
        raise ScoreError(
            f"the forward failed in {where} ({describe(error)}). Check that it runs on such "
            "inputs in that mode, and with as few samples",
            "error",
        ) from error


def failing_module(model: nn.Module, error: BaseException) -> str:
    """Return the path of the innermost module whose method raised, ``""`` for the root.

    The path is read from the traceback of the error, so nothing has to be watched beforehand.
    """
    names = {id(module): name for name, module in model.named_modules()}
    found, step = "", error.__traceback__
    while step is not None:
        owner = step.tb_frame.f_locals.get("self")
        found = names.get(id(owner), found)
        step = step.tb_next
    return found


def is_want_of_memory(error: BaseException) -> bool:
    """Return whether torch ran out of memory on a CPU, an error that has no type of its own.

    Example:
        >>> is_want_of_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory"))
        True
    """
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _NO_MEMORY)


def describe(error: BaseException) -> str:
    """Return the type and the first line of an error, shortened.

    Example:
        >>> describe(ValueError("one line\\nand another"))
        'ValueError: one line'
    """
    text = str(error).strip().split("\n")[0]
    text = text if len(text) <= 300 else text[:297] + "..."
    return f"{type(error).__name__}: {text}"


def scalar(loss: Any) -> torch.Tensor:
    """Return a loss as a tensor without dimensions.

    Raises:
        ScoreError: the loss is not a tensor of one number.
    """
    if not isinstance(loss, torch.Tensor) or loss.numel() != 1:
        raise ScoreError(f"loss: returned {kind_of(loss)}, expected a tensor of one number")
    return loss.reshape(())


def kind_of(value: Any) -> str:
    """Describe a value: a tensor by its shape, anything else by its type."""
    if isinstance(value, torch.Tensor):
        return f"a tensor of shape {tuple(value.shape)}"
    return type(value).__name__
