"""Samples with scores for many architectures of a space; finished scores are kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ..basics import Progress
from ..errors import checked_count
from ..scoring.candidates import Candidate, in_space
from ..scoring.data import GivenData
from ..scoring.rows import Plan, score_candidates
from .reading import Reader, Sample


def read_scored(
    reader: Reader,
    archs: Sequence[str],
    jobs: int = 1,
    kept: Path | None = None,
    progress: Progress | None = None,
) -> list[Sample]:
    """Return samples of architectures with the scores that the reader asks for.

    The call may be interrupted at any moment. The same call then continues with the finished scores
    in ``kept``.

    Args:
        reader: a reader with a space and proxies.
        archs: architectures of the space; equal networks are scored once.
        jobs: the number of processes that share the work, with one thread each.
        kept: the store that finished scores are written to.
        progress: a function called with (done, total, architecture) after each network.

    Raises:
        InputError: an argument is invalid, or ``kept`` is not a store.
        StoreError: the store cannot be written.
    """
    checked_count("jobs", jobs)
    spaces = [reader.space_of(arch) for arch in archs]
    keys = list(dict.fromkeys(s.canonical(a) for s, a in zip(spaces, archs, strict=True)))
    if kept is not None:
        kept.parent.mkdir(parents=True, exist_ok=True)
    plan = Plan(
        reader.proxies,
        GivenData(reader.inputs, batch=reader.batch_size, of_spaces=False),
        (reader.seed,),
        jobs=jobs,
        store=kept,
        per_node=True,
        threads=1,
    )
    rows = score_candidates([_candidate(reader, key) for key in keys], plan, progress)
    plain = replace(reader, proxies=())
    known = {
        key: replace(
            sample,
            scores={name: values[0] for name, values in row.scores.items()},
            node_scores=row.node_scores,
        )
        for key, row, sample in zip(keys, rows, plain.read(keys), strict=True)
    }
    return reader.read(archs, known)


def _candidate(reader: Reader, arch: str) -> Candidate:
    """Return an architecture as a candidate that says its input."""
    space = reader.space_of(arch)
    inputs = space.inputs(reader.task, arch)
    assert reader.space is not None
    return replace(in_space(reader.space, arch, reader.task), inputs=inputs)
