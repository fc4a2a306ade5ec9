"""Where candidates come from: modules, callables, Python files, timm and torchvision."""

from __future__ import annotations

import difflib
import fnmatch
import hashlib
import importlib
import importlib.util
import inspect
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from torch import nn

from ..errors import InputError, MissingExtraError

if TYPE_CHECKING:
    from ..data import Space

ZOOS = ("timm", "torchvision")


@dataclass(frozen=True)
class Candidate:
    """One network to rank, not built yet.

    Attributes:
        name: in the table.
        build: makes the module.
        rebuilds: whether every call makes a new module with new weights.
        inputs: its own default input, None if it has none.
    """

    name: str
    build: Callable[[], nn.Module]
    rebuilds: bool = True
    inputs: Any = None

    def built(self) -> nn.Module:
        """Build the network.

        Raises:
            InputError: the builder gave something else. Builders may raise anything beside.
        """
        model = self.build()
        if not isinstance(model, nn.Module):
            raise InputError(
                f"candidates: {self.name!r} built a {type(model).__name__}, expected a "
                "torch.nn.Module"
            )
        return model

    @property
    def says_its_input(self) -> bool:
        """Whether nobody has to give an input; a model of timm says its own once it is built."""
        return self.inputs is not None or isinstance(self.build, FromZoo)

    def inputs_for(self, model: nn.Module, given: Any = None) -> Any:
        """Return the input that is given, else the candidate's own, else what the model says.

        Raises:
            InputError: nobody says one.
        """
        if given is not None:
            return given
        if self.inputs is not None:
            return self.inputs
        config = getattr(model, "pretrained_cfg", None) or {}
        if "input_size" in config:
            return tuple(config["input_size"])
        raise InputError(f"inputs: {self.name!r} does not say its input; pass one")

    @property
    def network(self) -> str:
        """A text that candidates share which are one network, as far as that is known unbuilt."""
        if not isinstance(self.build, FromSpace):
            return self.name
        build = self.build
        return f"{build.home.name}:{build.home.canonical(build.arch)}:{build.task}"

    @property
    def identity(self) -> tuple[str, str] | None:
        """Where the network comes from and what it is called there, for runs to come.

        None for modules and callables of this process, which another one cannot know again.
        """
        return self.build.identity if isinstance(self.build, _NAMED) else None


@dataclass(frozen=True)
class Given:
    """Hands out a module that exists."""

    module: nn.Module

    def __call__(self) -> nn.Module:
        return self.module


@dataclass(frozen=True)
class FromFile:
    """Builds what a Python file calls ``attribute``; pickles as the two names."""

    path: str
    attribute: str

    @property
    def identity(self) -> tuple[str, str]:
        """The file by its contents and those of its neighbours that it imports.

        Once one of them is changed, it holds other networks.
        """
        path = Path(self.path)
        return "file", f"{path.name}:{self.attribute} {_sources(load_file(path).__name__, path)}"

    def __call__(self) -> nn.Module:
        found = getattr(load_file(Path(self.path)), self.attribute)
        return found if isinstance(found, nn.Module) else found()


@dataclass(frozen=True)
class FromZoo:
    """Builds a model of timm or torchvision by name, with random weights: nothing is fetched."""

    zoo: str
    name: str

    @property
    def identity(self) -> tuple[str, str]:
        """The zoo with its version, and the model's name."""
        return f"{self.zoo} {_import_zoo(self.zoo).__version__}", self.name

    def __call__(self) -> nn.Module:
        zoo = _import_zoo(self.zoo)
        if self.zoo == "timm":
            model = zoo.create_model(self.name, pretrained=False)
        else:
            builder = zoo.models.get_model_builder(self.name)
            has_backbone = "weights_backbone" in inspect.signature(builder).parameters
            model = builder(weights=None, **({"weights_backbone": None} if has_backbone else {}))
        assert isinstance(model, nn.Module)
        return model


@dataclass(frozen=True)
class FromSpace:
    """Builds the network of an architecture string of a search space, known by name or given."""

    space: str | Space
    arch: str
    task: str | None

    @property
    def identity(self) -> tuple[str, str]:
        """The space and the architecture."""
        return self.home.name, self.arch

    @property
    def home(self) -> Space:
        """The space itself."""
        if not isinstance(self.space, str):
            return self.space
        from ..data import space

        return space(self.space)

    def __call__(self) -> nn.Module:
        return self.home.build(self.arch, self.task)


_NAMED = (FromFile, FromZoo, FromSpace)


