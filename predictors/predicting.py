"""Learned predictors from and for files and names: what ``archrank fit`` and ``predict`` do."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ..basics import Array, Progress
from ..errors import ArchrankError, InputError
from ..scoring.candidates import Candidate, FromSpace, collect
from ..scoring.processes import in_processes
from .loading import is_predictor, load_predictor

if TYPE_CHECKING:
    import pandas as pd

    from ..graphs import Graph
    from . import Predictor, Pretrained, Pretraining, Sample

_SHARE = 1024  # architectures that a process predicts together
_WORTH_PROCESSES = 4 * _SHARE  # fewer are predicted sooner than processes start


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
    cost: bool = False,
    like: str | Path | None = None,
) -> Predictor:
    """Fit a predictor to a CSV file of architectures and labels.

    Args:
        labels: its first column names architectures: strings of ``space``, else candidates as
            :func:`archrank.rank` takes (``models.py:net``, ``timm:resnet18``).
        space, task: of architecture strings.
        inputs: shape that candidates take where they bring none.
        proxies: computed of each, as columns to learn from; ``"auto"`` as
            :class:`~archrank.predictors.ArchRank` takes it.
        column: of the labels, larger is better; default the second.
        seed: of everything random.
        pretrained: folder of an encoder to train further, instead of the default predictor,
            :class:`~archrank.predictors.ArchRank`.
        jobs: processes that share the scoring of architectures of ``space``.
        kept: file that their scores are kept in meanwhile: if killed, the same call goes on.
        progress: called with (done, total, architecture) after each that is scored.
        cost: labels are costs, smaller is better: fit a
            :class:`~archrank.costs.CostPredictor`.
        like: folder of a saved one of other devices, to learn a new device from few costs.

    Raises:
        InputError: the file is no such table, or names what is not there.
    """
    from . import ArchRank, GraphPredictor

    names, values = read_labels(labels, column)
    if cost or like is not None:
        return _fitted_to_costs(names, values, space, task, inputs, like)
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
    return predictor.fit(readable(predictor, names, jobs, kept, progress), values)


def _fitted_to_costs(
    names: Sequence[str],
    costs: Sequence[float],
    space: str | None,
    task: str | None,
    inputs: Any,
    like: str | Path | None,
) -> Predictor:
    from ..costs import CostPredictor  # TODO move

    if like is None:
        predictor = CostPredictor(space=space, task=task, inputs=inputs)
        return predictor.fit(readable(predictor, _in_space(names, space)), costs)
    known = CostPredictor.load(like)
    return known.adapt(readable(known, _in_space(names, known.space)), costs)


def _in_space(names: Sequence[str], space: str | None) -> list[str]:
    """Architectures without the space's name before them, which files of measurements have."""
    prefix = f"{space}:"
    return [name.removeprefix(prefix) if space is not None else name for name in names]


