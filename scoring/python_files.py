"""Python files: loading them as modules, and choosing the networks to rank among their names.

A file lists its candidates as ``CANDIDATES`` or ``candidates()``. From a file without such a list,
modules, classes of modules and functions known to return a module are taken. Nothing else is
called: a function that trains, for example, must not run because its file was named. The
``__init__.py`` of a package counts as a file that also defines what it imports from the package.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any, get_type_hints

from torch import nn
from torch.nn.modules.loss import _Loss

from ..errors import InputError
from ..graphs.randomness import seeded
from .candidate import Builder

_DOES_MORE = frozenset("main run train fit test evaluate eval load download".split())
"""First words of names of functions that may do more than build a network."""
_RETURN_THEMSELVES = frozenset(
    "to cpu cuda eval train half float double bfloat16 requires_grad_ apply".split()
)
"""Methods of modules that return the module itself."""
_PREDICTIONS = frozenset(
    "input inputs pred preds prediction predictions logits output outputs y_pred y_hat".split()
)
_TARGETS = frozenset("target targets label labels y y_true".split())
"""What losses call what they compare."""


@dataclass(frozen=True)
class FromFile(Builder):
    """A builder of ``attribute`` in a Python file, pickled as the two names."""

    path: str
    attribute: str

    @property
    def identity(self) -> tuple[str, str]:
        """The contents of the file and of the neighbouring files that it imports."""
        return "file", f"{Path(self.path).name}:{self.attribute} {version_of(Path(self.path))}"

    def __call__(self) -> nn.Module:
        found = getattr(load_file(Path(self.path)), self.attribute)
        return found if isinstance(found, nn.Module) else found()


@dataclass(frozen=True)
class Choice:
    """The choice of networks to rank among the names of a file.

    Attributes:
        names: the names that are networks.
        left_out: name -> the reason why it is not a network, for names that look like one.
    """

    names: tuple[str, ...]
    left_out: dict[str, str]

    def __str__(self) -> str:
        return ", ".join(f"{name} ({why})" for name, why in self.left_out.items())


def choose(module: ModuleType) -> Choice:
    """Choose the networks to rank among the public names that a file defines."""
    names, left_out = [], {}
    source = _Source(module)
    for name in defined_names(module):
        why = source.why_not(name, vars(module)[name])
        if why is None:
            names.append(name)
        elif why:
            left_out[name] = why
    return Choice(tuple(names), left_out)


def defined_names(module: ModuleType) -> list[str]:
    """Return the public names that a file defines and does not import."""
    imported = _Source(module).imported
    return [name for name in vars(module) if not name.startswith("_") and name not in imported]


class _Source:
    """A file's text beside the module that it became: what is imported, what functions return."""

    def __init__(self, module: ModuleType):
        self._module = module
        self.imported: set[str] = set()
        self._functions: dict[str, ast.FunctionDef | ast.Lambda] = {}
        self._is_package = Path(str(module.__file__)).name == PACKAGE
        for node in _outermost(ast.parse(Path(str(module.__file__)).read_bytes())):
            if isinstance(node, ast.ImportFrom) and node.level and self._is_package:
                continue
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                self.imported |= {(a.asname or a.name).partition(".")[0] for a in node.names}
            elif isinstance(node, ast.FunctionDef):
                self._functions[node.name] = node
            elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Lambda):
                names = [target.id for target in node.targets if isinstance(target, ast.Name)]
                self._functions.update(dict.fromkeys(names, node.value))

    def why_not(self, name: str, value: object) -> str | None:
        """Say why a name is not a network; None if it is one, empty if it never looked like one."""
        if isinstance(value, nn.Module):
            no_weights = None if any(True for _ in value.parameters()) else "it has no weights"
            return _no_network(type(value)) or no_weights
        if inspect.isclass(value):
            if not issubclass(value, nn.Module) or not self._defines(value):
                return ""
            return _no_network(value) or _missing(value) or _unfinished(value)
        if isinstance(value, functools.partial):
            known = self._gives(value.func)
        elif inspect.isfunction(value):
            known = self._gives(value)
        else:
            return ""
        missing = _missing(value)
        if not known:
            # One with arguments is nobody's builder; one without may well have been meant.
            return "" if missing else "not known to return a module"
        if name.partition("_")[0].casefold() in _DOES_MORE:
            return "its name says that it does more than build"
        return missing

    def _defines(self, value: Any) -> bool:
        """Return whether a class is defined in the file, or in the package that it stands for."""
        home, own = value.__module__, self._module.__name__
        inside = home.startswith(f"{own.rpartition('.')[0]}.")
        return bool(home == own or (self._is_package and inside))

    def _gives(self, function: Any, seen: frozenset[str] = frozenset()) -> bool:
        """Return whether a class, function or other callable is known to return a network."""
        if inspect.isclass(function):
            return issubclass(function, nn.Module) and _no_network(function) is None
        hint = _hint(function)
        if hint is not None:
            return inspect.isclass(hint) and self._gives(hint)
        name = getattr(function, "__name__", "")
        if name == "<lambda>":
            name = next((n for n, v in vars(self._module).items() if v is function), "")
        node = self._functions.get(name)
        if node is None or name in seen or not inspect.isroutine(function):
            return False
        if getattr(function, "__module__", None) != self._module.__name__:
            return False
        return self._body_gives(node, seen | {name})

    def _body_gives(self, node: ast.FunctionDef | ast.Lambda, seen: frozenset[str]) -> bool:
        """Return whether all that a function returns are networks, as far as its text says so."""
        if isinstance(node, ast.Lambda):
            return self._is_network(node.body, {}, seen)
        parts = list(_outermost(node))
        assigned: dict[str, list[ast.expr]] = {}
        for part in parts:
            if isinstance(part, ast.Assign):
                for target in part.targets:
                    if isinstance(target, ast.Name):
                        assigned.setdefault(target.id, []).append(part.value)
        returned = [part.value for part in parts if isinstance(part, ast.Return)]
        return bool(returned) and all(
            value is not None and self._is_network(value, assigned, seen) for value in returned
        )

    def _is_network(
        self, node: ast.expr, assigned: dict[str, list[ast.expr]], seen: frozenset[str]
    ) -> bool:
        """Return whether an expression is known to be a network, without evaluating it."""
        if isinstance(node, ast.IfExp):
            return all(self._is_network(one, assigned, seen) for one in (node.body, node.orelse))
        if isinstance(node, ast.Name):
            if node.id in assigned:
                others = {name: values for name, values in assigned.items() if name != node.id}
                return any(self._is_network(v, others, seen) for v in assigned[node.id])
            value = vars(self._module).get(node.id)
            return isinstance(value, nn.Module) and _no_network(type(value)) is None
        if not isinstance(node, ast.Call):
            return False
        called = node.func
        if isinstance(called, ast.Attribute) and called.attr in _RETURN_THEMSELVES:
            return self._is_network(called.value, assigned, seen)
        return self._gives(self._meaning(called), seen)

    def _meaning(self, node: ast.expr) -> Any:
        """Return what a dotted name of the file stands for; None if that would run code."""
        if isinstance(node, ast.Name):
            return vars(self._module).get(node.id)
        if isinstance(node, ast.Attribute):
            home = self._meaning(node.value)
            return getattr(home, node.attr, None) if isinstance(home, ModuleType) else None
        return None


