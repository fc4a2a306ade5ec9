"""Trying to record a signal: what goes wrong becomes the reason why the signal is missing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from ...errors import ScoreError

Recorded = dict[str, Any]
"""Signal name -> signal, or the ``ScoreError`` that says why there is none."""


@contextmanager
def attempt(recorded: Recorded, *names: str) -> Iterator[None]:
    """Turn a failure inside into the reason why ``names`` are missing."""
    try:
        yield
    except ScoreError as error:
        recorded.update(dict.fromkeys(names, error))
    except (torch.OutOfMemoryError, MemoryError) as error:
        recorded.update(dict.fromkeys(names, ScoreError(_short(error), "out of memory")))
    except Exception as error:
        # Anything a user's forward, loss or autograd may raise: the reason, not a crash.
        status = "out of memory" if "not enough memory" in str(error) else "error"
        reason = f"{type(error).__name__}: {_short(error)}"
        recorded.update(dict.fromkeys(names, ScoreError(reason, status)))


def _short(error: BaseException) -> str:
    text = str(error).strip().split("\n")[0]
    return text if len(text) <= 300 else text[:297] + "..."