def graphs_to_learn_from(
    spaces: Sequence[str] = (),
    networks: int = 1000,
    candidates: Sequence[str] = (),
    inputs: Any = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> list[Graph]:
    """Graphs of random networks of spaces, in equal parts, and of candidates.

    Args:
        spaces: names; one with fewer networks than its part gives all that it has.
        networks: how many of all spaces together.
        candidates: as :func:`archrank.rank` takes.
        inputs: shape that candidates take where they bring none.
        seed: which networks.
        progress: called after each graph with how many are made, of how many, and its name.

    Raises:
        InputError: nothing to learn from, or a name of nothing.

    Example:
        >>> len(graphs_to_learn_from(["nasbench201", "hiaml"], networks=5))
        5
    """
    from ..data import space

    if not spaces and not candidates:
        raise InputError("spaces: got none, and no candidates either; name at least one")
    if networks < 1:
        raise InputError(f"networks: got {networks}, expected at least 1")
    drawn = []
    for at, name in enumerate(spaces):
        one = space(name)
        part = (networks + at) // len(spaces)
        part = part if one.size is None else min(part, one.size)
        drawn += [(one, arch) for arch in one.sample(part, seed)]
    found = collect(list(candidates)) if candidates else []
    total, graphs = len(drawn) + len(found), []
    for one, arch in drawn:
        graphs.append(one.graph(arch))
        if progress is not None:
            progress(len(graphs), total, f"{one.name} {arch}")
    for candidate in found:
        graphs.append(_graph_of(candidate, inputs))
        if progress is not None:
            progress(len(graphs), total, candidate.name)
    return graphs


def pretrain(
    pretraining: Pretraining,
    graphs: Sequence[Graph],
    out: str | Path,
    progress: Progress | None = None,
) -> Pretrained:
    """Train an encoder without labels and save it; if stopped, the same call goes on.

    Args:
        pretraining: how.
        graphs: to learn from.
        out: folder to write; how far the training is stands in a file of that name with
            ``.checkpoint`` at its end, which is removed when the encoder is written.
        progress: called after each epoch with how many are over, of how many, and the loss.

    Raises:
        InputError: the checkpoint is of another training, or the folder holds something else.
    """
    path = Path(out)
    if path.exists() and not is_predictor(str(path)):
        raise InputError(f"out: {str(path)!r} is there already and holds no encoder")
    checkpoint = path.with_name(path.name + ".checkpoint")
    path.parent.mkdir(parents=True, exist_ok=True)
    report = None if progress is None else _told(progress)
    pretrained = pretraining.fit(graphs, checkpoint=checkpoint, progress=report)
    pretrained.save(path)
    checkpoint.unlink(missing_ok=True)
    return pretrained


def _told(progress: Progress) -> Callable[[Any], None]:
    return lambda epoch: progress(epoch.epoch, epoch.epochs, f"loss {epoch.loss:.4g}")


def predict(
    predictor: Predictor,
    names: Sequence[str],
    jobs: int = 1,
    progress: Progress | None = None,
) -> pd.DataFrame:
    """Predictions of architectures or candidates, best first: ``name``, ``predicted``, ``std``.

    ``jobs`` processes share the scores of proxies that the predictor needs, and the predictions of
    many architectures; ``progress`` is called as by :func:`fit`, or with "predicted" as its text.

    Raises:
        InputError: a name is neither an architecture of the predictor's space nor a candidate.
    """
    import pandas as pd

    given = names if predictor.space is not None else [c.name for c in collect(list(names))]
    read = readable(predictor, names, jobs, progress=progress)
    strings = isinstance(predictor.space, str) and all(isinstance(item, str) for item in read)
    if jobs > 1 and strings and len(read) >= _WORTH_PROCESSES:
        mean, std = _predicted_in_processes(predictor, read, jobs, progress)
    else:
        mean, std = predicted(predictor, read)
    table = pd.DataFrame({"name": list(given), "predicted": mean, "std": std})
    upwards = [not predictor.higher_is_better, True]
    table = table.sort_values(["predicted", "name"], ascending=upwards, kind="stable")
    return table.reset_index(drop=True)


def predicted(predictor: Predictor, read: Sequence[Any]) -> tuple[Array, Array]:
    """Means and deviations, these NaN of predictors that know none."""
    try:
        mean, std = predictor.predict(read, return_std=True)
    except InputError as error:
        if not str(error).startswith("return_std"):
            raise
        mean = predictor.predict(read)
        std = np.full(len(mean), np.nan)
    return mean, std


@dataclass(frozen=True)
class _Share:
    """Architectures that one process predicts together, and where the predictor is saved."""

    model: Path
    places: list[int]
    archs: list[str]


def _predicted_in_processes(
    predictor: Predictor, archs: Sequence[str], jobs: int, progress: Progress | None
) -> tuple[Array, Array]:
    """The same as :func:`predicted`; equal architectures go to the same process."""
    mean, std = np.zeros(len(archs)), np.zeros(len(archs))
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "model"
        predictor.save(model)
        parts = predictor.reader.parts(archs, _SHARE)
        shares = [_Share(model, part, [archs[i] for i in part]) for part in parts]
        done = 0
        with closing(in_processes(_predict_share, shares, jobs, _share_died)) as results:
            for share, (means, deviations) in results:
                mean[share.places], std[share.places] = means, deviations
                done += len(share.places)
                if progress is not None:
                    progress(done, len(archs), "predicted")
    return mean, std


def _predict_share(share: _Share) -> tuple[Array, Array]:
    return predicted(_loaded(share.model), share.archs)


@lru_cache(maxsize=1)
def _loaded(model: Path) -> Predictor:
    return load_predictor(model)


def _share_died(share: _Share, how: str) -> tuple[Array, Array]:
    raise ArchrankError(
        f"predict: the process of {len(share.archs)} architectures from {share.archs[0]!r} on "
        f"{how}; with fewer jobs each has more memory"
    )


def readable(
    predictor: Predictor,
    names: Sequence[str],
    jobs: int = 1,
    kept: Path | None = None,
    progress: Progress | None = None,
) -> list[Any]:
    """What a predictor can read: architectures of its space, else samples of candidates."""
    if predictor.space is None:
        return [sample_of(predictor, candidate) for candidate in collect(list(names))]
    from .scored import read_scored

    archs = [str(name) for name in names]
    if not predictor.needed_proxies:
        return archs
    return read_scored(predictor.reader, archs, jobs, kept, progress)


def sample_of(predictor: Predictor, candidate: Candidate) -> str | Sample:
    """One candidate as a predictor reads it."""
    build = candidate.build
    if isinstance(build, FromSpace) and build.space == predictor.space:
        return build.arch
    from . import samples

    model = build()
    inputs = inputs_of(candidate, model, predictor.inputs)
    return samples([model], inputs=inputs, proxies=predictor.needed_proxies)[0]


def _graph_of(candidate: Candidate, inputs: Any) -> Graph:
    from ..graphs import trace

    model = candidate.build()
    return trace(model, inputs_of(candidate, model, inputs))


def inputs_of(candidate: Candidate, model: Any, inputs: Any) -> Any:
    """The input that is asked for, or else the one that a candidate brings."""
    if inputs is None:
        inputs = candidate.inputs
    config = getattr(model, "pretrained_cfg", None) or {}
    if inputs is None and "input_size" in config:
        inputs = tuple(config["input_size"])
    if inputs is None:
        raise InputError(f"inputs: {candidate.name!r} does not say its input; pass one")
    return inputs


def read_labels(path: str | Path, column: str | None = None) -> tuple[list[str], list[float]]:
    """Names and labels of a CSV file; see :func:`fit`.

    Raises:
        InputError: it cannot be read, lacks the column, or has labels that are no numbers.
    """
    import pandas as pd

    try:
        table = pd.read_csv(path, dtype={0: str})
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
    """The names in a file: one per line, or the first column of a ``.csv``.

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
