"""Fitting predictors to files of labels, as ``archrank fit`` does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from ..basics import Progress
from ..errors import InputError
from ..scoring.candidates import Candidate, FromSpace, collect
from ..scoring.programs import SUFFIXES
from ..scoring.zoos import ZOOS
from .contract import Predictor
from .label_files import read_labels
from .reading import Sample
from .scored import read_candidates, read_scored

_PREFIXES = tuple(f"{zoo}:" for zoo in ZOOS)


def fit(
    labels: str | Path,
    space: str | None = None,
    task: str | None = None,
    inputs: Any = None,
    proxies: Sequence[str] | Literal["auto"] = (),
    column: str | None = None,
    seed: int = 0,
    pretrained: str | Path | None = None,
    jobs: int = 1,
    kept: Path | None = None,
    progress: Progress | None = None,
    portable: bool = True,
) -> Predictor:
    """Fit a predictor to a CSV file of architectures and labels.

    Args:
        labels: the CSV file. Its first column names architectures of ``space``, or without a space
            candidates of ``archrank.rank`` (``models.py:net``, ``timm:resnet18``).
        space, task: the space and task of architecture strings.
        inputs: the input shape of candidates that do not name one.
        proxies: the proxies to compute for each architecture and to learn from; ``"auto"`` is
            explained in ``ArchRank``.
        column: the column of the labels (larger is better); by default the second.
        seed: the seed of everything random.
        pretrained: the folder of an encoder to train further; without it, ``ArchRank`` is fitted.
        jobs: the number of processes that score architectures of ``space``.
        kept: the file that keeps finished scores, so that the same call continues after an
            interruption.
        progress: a function called with (done, total, architecture) after each scored architecture.
        portable: whether to learn only from graphs, so that the predictor can judge any network.
            Otherwise it also learns from the codes of ``space``, which only its architectures have.

    Raises:
        InputError: the file is not such a table, or names an architecture that does not exist.
    """
    from . import ArchRank, GraphPredictor

    names, values = read_labels(labels, column)
    given: dict[str, Any] = {"space": space, "task": task, "inputs": inputs}
    predictor: Predictor
    if pretrained is None:
        wanted = proxies if proxies == "auto" else tuple(proxies)
        predictor = ArchRank(wanted, random_state=seed, **given)
    else:
        from .features.evidence import AUTO

        named = AUTO if proxies == "auto" else tuple(proxies)
        predictor = GraphPredictor(
            pretrained=str(pretrained), random_state=seed, proxies=named, **given
        )
    read = readable(predictor, names, jobs, kept, progress)
    return predictor.fit(without_codes(predictor, read) if portable else read, values)


def without_codes(predictor: Predictor, read: Sequence[Any]) -> list[Sample]:
    """Return samples without the codes of their space, which other networks lack."""
    return [replace(sample, code=None) for sample in predictor.reader.read(read)]


def readable(
    predictor: Predictor,
    names: Sequence[str],
    jobs: int = 1,
    kept: Path | None = None,
    progress: Progress | None = None,
) -> list[Any]:
    """Return the inputs of a predictor: architectures of its space, or samples of candidates."""
    found, archs = candidates_of(predictor, names), [str(name) for name in names]
    if predictor.needed_proxies:
        if found is None:
            return list(read_scored(predictor.reader, archs, jobs, kept, progress))
        return list(read_candidates(predictor.reader, found, jobs, kept, progress))
    if found is None:
        return list(archs)
    read = []
    for done, candidate in enumerate(found, 1):
        read.append(sample_of(predictor, candidate))
        if progress is not None:
            progress(done, len(found), candidate.name)
    return read


def candidates_of(predictor: Predictor, names: Sequence[str]) -> list[Candidate] | None:
    """Return the named candidates, or None if all are architectures of the predictor's space."""
    if predictor.space is None:
        try:
            return collect(list(names))
        except InputError as error:
            raise InputError(
                f"{error}; names of architectures need their space, and those of your own networks "
                "their file, as models.py:net"
            ) from error
    others = {name for name in names if _is_candidate(name)}
    if not others:
        return None
    home = predictor.space if isinstance(predictor.space, str) else predictor.space.name
    return collect([name if name in others else f"{home}:{name}" for name in names])


def _is_candidate(name: str) -> bool:
    """Tell whether a name refers to a file or a zoo, which no architecture of a space does."""
    return name.endswith((".py", *SUFFIXES)) or ".py:" in name or name.startswith(_PREFIXES)


def sample_of(predictor: Predictor, candidate: Candidate) -> str | Sample:
    """Return an architecture of the predictor's space as a string, or a sample of the graph."""
    build = candidate.build
    if isinstance(build, FromSpace) and build.space == predictor.space:
        return build.arch
    from . import samples

    model = build()
    inputs = candidate.inputs_for(model, predictor.inputs)
    (read,) = samples([model], inputs=inputs)
    return replace(read, name=candidate.name)