@lru_cache
def _sources(loaded: str, path: Path) -> str:
    """Digest a file, loaded under a name of its version, and what it brought from its folder."""
    folder, digest = path.parent, hashlib.sha256()
    files = {getattr(module, "__file__", None) for module in [*sys.modules.values()]}
    for file in sorted(Path(f) for f in files if f and Path(f).is_relative_to(folder)):
        if "site-packages" not in file.parts and file.is_file():
            digest.update(str(file.relative_to(folder)).encode() + file.read_bytes())
    return digest.hexdigest()[:16]


def in_space(space: str | Space, arch: str, task: str | None) -> Candidate:
    """Return the candidate that is an architecture of a space, written as it is."""
    return Candidate(arch, FromSpace(space, arch, task))


def collect(candidates: Any) -> list[Candidate]:
    """All candidates, with unique names and in the order given.

    Args:
        candidates: one of, or a list or other iterable of, or a dict from names to: modules,
            callables without arguments that build one, ``Candidate``, and names:
            ``"path/file.py"`` (all in that file), ``"path/file.py:name"``, ``"timm:resnet18"``,
            ``"timm:mobilenetv3*"``, ``"torchvision:*"``, and architectures of a search space,
            ``"hiaml:z-z-a22-l20"`` or, for another task, ``"nasbench201@cifar100:|..."``.

    Raises:
        InputError: nothing there, or something is not of a kind above.
        MissingExtraError: timm or torchvision cannot be imported.

    Example:
        >>> from torch import nn
        >>> [c.name for c in collect([nn.ReLU(), nn.Identity, nn.Identity])]
        ['ReLU', 'Identity', 'Identity-2']
    """
    found: list[Candidate] = []
    if isinstance(candidates, Mapping):
        for name, item in candidates.items():
            several = _expand(item, len(found))
            alone = len(several) == 1
            found += [replace(c, name=str(name) if alone else f"{name}/{c.name}") for c in several]
    else:
        single = isinstance(candidates, (str, Path, nn.Module, Candidate))
        if not single and not isinstance(candidates, Iterable):
            single = callable(candidates)
        if not single and not isinstance(candidates, Iterable):
            raise InputError(f"candidates: got {type(candidates).__name__}, expected {_KINDS}")
        for item in [candidates] if single else candidates:
            found += _expand(item, len(found))
    if not found:
        raise InputError(f"candidates: got none, expected at least one of {_KINDS}")
    return _unique(found)


_KINDS = "modules, callables that build one, or names such as 'models.py' or 'timm:resnet18'"


def _expand(item: Any, index: int) -> list[Candidate]:
    if isinstance(item, Candidate):
        return [item]
    if isinstance(item, nn.Module):
        return [Candidate(type(item).__name__, Given(item), rebuilds=False)]
    if isinstance(item, (str, Path)):
        return by_name(str(item))
    if callable(item):
        name = getattr(item, "__name__", "<lambda>")
        return [Candidate(f"candidate-{index + 1}" if name == "<lambda>" else name, item)]
    raise InputError(f"candidates: got an item of type {type(item).__name__}, expected {_KINDS}")


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
    """The candidates that a name stands for; see ``collect``.

    Raises:
        InputError: there is no such file, model or pattern.
        MissingExtraError: timm or torchvision cannot be imported.
    """
    zoo, colon, pattern = spec.partition(":")
    if colon and zoo in ZOOS:
        return _from_zoo(zoo, pattern)
    path, _, attribute = spec.rpartition(":") if ".py:" in spec else (spec, "", "")
    if not path.endswith(".py"):
        found = _from_space(zoo, pattern) if colon else None
        if found is None:
            raise InputError(
                f"candidates: got {spec!r}, expected a Python file ('models.py', "
                f"'models.py:name'), a model of timm or torchvision ('timm:resnet18', "
                f"'torchvision:resnet*') or an architecture of a space ('hiaml:z-z-a22-l20')"
            )
        return [found]
    return _from_file(Path(path), attribute)


