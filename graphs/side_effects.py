"""Undoing what a forward pass writes into Python objects: lists, caches, attributes, closures."""

from __future__ import annotations

import copy
import functools
import gc
import sys
import threading
import warnings
from collections import OrderedDict, UserDict, UserList, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from operator import is_
from types import CellType, CodeType, FunctionType, MethodType, SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributions import Distribution
from torch.nn.parameter import is_lazy
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from ..errors import UnsupportedModelError

_Undo = Callable[[], None]
_ATOMS = frozenset(
    (str, bytes, int, float, complex, bool, type(None), torch.dtype, torch.device, torch.Size)
)
# Whose objects and functions keep nothing of a model's forward.
_FOREIGN = frozenset({*sys.stdlib_module_names, "torch", "numpy", "scipy", "archrank"})
_HOLDERS = (SimpleNamespace, UserDict, UserList, threading.local)
_CALLABLES = (FunctionType, MethodType, functools.partial, functools._lru_cache_wrapper)
_EMPTY = object()
_REGISTERED = vars(nn.Module()).keys() - {"training"}
_MOST_COPIED = 1 << 20  # elements of an array or a tensor of which a copy is kept


@contextmanager
def uncompiled() -> Iterator[None]:
    """Run what ``torch.compile`` made of functions and modules as it was written.

    The first recorded forward of a process loads torch's compiler, whose import keeps the frames
    that it is called from, and so the model, in a circle. It is loaded here, and the circle broken.
    """
    if "torch._dynamo" not in sys.modules:
        import_module("torch._dynamo")
        gc.collect()
    with torch.compiler.set_stance("force_eager"):
        yield


@contextmanager
def kept(*roots: Any, stand_in: Callable[[Tensor], Tensor] | None = None) -> Iterator[None]:
    """Undo, on exit, all writes to ``roots`` and to the mutable objects that they reach.

    These are attributes, also of classes, lists, dictionaries, sets, queues and small arrays of
    NumPy, also nested and in objects, and everything that the functions of modules and their hooks
    reach through closures, globals and defaults. Caches of functions are emptied if anything was
    added to them. Registered parameters and buffers are restored too, with their ``grad`` and
    whether they are frozen, but not the values in their memory; so are the default type of numbers
    and the choice of deterministic algorithms. Iterators are read from copies.
    Distributions of torch do not check their arguments inside.

    Args:
        roots: modules and arguments of a forward pass.
        stand_in: a function whose results replace, inside the context, all tensors of the roots
            that are neither parameters nor buffers, so that in-place operators write to stand-ins.
            Tensors that only functions reach stay, since they may be all of the caller's data.
    """
    search = _Search(stand_in)
    search.visit(roots)
    default, exact = torch.get_default_dtype(), torch.are_deterministic_algorithms_enabled()
    warns = torch.is_deterministic_algorithms_warn_only_enabled()
    checks = Distribution._validate_args
    try:
        search.substitute()
        search.copy_iterators()
        Distribution.set_default_validate_args(False)  # what they check depends on values
        yield
    finally:
        Distribution.set_default_validate_args(checks)
        for undo in search.undo:
            undo()
        torch.set_default_dtype(default)
        torch.use_deterministic_algorithms(exact, warn_only=warns)


def rewinding(model: nn.Module) -> Callable[[], None]:
    """Return what lets the next forward of a network begin as the next one would begin now.

    It puts back counters, caches and other things that forwards of the network's own modules write
    to; ``kept`` says which. It leaves parameters, buffers and hooks alone, and does nothing once a
    forward has made a module or a parameter, of which others would have other numbers.
    """
    modules = [*model.modules()]
    search = _SearchOfForwards(None)
    search.visit((model,))

    def made() -> list[tuple[int, int]]:
        return [(len(module._modules), len(module._parameters)) for module in modules]

    before = made()

    def rewind() -> None:
        if made() == before:
            for undo in search.undo:
                undo()
            search.copy_iterators()

    return rewind


def reached(kinds: tuple[type, ...], *roots: Any) -> list[Any]:
    """Return the objects of given types that the roots reach, by the rules of ``kept``."""
    search = _Search(None, kinds)
    search.visit(roots)
    return search.found


def names_read(model: nn.Module) -> set[str]:
    """Return the names of functions and attributes in the code of a model's own forwards."""
    search = _SearchOfNames(None)
    search.visit((model,))
    return search.names


