"""Architectures whose arrival in a worker process kills it."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

from archrank.benchmark.runs import Work


class Mortal(str):
    """An architecture that kills the first processes that it is sent to."""

    folder: Path
    deaths: int

    @classmethod
    def of(cls, work: Work, folder: Path, deaths: int) -> Work:
        """The same work, deadly; every death leaves a file in ``folder``."""
        folder.mkdir()
        arch = cls(work.arch)
        arch.folder, arch.deaths = folder, deaths
        return replace(work, arch=arch)

    def __reduce__(self) -> Any:
        return arrive, (str(self), self.folder, self.deaths)


def arrive(arch: str, folder: Path, deaths: int) -> str:
    if len(list(folder.iterdir())) < deaths:
        (folder / uuid4().hex).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return arch
