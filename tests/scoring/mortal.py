"""Architectures whose arrival in a worker process kills it."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

from archrank.scoring.work import Work


class Mortal(str):
    """An architecture that kills the first processes that it is sent to."""

    folder: Path
    deaths: int

    @classmethod
    def of(cls, work: Work, folder: Path, deaths: int) -> Work:
        """Return the same work, deadly; every death leaves a file in ``folder``."""
        folder.mkdir()
        candidate = work.candidate
        arch = cls(candidate.build.arch)
        arch.folder, arch.deaths = folder, deaths
        build = replace(candidate.build, arch=arch)
        return replace(work, candidate=replace(candidate, build=build))

    def __reduce__(self) -> Any:
        return arrive, (str(self), self.folder, self.deaths)


def arrive(arch: str, folder: Path, deaths: int) -> str:
    if len(list(folder.iterdir())) < deaths:
        (folder / uuid4().hex).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return arch