class _Search:
    """Finds what can be written to, from given roots on, and remembers what it held."""

    def __init__(self, stand_in: Callable[[Tensor], Tensor] | None, kinds: tuple[type, ...] = ()):
        self._stand_in = stand_in
        self._kinds = kinds
        self.found: list[Any] = []
        self._seen: set[int] = set()
        self._waiting: list[Any] = []
        self._functions: list[Any] = []  # of the roots, looked into last
        self._owned = True  # whether the roots hold what is looked at, not functions of theirs
        self._registered: set[int] = set()
        self._plain: list[tuple[Tensor, Callable[[Tensor], None]]] = []
        self._iterators: list[tuple[Iterator[Any], Callable[[Any], None]]] = []
        self._empty: list[dict[Any, Any]] = []
        self.undo: list[_Undo] = [functools.partial(_clear, self._empty)]

    def visit(self, roots: Iterable[Any]) -> None:
        """Remember everything that the roots reach."""
        self._waiting.extend(roots)
        while self._waiting or self._functions:
            if not self._waiting:
                self._waiting, self._functions = self._functions, []
                self._owned = False
            item = self._waiting.pop()
            if type(item) in _ATOMS or isinstance(item, type) or id(item) in self._seen:
                continue
            self._seen.add(id(item))
            if isinstance(item, self._kinds):
                self.found.append(item)
            elif isinstance(item, dict):
                self._dict(item)
            elif isinstance(item, Tensor):
                self._tensor(item)
            elif isinstance(item, (list, deque)):
                self._sequence(item)
            elif isinstance(item, np.ndarray):
                self._array(item)
            elif isinstance(item, (set, frozenset, tuple)):
                if isinstance(item, set):
                    self.undo.append(functools.partial(_restore_set, item, set(item)))
                self._waiting.extend(item)
            elif isinstance(item, nn.Module):
                self._module(item)
            elif self._owned and isinstance(item, _CALLABLES):
                self._seen.discard(id(item))
                self._functions.append(item)
            elif isinstance(item, MethodType):
                self._waiting += (item.__self__, item.__func__)
            elif isinstance(item, functools.partial):
                self._waiting += (item.func, item.args, item.keywords)
            elif isinstance(item, FunctionType):
                self._function(item)
            elif isinstance(item, functools._lru_cache_wrapper):
                self.undo.append(functools.partial(_empty, item, item.cache_info().misses))
                self._waiting.append(item.__wrapped__)
            elif isinstance(item, _HOLDERS) or not _is_foreign(type(item)):
                self._object(item)

    def substitute(self) -> None:
        """Put stand-ins in the place of plain tensors, the same one wherever it stood."""
        if self._stand_in is None:
            return
        made: dict[int, Tensor] = {}
        for tensor, put in self._plain:
            if id(tensor) not in self._registered:
                if id(tensor) not in made:
                    made[id(tensor)] = self._stand_in(tensor)
                put(made[id(tensor)])

    def copy_iterators(self) -> None:
        """Put copies in the place of iterators, which forwards advance, the same one everywhere."""
        made: dict[int, Any] = {}
        for iterator, put in self._iterators:
            if id(iterator) not in made:
                made[id(iterator)] = _copy_of(iterator)
            put(made[id(iterator)])

    def _see(self, value: Any, put: Callable[..., None], *place: Any) -> None:
        """See a value, and how another one is put in its place."""
        if type(value).__module__ in ("builtins", "itertools") and isinstance(value, Iterator):
            self._iterators.append((value, functools.partial(put, *place)))

    def _dict(self, table: dict[Any, Any]) -> None:
        if not dict.__len__(table):  # as most are: modules hold ten for hooks alone
            self._empty.append(table)
            return
        before = dict(dict.items(table))
        self.undo.append(functools.partial(_restore_dict, table, before))
        for key, value in before.items():
            if type(value) not in _ATOMS:
                self._see(value, dict.__setitem__, table, key)
                self._value(value, dict.__setitem__, table, key)

    def _sequence(self, items: list[Any] | deque[Any]) -> None:
        self.undo.append(functools.partial(_restore_sequence, items, list(items)))
        kind: Any = list if isinstance(items, list) else deque
        for i, value in enumerate(items):
            if type(value) not in _ATOMS:
                self._see(value, kind.__setitem__, items, i)
                self._value(value, kind.__setitem__, items, i)

    def _value(self, value: Any, put: Callable[..., None], container: Any, key: Any) -> None:
        if not isinstance(value, Tensor):
            self._waiting.append(value)
        elif self._stand_in is not None and self._owned:
            self._plain.append((value, functools.partial(put, container, key)))

    def _module(self, module: nn.Module) -> None:
        if self._stand_in is not None:
            for tensors in (module.parameters(recurse=False), module.buffers(recurse=False)):
                self._registered.update(map(id, tensors))
        flags = [(p, p.requires_grad, p.grad) for p in module.parameters(recurse=False)]
        own = (*module.parameters(recurse=False), *module.buffers(recurse=False))
        memory = [(t, t.detach()) for t in own if _has_memory(t)]
        self.undo += (
            functools.partial(_restore_memory, memory),
            functools.partial(_restore_flags, flags),
        )
        self._dict(vars(module))
        self._classes(module)

    def _classes(self, item: Any) -> None:
        for kind in type(item).__mro__:
            if id(kind) in self._seen or _is_foreign(kind):
                continue
            self._seen.add(id(kind))
            own = _own_names(kind)
            self.undo.append(functools.partial(_restore_class, kind, own))
            for name, value in own.items():
                self._see(value, setattr, kind, name)
                if isinstance(value, (property, classmethod, staticmethod)):
                    value = getattr(value, "fget", None) or getattr(value, "__func__", None)
                if not isinstance(value, type):
                    self._waiting.append(value)

    def _tensor(self, tensor: Tensor) -> None:
        """See a tensor that is no value of a container."""

    def _array(self, array: np.ndarray) -> None:
        if self._owned and array.flags.writeable and array.size <= _MOST_COPIED:
            self.undo.append(functools.partial(np.copyto, array, array.copy()))

    def _object(self, item: Any) -> None:
        self._waiting.append(getattr(item, "__dict__", None))
        self._classes(item)
        for kind in type(item).__mro__:
            slots = vars(kind).get("__slots__", ())
            for name in (slots,) if isinstance(slots, str) else slots:
                if hasattr(item, name):
                    value = getattr(item, name)
                    self._see(value, object.__setattr__, item, name)
                    self.undo.append(functools.partial(object.__setattr__, item, name, value))
                    self._waiting.append(value)

    def _function(self, function: FunctionType) -> None:
        self._waiting += (function.__defaults__, function.__kwdefaults__)
        for cell in function.__closure__ or ():
            value = _content(cell)
            self._see(value, setattr, cell, "cell_contents")
            self.undo.append(functools.partial(_restore_cell, cell, value))
            self._waiting.append(value)
        if _is_foreign(function):
            return
        table = function.__globals__
        for name in _names(function.__code__):
            if name in table and not isinstance(table[name], type):
                self._see(table[name], table.__setitem__, name)
                self.undo.append(functools.partial(_restore_global, table, name, table[name]))
                self._waiting.append(table[name])