def _outermost(node: ast.AST) -> Iterator[ast.AST]:
    """Yield what is inside a node, but for what is inside functions and classes in it."""
    for child in ast.iter_child_nodes(node):
        yield child
        if not isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)):
            yield from _outermost(child)


def _hint(function: Any) -> Any:
    """Return what a function is annotated to return; None if that is not said or not known."""
    try:
        return get_type_hints(function).get("return")
    except (NameError, TypeError, AttributeError, SyntaxError):
        return None


def _no_network(kind: type[nn.Module]) -> str | None:
    """Say why modules of a class are not networks to rank."""
    if any(base.__module__.partition(".")[0] == "torchmetrics" for base in kind.__mro__):
        return "a metric"
    if issubclass(kind, _Loss) or kind.__name__.endswith(("Loss", "Criterion")):
        return "a loss"
    try:
        parameters = inspect.signature(kind.forward).parameters.values()
    except (TypeError, ValueError):
        return None
    required = {p.name for p in parameters if p.default is p.empty}
    compares = required & _PREDICTIONS and required & _TARGETS
    return "a loss: its forward needs targets" if compares else None


def _unfinished(kind: type[nn.Module]) -> str | None:
    """Say why a class is one for others to derive from; None if it is whole."""
    if inspect.isabstract(kind):
        return "it is abstract"
    return "it has no forward" if kind.forward is nn.Module.forward else None


