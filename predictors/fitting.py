"""Predictors from files of labels: what ``archrank fit`` does."""

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
from .reading import Sample
from .scored import read_scored

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
        labels: its first column names architectures: strings of ``space``, else candidates as
            ``archrank.rank`` takes (``models.py:net``, ``timm:resnet18``).
        space, task: of architecture strings.
        inputs: shape that candidates take where they bring none.
        proxies: computed of each, as columns to learn from; ``"auto"`` as
            ``ArchRank`` takes it.
        column: of the labels, larger is better; default the second.
        seed: of everything random.
        pretrained: folder of an encoder to train further, instead of the default predictor,
            ``ArchRank``.
        jobs: processes that share the scoring of architectures of ``space``.
        kept: file that their scores are kept in meanwhile: if killed, the same call goes on.
        progress: called with (done, total, architecture) after each that is scored.
        portable: learn from graphs alone, so that networks of anywhere can be judged; otherwise of
            the codes of ``space``, too, which its own networks alone have.

    Raises:
        InputError: the file is no such table, or names what is not there.
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
    """Return samples without the codes of their space, which other networks do not have."""
    return [replace(sample, code=None) for sample in predictor.reader.read(read)]


def read_labels(path: str | Path, column: str | None = None) -> tuple[list[str], list[float]]:
    """Names and labels of a CSV file; see ``fit``.

    Raises:
        InputError: it cannot be read, lacks the column, or has labels that are not numbers.
    """
    import pandas as pd

    try:
        table = pd.read_csv(path, dtype={0: str})
    except FileNotFoundError:
        raise InputError(f"labels: there is no file {str(path)!r}; check the path") from None
    except (OSError, ValueError) as error:
        raise InputError(f"labels: cannot read {str(path)!r} as a CSV table ({error})") from None
    if len(table.columns) < 2 or table.empty:
        raise InputError(
            f"labels: {str(path)!r} has {len(table.columns)} columns and {len(table)} rows; "
            "expected architectures in the first column and labels in another"
        )
    wanted = str(table.columns[1]) if column is None else column
    if wanted not in table.columns:
        raise InputError(
            f"column: {str(path)!r} has no column {wanted!r}, only "
            f"{', '.join(map(str, table.columns))}"
        )
    values = pd.to_numeric(table[wanted], errors="coerce")
    if values.isna().any():
        row = int(values.isna().to_numpy().argmax())
        raise InputError(
            f"labels: row {row + 2} of {str(path)!r} has {table[wanted][row]} in {wanted!r}, "
            "expected a number; leave such rows out"
        )
    return table.iloc[:, 0].astype(str).str.strip().tolist(), values.astype(float).tolist()


def read_names(path: str | Path) -> list[str]:
    """Return the names in a file: one per line, or the first column of a ``.csv``.

    Raises:
        InputError: it cannot be read.
    """
    import pandas as pd

    try:
        if Path(path).suffix == ".csv":
            return pd.read_csv(path, dtype=str).iloc[:, 0].dropna().tolist()
        lines = Path(path).read_text().splitlines()
    except (OSError, ValueError, IndexError) as error:
        raise InputError(f"file: cannot read {str(path)!r} ({error})") from None
    return [line.strip() for line in lines if line.strip()]


def readable(
    predictor: Predictor,
    names: Sequence[str],
    jobs: int = 1,
    kept: Path | None = None,
    progress: Progress | None = None,
) -> list[Any]:
    """Return what a predictor can read: architectures of its space, or samples of candidates."""
    found = candidates_of(predictor, names)
    if found is not None:
        read = []
        for done, candidate in enumerate(found, 1):
            read.append(sample_of(predictor, candidate))
            if progress is not None:
                progress(done, len(found), candidate.name)
        return read
    archs = [str(name) for name in names]
    if not predictor.needed_proxies:
        return archs
    return read_scored(predictor.reader, archs, jobs, kept, progress)


def candidates_of(predictor: Predictor, names: Sequence[str]) -> list[Candidate] | None:
    """Return the candidates that names stand for; None if all are architectures of its space."""
    if predictor.space is None:
        return collect(list(names))
    others = {name for name in names if _is_candidate(name)}
    if not others:
        return None
    home = predictor.space if isinstance(predictor.space, str) else predictor.space.name
    return collect([name if name in others else f"{home}:{name}" for name in names])


def _is_candidate(name: str) -> bool:
    """Whether a name is of a file or a zoo, as no architecture of a space is."""
    return name.endswith((".py", *SUFFIXES)) or ".py:" in name or name.startswith(_PREFIXES)


def sample_of(predictor: Predictor, candidate: Candidate) -> str | Sample:
    """One candidate as a predictor reads it."""
    build = candidate.build
    if isinstance(build, FromSpace) and build.space == predictor.space:
        return build.arch
    from . import samples

    model = build()
    inputs = candidate.inputs_for(model, predictor.inputs)
    return samples([model], inputs=inputs, proxies=predictor.needed_proxies)[0]
