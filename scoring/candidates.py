"""Where candidates come from: modules, callables, Python files, timm and torchvision."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import Tensor, nn
from torch.export import ExportedProgram

from ..errors import ArchrankWarning, InputError, did_you_mean
from .candidate import Builder, Candidate, FromSpace, Given, in_space
from .programs import SUFFIXES, WEIGHTS_ONLY, from_program, given_program
from .python_files import (
    PACKAGE,
    Choice,
    FromFile,
    choose,
    load_file,
    takes_nothing,
    version_of,
)
from .zoos import ZOOS, from_zoo, names_in

__all__ = ["Candidate", "FromList", "FromSpace", "Given", "by_name", "collect", "in_space"]

LISTED, LISTS = "CANDIDATES", "candidates"
"""What a file may call its candidates, or the function that returns them."""


def collect(candidates: Any) -> list[Candidate]:
    """Return all candidates in the given order, with unique names.

    Args:
        candidates: one item, an iterable of items or of pairs of a name and an item, or a dict
            from names to items. An item is a module, a callable without arguments that builds one,
            a ``Candidate``, an exported program, or a name: ``"path/file.py"`` (all networks in
            that file), ``"path/file.py:name"``, ``"path/package"``, ``"timm:resnet18"``,
            ``"timm:mobilenetv3*"``, ``"torchvision:*"``, ``"net.pt2"`` (a file of
            ``torch.export.save``), or an architecture of a search space, ``"hiaml:z-z-a22-l20"``
            or, for another task, ``"nasbench201@cifar100:|..."``.

    Raises:
        InputError: there are no candidates, or an item is none of the above.
        MissingExtraError: timm or torchvision cannot be imported.

    Example:
        >>> from torch import nn
        >>> [c.name for c in collect([nn.ReLU(), nn.Identity, nn.Identity])]
        ['ReLU', 'Identity', 'Identity-2']
    """
    found: list[Candidate] = []
    if isinstance(candidates, nn.ModuleList):
        candidates = list(candidates)
    if isinstance(candidates, nn.ModuleDict):
        candidates = dict(candidates.items())
    _refuse_state_dict(candidates)
    if isinstance(candidates, Mapping):
        for name, item in candidates.items():
            found += _named(str(name), item)
    else:
        single = isinstance(candidates, (str, Path, nn.Module, Candidate, ExportedProgram))
        if not single and not isinstance(candidates, Iterable):
            single = callable(candidates)
        if not single and not isinstance(candidates, Iterable):
            raise InputError(f"candidates: got {type(candidates).__name__}, expected {_KINDS}")
        for item in [candidates] if single else candidates:
            found += _named(*item) if _is_pair(item) else _expand(item, len(found))
    if not found:
        raise InputError(f"candidates: got none, expected at least one of {_KINDS}")
    return _unique(found)


_KINDS = "modules, callables that build one, or names such as 'models.py' or 'timm:resnet18'"


def _is_pair(item: Any) -> bool:
    """Return whether it is a name and what has that name, as ``dict.items`` yields them."""
    return isinstance(item, tuple) and len(item) == 2 and isinstance(item[0], str)


def _named(name: str, item: Any) -> list[Candidate]:
    several = _expand(item, said=f"{name!r} is")
    alone = len(several) == 1
    return [replace(c, name=name if alone else f"{name}/{c.name}") for c in several]


def _expand(item: Any, index: int = 0, said: str = "got") -> list[Candidate]:
    _refuse_state_dict(item, said)
    if isinstance(item, Candidate):
        return [item]
    if isinstance(item, ExportedProgram):
        return [given_program(item)]
    if isinstance(item, nn.Module):
        return [Candidate(type(item).__name__, Given(item), rebuilds=False)]
    if isinstance(item, (str, Path)):
        return by_name(str(item))
    if callable(item):
        name = getattr(item, "__name__", "<lambda>")
        return [Candidate(f"candidate-{index + 1}" if name == "<lambda>" else name, item)]
    raise InputError(f"candidates: {said} an item of type {type(item).__name__}, expected {_KINDS}")


def _refuse_state_dict(item: Any, said: str = "got") -> None:
    if isinstance(item, Mapping) and item and all(isinstance(v, Tensor) for v in item.values()):
        raise InputError(
            f"candidates: {said} a state dict, which holds weights but no network; build the "
            "network, load them by its load_state_dict, and give the network"
        )


def _unique(found: list[Candidate]) -> list[Candidate]:
    taken: set[str] = set()
    counts: Counter[str] = Counter()
    result = []
    for candidate in found:
        name = candidate.name
        counts[name] += 1
        while name in taken:
            name = f"{candidate.name}-{counts[candidate.name]}"
            counts[candidate.name] += name in taken
        taken.add(name)
        result.append(replace(candidate, name=name))
    return result


def by_name(spec: str) -> list[Candidate]:
    """Return the candidates that a name stands for; see ``collect``.

    Raises:
        InputError: there is no such file, model or pattern.
        MissingExtraError: timm or torchvision cannot be imported.
    """
    prefix, colon, pattern = spec.partition(":")
    if colon and prefix in ZOOS:
        return from_zoo(prefix, pattern)
    path, _, attribute = spec.rpartition(":") if ".py:" in spec else (spec, "", "")
    if path.endswith(".py"):
        return _from_file(Path(path), attribute)
    if path.endswith(SUFFIXES):
        return [from_program(Path(path))]
    found = _from_space(prefix, pattern) if colon else None
    if found is None and (Path(prefix) / PACKAGE).is_file():
        return _from_file(Path(prefix) / PACKAGE, pattern)
    if found is None:
        raise InputError(
            f"candidates: got {spec!r}, {_meant(prefix, colon, pattern)}expected a Python file "
            f"('models.py', 'models.py:name'), a model of timm or torchvision ('timm:resnet18', "
            f"'torchvision:resnet*') or an architecture of a space ('hiaml:z-z-a22-l20')"
        )
    return [found]


def _meant(prefix: str, colon: str, pattern: str) -> str:
    """Ask whether a name that stands for nothing was meant for one that does."""
    from ..data import spaces

    if Path(prefix).is_dir():
        files = sorted(str(path) for path in Path(prefix).glob("*.py"))
        inside = f", and has {', '.join(files[:5])}" if files else ""
        return f"which is a folder without {PACKAGE}{inside}; "
    if Path(prefix).suffix in (".pt", ".pth", ".ckpt", ".bin", ".safetensors", ".h5"):
        return f"{WEIGHTS_ONLY}; "
    if Path(prefix).suffix == ".ipynb":
        return "which is a notebook: move the networks to a Python file, or call archrank.rank; "
    file = Path(prefix.replace(".", "/") + ".py")  # named as it is imported
    if file.is_file():
        return f"did you mean {str(file) + colon + pattern!r}? "
    if not colon:
        hints = (did_you_mean(prefix, names_in(zoo), f"{zoo}:") for zoo in ZOOS)
        return next(filter(None, hints), "")
    return did_you_mean(prefix, [*ZOOS, *spaces()], suffix=f":{pattern}")


def _from_space(prefix: str, arch: str) -> Candidate | None:
    """Read ``SPACE:ARCH`` or ``SPACE@TASK:ARCH``; return None if there is no such space."""
    from ..data import space, spaces

    name, _, task = prefix.partition("@")
    if name not in spaces():
        return None
    one = space(name)
    arch = one.normalise(arch)
    inputs = one.inputs(task or None, arch)
    return Candidate(f"{prefix}:{arch}", FromSpace(name, arch, task or None), inputs=inputs)


# --- files ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class FromList(Builder):
    """A builder of what a Python file lists under a name, pickled as the file and the name."""

    path: str
    name: str

    @property
    def identity(self) -> tuple[str, str]:
        """The contents of the file and of the neighbouring files that it imports."""
        path = Path(self.path)
        return "file", f"{path.name}:{LISTED}:{self.name} {version_of(path)}"

    def __call__(self) -> nn.Module:
        return _listed(load_file(Path(self.path)))[self.name].build()


def _from_file(path: Path, attribute: str) -> list[Candidate]:
    module = load_file(path)
    lists = LISTED in vars(module) or _has_lister(module)
    if attribute and not (lists and attribute not in vars(module)):
        _check_named(path, module, attribute)
        return [_in_file(path, module, attribute)]
    if lists:
        return _from_list(path, module, attribute)
    choice = choose(module)
    _tell(path, choice)
    return [_in_file(path, module, name) for name in choice.names]


def _from_list(path: Path, module: ModuleType, wanted: str) -> list[Candidate]:
    """Return what a file lists: all of it, or the one of a name."""
    listed = _listed(module)
    if not listed:
        raise InputError(f"candidates: {path} lists none as {LISTED}; expected {_KINDS}")
    if wanted and wanted not in listed:
        hint = did_you_mean(wanted, listed)
        raise InputError(
            f"candidates: {path} has no {wanted!r}; {hint}it lists {', '.join(listed)}"
        )
    file, own = str(path.resolve()), getattr(module, "INPUT", None)
    return [
        replace(c, build=FromList(file, name), inputs=own if c.inputs is None else c.inputs)
        for name, c in listed.items()
        if wanted in ("", name)
    ]


def _has_lister(module: ModuleType) -> bool:
    """Return whether a file has a function that returns its candidates."""
    value = vars(module).get(LISTS)
    home = getattr(value, "__module__", None)
    return callable(value) and home == module.__name__ and takes_nothing(value)


@lru_cache
def _listed(module: ModuleType) -> dict[str, Candidate]:
    """Return the candidates that a file itself lists, by name."""
    value = vars(module).get(LISTED)
    return {c.name: c for c in collect(getattr(module, LISTS)() if value is None else value)}


def _in_file(path: Path, module: ModuleType, name: str) -> Candidate:
    rebuilds = not isinstance(getattr(module, name), nn.Module)
    own = getattr(module, "INPUT", None)
    return Candidate(name, FromFile(str(path.resolve()), name), rebuilds=rebuilds, inputs=own)


def _check_named(path: Path, module: ModuleType, attribute: str) -> None:
    if attribute not in vars(module):
        names = choose(module).names
        hint = did_you_mean(attribute, names)
        raise InputError(
            f"candidates: {path} has no {attribute!r}; {hint}it has {', '.join(names) or 'none'}"
        )
    value = getattr(module, attribute)
    if not isinstance(value, nn.Module) and not (callable(value) and takes_nothing(value)):
        raise InputError(
            f"candidates: {path}:{attribute} is neither a module nor a callable without arguments"
        )


def _tell(path: Path, choice: Choice) -> None:
    """Warn of what in a file is left out of the candidates.

    Raises:
        InputError: the file has no candidates.
    """
    named = path.parent if path.name == PACKAGE else path
    how = f"name one as {named.name}:NAME, or list them all in {path.name} as {LISTED} = [...]"
    if not choice.names:
        rest = f"; left out: {choice}" if choice.left_out else ""
        raise InputError(
            f"candidates: {path} has no candidates: expected modules, classes of modules, or "
            f"functions annotated to return one, which need no arguments, are defined there and "
            f"do not start with _{rest}; {how}"
        )
    if choice.left_out:
        warnings.warn(f"{path}: left out {choice}; {how}", ArchrankWarning, stacklevel=6)