def takes_nothing(value: Callable[..., Any]) -> bool:
    """Return whether an object can be called without arguments."""
    return _missing(value) is None


def _missing(value: Callable[..., Any]) -> str | None:
    """Say which arguments it cannot be called without; None if there are none."""
    try:
        parameters = inspect.signature(value).parameters.values()
    except (TypeError, ValueError):  # some builtins have no signature
        return "it does not say its arguments"
    optional = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    names = [p.name for p in parameters if p.default is p.empty and p.kind not in optional]
    return f"it needs {', '.join(names)}" if names else None


# --- loading --------------------------------------------------------------------------------------

PACKAGE = "__init__.py"
"""The file that makes a folder a package, and that stands for it."""


def load_file(path: Path) -> ModuleType:
    """Load a Python file as a module of its own name; load it again only after it has changed.

    It is imported under seed 0, whatever the seed of the run, so that its existing networks are
    always the same.

    Raises:
        InputError: the file does not exist or raises an error; the message names file and line.
    """
    if not path.is_file():
        raise InputError(f"candidates: there is no file {str(path)!r}; check the path")
    path = path.resolve()
    key = hashlib.sha1(f"{path}:{path.stat().st_mtime_ns}".encode()).hexdigest()[:12]
    package, root = _package_of(path)
    name = f"{package}_archrank_file_{key}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    places = [str(path.parent), *([str(root)] if package else [])]
    sys.path[:0] = places  # as if it were run: it may import its neighbours
    # A file that reads its arguments as it is imported is not to read ours.
    arguments, sys.argv = sys.argv, [str(path)]
    try:
        with seeded(0):  # networks that it makes then have the same weights in every run
            spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise InputError(
            f"candidates: {_place(path, error)}: {type(error).__name__}: {error}; "
            f"{_fix(path, error)}"
        ) from error
    finally:
        sys.argv = arguments
        for place in places:
            sys.path.remove(place)
    return module


def _fix(path: Path, error: BaseException) -> str:
    """Say what to do about an error of a file."""
    if isinstance(error, SystemExit):
        return "it ends the program on import: put what runs it below if __name__ == '__main__':"
    if isinstance(error, ImportError) and "no known parent package" in str(error):
        return f"put an empty {PACKAGE} into {str(path.parent)!r}, so that it is a package"
    return f"fix it so that `python {path.name}` runs"


def _package_of(path: Path) -> tuple[str, Path]:
    """Return the package that a file lies in, as ``"package.part."``, and where the package lies.

    The package is empty for a file outside of any.
    """
    folder, names = path.parent, ""
    while (folder / PACKAGE).is_file() and folder.name.isidentifier():
        folder, names = folder.parent, f"{folder.name}.{names}"
    return names, folder


def _place(path: Path, error: BaseException) -> str:
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}, line {error.lineno}"
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == str(path)]
    return f"{path}, line {lines[-1]}" if lines else str(path)


def version_of(path: Path) -> str:
    """Return a name for the contents of a file and of the neighbouring files that it imports.

    If one of these files changes, the networks change too.
    """
    return _sources(load_file(path).__name__, path)


@lru_cache
def _sources(loaded: str, path: Path) -> str:
    """Digest a file, loaded under a name of its version, and what it brought from its folder."""
    folder, digest = path.parent, hashlib.sha256()
    files = {getattr(module, "__file__", None) for module in [*sys.modules.values()]}
    for file in sorted(Path(f) for f in files if f and Path(f).is_relative_to(folder)):
        if "site-packages" not in file.parts and file.is_file():
            digest.update(str(file.relative_to(folder)).encode() + file.read_bytes())
    return digest.hexdigest()[:16]
