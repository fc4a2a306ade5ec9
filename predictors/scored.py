"""The reading of samples with scores for many candidates, which keeps finished scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ..basics import Progress
from ..errors import InputError, checked_count
from ..scoring.candidates import Candidate, FromSpace, in_space
from ..scoring.data import GivenData
from ..scoring.estimates import announce
from ..scoring.rows import Plan, Row, score_candidates
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
    spaces = [reader.space_of(arch) for arch in archs]
    keys = list(dict.fromkeys(s.canonical(a) for s, a in zip(spaces, archs, strict=True)))
    candidates = [_candidate(reader, key) for key in keys]
    read = read_candidates(reader, candidates, jobs, kept, progress)
    return reader.read(archs, dict(zip(keys, read, strict=True)))


def read_candidates(
    reader: Reader,
    candidates: Sequence[Candidate],
    jobs: int = 1,
    kept: Path | None = None,
    progress: Progress | None = None,
) -> list[Sample]:
    """Return samples of candidates with the scores that the reader asks for; see ``read_scored``.

    Raises:
        InputError: a candidate cannot be built or traced, or see ``read_scored``.
        StoreError: the store cannot be written.
    """
    checked_count("jobs", jobs)
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
    announce(candidates, plan)
    return [_sample(reader, row) for row in score_candidates(candidates, plan, progress)]


def _sample(reader: Reader, row: Row) -> Sample:
    build = row.candidate.build
    if isinstance(build, FromSpace) and build.space == reader.space:
        (sample,) = replace(reader, proxies=()).read([build.arch])
    elif row.graph is not None:
        sample = Sample(row.graph, name=row.name)
    else:
        _, status, reason = row.failures[0]
        raise InputError(
            f"candidates: {row.name!r} has no graph ({status}: {reason}); leave it out"
        )
    scores = {name: values[0] for name, values in row.scores.items()}
    return replace(sample, scores=scores, node_scores=row.node_scores)


def _candidate(reader: Reader, arch: str) -> Candidate:
    """Return an architecture as a candidate with its input shape."""
    space = reader.space_of(arch)
    inputs = space.inputs(reader.task, arch)
    assert reader.space is not None
    return replace(in_space(reader.space, arch, reader.task), inputs=inputs)