def _from_zoo(zoo: str, pattern: str) -> list[Candidate]:
    package = _import_zoo(zoo)
    if zoo == "timm":
        names = everything = package.list_models()
    else:
        everything = package.models.list_models()
        # other tasks (detection, video, ...) take other inputs: only by their full name
        names = package.models.list_models(module=package.models)
    exact = pattern in everything or (zoo == "timm" and package.is_model(pattern))
    chosen = [pattern] if exact else fnmatch.filter(names, pattern)
    if not chosen:
        close = difflib.get_close_matches(pattern, everything, n=3)
        hint = f"did you mean {' or '.join(f'{zoo}:{c}' for c in close)}? " if close else ""
        raise InputError(
            f"candidates: {zoo} has no model {pattern!r}; {hint}Patterns use *, as in '{zoo}:res*'"
        )
    return [
        Candidate(f"{zoo}:{name}", FromZoo(zoo, name), inputs=_zoo_input(zoo, name))
        for name in chosen
    ]


def _from_space(prefix: str, arch: str) -> Candidate | None:
    """``SPACE:ARCH`` or ``SPACE@TASK:ARCH``; None if there is no such space."""
    from ..data import space, spaces

    name, _, task = prefix.partition("@")
    if name not in spaces():
        return None
    one = space(name)
    arch = one.normalise(arch)
    inputs = one.inputs(task or None, arch)
    return Candidate(f"{prefix}:{arch}", FromSpace(name, arch, task or None), inputs=inputs)


def _zoo_input(zoo: str, name: str) -> tuple[int, int, int] | None:
    if zoo == "timm":
        return None  # its own config says so once it is built
    # The auxiliary head of Inception v3 fits no smaller image.
    return (3, 299, 299) if "inception_v3" in name else (3, 224, 224)


def _import_zoo(zoo: str) -> ModuleType:
    try:
        return importlib.import_module(zoo)
    # a torchvision that does not fit the installed torch raises RuntimeError on import
    except (ImportError, RuntimeError, AttributeError) as error:
        raise MissingExtraError(f"A candidate '{zoo}:...'", zoo, "zoo", error) from error


def _from_file(path: Path, attribute: str) -> list[Candidate]:
    module = load_file(path)
    own_input = getattr(module, "INPUT", None)
    public = {n: v for n, v in vars(module).items() if not n.startswith("_")}
    names = [name for name, value in public.items() if _is_candidate(value, module.__name__)]
    if attribute:
        if attribute not in vars(module):
            close = difflib.get_close_matches(attribute, names, n=3) or names
            raise InputError(
                f"candidates: {path} has no {attribute!r}; it has {', '.join(close) or 'none'}"
            )
        value = getattr(module, attribute)
        if not isinstance(value, nn.Module) and not (callable(value) and _takes_nothing(value)):
            raise InputError(
                f"candidates: {path}:{attribute} is no module and no callable without arguments"
            )
        names = [attribute]
    if not names:
        raise InputError(
            f"candidates: {path} has no candidates: expected modules, or functions or classes of "
            f"modules that can be called without arguments, defined there and not starting with _"
        )
    return [
        Candidate(
            name,
            FromFile(str(path.resolve()), name),
            rebuilds=not isinstance(getattr(module, name), nn.Module),
            inputs=own_input,
        )
        for name in names
    ]


def _is_candidate(value: object, home: str) -> bool:
    if isinstance(value, nn.Module):
        return True
    if getattr(value, "__module__", None) != home:
        return False
    if inspect.isclass(value):
        return issubclass(value, nn.Module) and _takes_nothing(value)
    if not inspect.isfunction(value) or not _takes_nothing(value):
        return False
    return inspect.signature(value).return_annotation not in (None, "None")  # e.g. main()


def _takes_nothing(value: Callable[..., Any]) -> bool:
    try:
        parameters = inspect.signature(value).parameters.values()
    except ValueError:  # some builtins have no signature
        return False
    return all(
        p.default is not p.empty or p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in parameters
    )


def load_file(path: Path) -> ModuleType:
    """A Python file as a module of its own name; loaded again only after it has changed.

    Raises:
        InputError: it does not exist or raises; names file and line.
    """
    if not path.is_file():
        raise InputError(f"candidates: there is no file {str(path)!r}; check the path")
    path = path.resolve()
    key = hashlib.sha1(f"{path}:{path.stat().st_mtime_ns}".encode()).hexdigest()[:12]
    name = f"_archrank_file_{key}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    sys.path.insert(0, str(path.parent))  # as if it were run: it may import its neighbours
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise InputError(
            f"candidates: {_place(path, error)}: {type(error).__name__}: {error}; "
            f"fix it so that `python {path.name}` runs"
        ) from error
    finally:
        sys.path.remove(str(path.parent))
    return module


def _place(path: Path, error: BaseException) -> str:
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}, line {error.lineno}"
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == str(path)]
    return f"{path}, line {lines[-1]}" if lines else str(path)
