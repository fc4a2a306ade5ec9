"""Architectures of a space, scored for predictors in several processes; what is done is kept."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..basics import Progress
from ..errors import InputError
from ..proxies import get
from ..scoring.processes import in_processes
from .reading import Reader, Sample


@dataclass(frozen=True)
class _Work:
    reader: Reader
    arch: str


@dataclass(frozen=True)
class _Scores:
    values: dict[str, float]
    of_nodes: dict[str, list[float]]


def read_scored(
    reader: Reader,
    archs: Sequence[str],
    jobs: int = 1,
    kept: Path | None = None,
    progress: Progress | None = None,
) -> list[Sample]:
    """Samples of architectures with the scores that the reader asks for.

    May be killed at any moment: the same call goes on with what the file ``kept`` holds.

    Args:
        reader: of a space, with proxies.
        archs: its architectures; equal networks are scored once.
        jobs: processes that share the work, one thread each.
        kept: file that scores are written to, a line of JSON for each network, as they come.
        progress: called with (done, total, architecture) after each network.

    Raises:
        InputError: an argument is not as above, or ``kept`` is of other scores than these.
        OSError: the file cannot be written.
    """
    if not isinstance(jobs, int) or jobs < 1:
        raise InputError(f"jobs: got {jobs!r}, expected a whole number of at least 1")
    spaces = [reader.space_of(arch) for arch in archs]
    keys = list(dict.fromkeys(s.canonical(a) for s, a in zip(spaces, archs, strict=True)))
    done = _kept_scores(kept, reader)
    missing = [_Work(reader, key) for key in keys if key not in done]
    if missing and kept is not None:
        kept.parent.mkdir(parents=True, exist_ok=True)
        _begin(kept, reader, done)
    if jobs == 1:
        results = ((work, _score(work)) for work in missing)
    else:
        results = in_processes(_score, missing, jobs, _died)
    with closing(results):
        for number, (work, scores) in enumerate(results, len(keys) - len(missing) + 1):
            done[work.arch] = scores
            if kept is not None:
                _append(kept, _line(work.arch, scores))
            if progress is not None:
                progress(number, len(keys), work.arch)
    plain = replace(reader, proxies=())
    known = {
        key: replace(
            sample,
            scores=done[key].values,
            node_scores={name: np.array(per) for name, per in done[key].of_nodes.items()},
        )
        for key, sample in zip(keys, plain.read(keys), strict=True)
    }
    return reader.read(archs, known)


def _score(work: _Work) -> _Scores:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # sums depend on their number, and so would scores
    try:
        (sample,) = work.reader.read([work.arch])
    finally:
        torch.set_num_threads(threads)
    of_nodes = {name: per.tolist() for name, per in sample.node_scores.items()}
    return _Scores(dict(sample.scores), of_nodes)


def _died(work: _Work, how: str) -> _Scores:
    """Scores of a network that no process survives: none."""
    return _Scores({}, {})


# --- the file -------------------------------------------------------------------------------------


def _header(reader: Reader) -> dict[str, Any]:
    """What scores depend on, beside the architecture."""
    space = reader.space if isinstance(reader.space, str) else getattr(reader.space, "name", None)
    return {
        "space": space,
        "task": reader.task,
        "inputs": repr(reader.inputs),
        "proxies": {name: get(name).version for name in reader.proxies},
        "seed": reader.seed,
        "batch": reader.batch_size,
    }


def _line(arch: str, scores: _Scores) -> str:
    return json.dumps({"arch": arch, "scores": scores.values, "nodes": scores.of_nodes})


def _kept_scores(path: Path | None, reader: Reader) -> dict[str, _Scores]:
    """What the file holds; a last line that was cut off is not there."""
    if path is None or not path.exists():
        return {}
    lines = path.read_text().split("\n")[:-1]
    try:
        header, *rows = (json.loads(line) for line in lines)
        done = {row["arch"]: _Scores(row["scores"], row["nodes"]) for row in rows}
    except (ValueError, KeyError, TypeError):
        if len(lines) < 1:
            return {}
        raise InputError(f"kept: {str(path)!r} holds no scores; move it away") from None
    if header != _header(reader):
        raise InputError(
            f"kept: {str(path)!r} holds scores of {header}, but wanted are {_header(reader)}; "
            "move it away, or ask for the same"
        )
    return done


def _begin(path: Path, reader: Reader, done: dict[str, _Scores]) -> None:
    """The file anew, without the line that was cut off."""
    lines = [json.dumps(_header(reader)), *(_line(arch, scores) for arch, scores in done.items())]
    fresh = path.with_name(path.name + ".new")
    fresh.write_text("".join(line + "\n" for line in lines))
    fresh.replace(path)


def _append(path: Path, line: str) -> None:
    with path.open("a") as file:
        file.write(line + "\n")