class _SearchOfForwards(_Search):
    """Finds what the forwards of a network's own modules write to, without its registered parts."""

    def _module(self, module: nn.Module) -> None:
        self._waiting.extend(module._modules.values())
        if not _is_foreign(type(module)):
            own = _attributes(module)
            self.undo.append(functools.partial(_restore_attributes, module, own))
            self._waiting.extend(own.values())
            for name, value in own.items():
                self._see(value, vars(module).__setitem__, name)
            self._classes(module)

    def _value(self, value: Any, put: Callable[..., None], container: Any, key: Any) -> None:
        self._waiting.append(value)

    def _tensor(self, tensor: Tensor) -> None:
        plain = _has_memory(tensor) and not (tensor.requires_grad or tensor.is_inference())
        if self._owned and plain and tensor.numel() <= _MOST_COPIED:
            before = (tensor, tensor._version, tensor.clone())
            self.undo.append(functools.partial(_restore_numbers, *before))


class _SearchOfNames(_Search):
    """Finds the names that functions read."""

    def __init__(self, stand_in: Callable[[Tensor], Tensor] | None):
        super().__init__(stand_in)
        self.names: set[str] = set()

    def _function(self, function: FunctionType) -> None:
        if any(word in function.__name__ for word in ("init", "reset", "load", "set_")):
            return  # it prepares the network
        super()._function(function)
        if not _is_foreign(function):
            self.names.update(_names(function.__code__))


class _Unread:
    """What stands for an iterator that cannot be copied, so that it is not advanced."""

    def __init__(self, iterator: Iterator[Any]):
        self._kind = type(iterator).__name__

    def __iter__(self) -> _Unread:
        return self

    def __next__(self) -> Any:
        raise UnsupportedModelError(
            f"the forward reads a {self._kind} that the model holds, which cannot be put back to "
            "where it was; hold a number that the forward counts up, or a list and a place in it"
        )


