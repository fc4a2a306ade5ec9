"""Predictors as files: ``predictor.json`` and ``arrays.safetensors`` in one folder.

A class whose arguments have changed converts those of older files by ``arguments_of_file``.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from dataclasses import fields, is_dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator

from ..errors import InputError

FORMAT = 1
FACTS, _ARRAYS = "predictor.json", "arrays.safetensors"
_ROOMS = (".", "..costs")
"""Rooms whose public names may occur in a file. ``costs`` is above this room, so no code here
imports it. It is imported by name, and only if a file names one of its predictors."""
_RENAMED = {
    "Familiarity": "Distribution",
    "familiarity_": "distribution_",
}
"""Names of classes and attributes in files of archrank 0.1 -> current names."""
_PLAIN = (str, int, float, bool, type(None))


def write(predictor: BaseEstimator, path: Path, base: type[Any]) -> None:
    """Write a predictor; the folder appears whole or not at all.

    Args:
        predictor: the predictor to write.
        path: the folder.
        base: the class of all predictors; arguments and attributes may be instances of it, from any
            package.
    """
    from safetensors.numpy import save_file

    arrays: dict[str, np.ndarray[Any, Any]] = {}
    facts = {
        "format": FORMAT,
        "predictor": _encode(predictor, arrays, type(predictor).__name__, base),
    }
    text = json.dumps(facts, indent=1)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and not (path / FACTS).exists():
        raise InputError(f"path: {str(path)!r} exists already and holds no predictor")
    partial = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        (partial / FACTS).write_text(text)
        save_file({name: np.ascontiguousarray(a) for name, a in arrays.items()}, partial / _ARRAYS)
        if path.exists():
            shutil.rmtree(path)
        partial.replace(path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def read(path: Path, expected: type[Any]) -> Any:
    """Read a predictor that is an instance of ``expected``."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    problem = f"path: {str(path)!r} is not a predictor saved by archrank"
    try:
        facts = json.loads((path / FACTS).read_text())
        if facts["format"] > FORMAT:
            raise InputError(f"{problem} of format {FORMAT}: install the archrank that wrote it")
        arrays = load_file(path / _ARRAYS)
        predictor = _decode(facts["predictor"], arrays, expected)
    except FileNotFoundError as error:
        raise InputError(f"{problem}: no file {error.filename!r}") from None
    # The errors of files that are cut short, changed, or something else.
    except (ValueError, KeyError, TypeError, AttributeError, OSError, SafetensorError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{problem} ({type(error).__name__}: {error})") from error
    if not isinstance(predictor, expected):
        raise InputError(
            f"path: {str(path)!r} holds a {type(predictor).__name__}, expected {expected.__name__}"
        )
    return predictor


def _encode(
    value: Any, arrays: dict[str, np.ndarray[Any, Any]], place: str, base: type[Any]
) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, np.ndarray) and value.dtype.kind in "fiub":
        arrays[place] = value
        return {"array": place}
    if isinstance(value, (list, tuple)):
        kind = "tuple" if isinstance(value, tuple) else "list"
        return {kind: [_encode(item, arrays, f"{place}.{i}", base) for i, item in enumerate(value)]}
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {"dict": {k: _encode(v, arrays, f"{place}.{k}", base) for k, v in value.items()}}
    if _is_ours(value, base):
        fitted = {
            name: _encode(item, arrays, f"{place}.{name}", base)
            for name, item in vars(value).items()
            if name.endswith("_") and not name.startswith("_")
        }
        arguments = {
            name: _encode(_named(item), arrays, f"{place}.{name}", base)
            for name, item in _arguments(value).items()
        }
        home = type(value)
        return {"class": home.__qualname__, "arguments": arguments, "fitted": fitted}
    raise InputError(
        f"path: {place} is a {type(value).__name__}, which cannot be written without pickle; "
        "expected arrays, numbers, strings, lists, dicts or predictors"
    )


def _arguments(value: Any) -> dict[str, Any]:
    """Return the arguments of the constructor of an estimator or of settings."""
    if is_dataclass(value):
        return {field.name: getattr(value, field.name) for field in fields(value)}
    arguments: dict[str, Any] = value.get_params(deep=False)
    return arguments


def _named(value: Any) -> Any:
    """Return a search space as its name."""
    from ..data.spaces.contract import Space

    return value.name if isinstance(value, Space) else value


def _decode(value: Any, arrays: dict[str, np.ndarray[Any, Any]], expected: type[Any]) -> Any:
    if not isinstance(value, dict):
        return value
    if "array" in value:
        return arrays[value["array"]]
    if "list" in value:
        return [_decode(item, arrays, expected) for item in value["list"]]
    if "tuple" in value:
        return tuple(_decode(item, arrays, expected) for item in value["tuple"])
    if "dict" in value:
        return {key: _decode(item, arrays, expected) for key, item in value["dict"].items()}
    made = _class(_renamed(value["class"]), expected)
    arguments, fitted = (
        {_renamed(name): _decode(item, arrays, expected) for name, item in value[group].items()}
        for group in ("arguments", "fitted")
    )
    predictor = made(**getattr(made, "arguments_of_file", dict)(arguments))
    for name, item in fitted.items():
        setattr(predictor, name, item)
    return predictor


def _renamed(name: str) -> str:
    return _RENAMED.get(name, name)


def _is_ours(value: Any, base: type[Any]) -> bool:
    """Tell whether a value is a predictor, or an estimator or settings of archrank."""
    ours = type(value).__module__.startswith(__name__.partition(".")[0] + ".")
    return isinstance(value, base) or (ours and _is_written(type(value)))


def _is_written(kind: type[Any]) -> bool:
    """Tell whether files store arguments and fitted attributes of a class."""
    return issubclass(kind, BaseEstimator) or is_dataclass(kind)


def _class(name: str, expected: type[Any]) -> type[Any]:
    """Return a public class or the expected one; files cannot import anything else."""
    if name == expected.__qualname__:
        return expected
    for room in _ROOMS:
        found = getattr(import_module(room, __package__), name, None)
        if isinstance(found, type) and _is_written(found):
            return found
    raise InputError(f"path: a predictor {name!r} is not known to this archrank")