def _copy_of(iterator: Iterator[Any]) -> Any:
    """Return an iterator that goes on where another one is, and does not advance it."""
    if hasattr(iterator, "__copy__"):
        return copy.copy(iterator)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            parts: Any = iterator.__reduce__()
            make, arguments, state = (*parts, None)[:3]
            made = make(*map(_part_of, arguments))
            if state is not None:
                made.__setstate__(_state_of(state))
    except TypeError:  # as generators raise
        return _Unread(iterator)
    return made


def _part_of(value: Any) -> Any:
    """Return what a copy of an iterator holds: iterators inside are copied, too."""
    if isinstance(value, tuple) and any(isinstance(one, Iterator) for one in value):
        return tuple(map(_part_of, value))
    return _copy_of(value) if isinstance(value, Iterator) else value


def _state_of(state: Any) -> Any:
    """Return the state of a copy, which may hold what was seen so far in a list."""
    if isinstance(state, tuple):
        return tuple(map(_state_of, state))
    return [*state] if isinstance(state, list) else _part_of(state)


def _attributes(module: nn.Module) -> dict[str, Any]:
    return {name: v for name, v in vars(module).items() if name not in _REGISTERED}


def _restore_attributes(module: nn.Module, before: dict[str, Any]) -> None:
    now = _attributes(module)
    if now.keys() != before.keys() or not all(map(is_, now.values(), before.values())):
        for name in now.keys() - before.keys():
            del vars(module)[name]
        vars(module).update(before)


def _is_foreign(value: Any) -> bool:
    return str(getattr(value, "__module__", "")).partition(".")[0] in _FOREIGN


def _names(code: CodeType) -> Iterator[str]:
    """Yield the names that a function's code reads, and the functions that it defines inside."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def _content(cell: CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not bound yet
        return _EMPTY


def _restore_cell(cell: CellType, before: Any) -> None:
    if before is not _EMPTY and _content(cell) is not before:
        cell.cell_contents = before


def _restore_global(table: dict[str, Any], name: str, before: Any) -> None:
    if table.get(name) is not before:
        table[name] = before


def _clear(tables: list[dict[Any, Any]]) -> None:
    for table in tables:
        if dict.__len__(table):
            _restore_dict(table, {})


def _restore_dict(table: dict[Any, Any], before: dict[Any, Any]) -> None:
    # The plain methods: a subclass may do more in its own.
    if dict.keys(table) == before.keys() and all(map(is_, dict.values(table), before.values())):
        return
    kind = OrderedDict if isinstance(table, OrderedDict) else dict
    kind.clear(table)
    kind.update(table, before)


def _own_names(kind: type) -> dict[str, Any]:
    return {n: v for n, v in vars(kind).items() if not (n[:2] == n[-2:] == "__")}


def _restore_class(kind: type, before: dict[str, Any]) -> None:
    for name in _own_names(kind).keys() - before.keys():
        delattr(kind, name)
    for name, value in before.items():
        if vars(kind).get(name, _EMPTY) is not value:
            setattr(kind, name, value)


def _restore_sequence(items: list[Any] | deque[Any], before: list[Any]) -> None:
    if len(items) == len(before) and all(map(is_, items, before)):
        return
    if isinstance(items, list):
        list.__setitem__(items, slice(None), before)
    else:
        deque.clear(items)
        deque.extend(items, before)


def _has_memory(tensor: Tensor) -> bool:
    """Return whether a tensor is one block of memory, which its ``data`` could be exchanged for."""
    whole = tensor.layout == torch.strided and not is_traceable_wrapper_subclass(tensor)
    return whole and not is_lazy(tensor)


def _restore_memory(memory: Sequence[tuple[Tensor, Tensor]]) -> None:
    """Give tensors their memory again where a forward assigned to their ``data``."""
    for tensor, before in memory:
        if tensor.device != before.device or tensor.data_ptr() != before.data_ptr():
            tensor.data = before


def _restore_numbers(tensor: Tensor, version: int, before: Tensor) -> None:
    if tensor._version != version:
        tensor.data.copy_(before)


def _restore_flags(flags: Sequence[tuple[Tensor, bool, Tensor | None]]) -> None:
    for parameter, before, gradient in flags:
        if parameter.requires_grad != before:
            parameter.requires_grad_(before)
        if parameter.grad is not gradient:
            parameter.grad = gradient


def _restore_set(items: set[Any], before: set[Any]) -> None:
    if len(items) != len(before) or items - before:
        set.clear(items)
        set.update(items, before)


def _empty(cached: functools._lru_cache_wrapper[Any], misses: int) -> None:
    if cached.cache_info().misses != misses:
        cached.cache_clear()
