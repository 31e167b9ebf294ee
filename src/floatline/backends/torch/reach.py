"""What a step function can reach: the modules, optimizers, tensors and containers it may change."""

from __future__ import annotations

import functools
import inspect
import sys
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from types import CellType, FunctionType, MethodType, ModuleType
from typing import Any

import keras
import torch

from floatline.backends.loss_scales import scale_variables
from floatline.backends.torch.layers import uncompiled
from floatline.sources import is_users

LARGEST_CONTAINER = 10_000
"""Elements beyond which a container is data, which is read and not written by a step."""

_AS_WRITTEN = "_torchdynamo_orig_callable"
"""Where `torch.compile` keeps the function that it was given."""

_CONTAINERS = (dict, list, set, deque)
_KERAS = (keras.Layer, keras.optimizers.Optimizer, keras.metrics.Metric, keras.random.SeedGenerator)
_NAMELESS = (torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler)
_STATEFUL = ("torch.nn", "torch.optim", "torch.amp", "torch.cuda.amp")
"""Where classes of PyTorch's live whose objects carry the state of a training."""


@dataclass(slots=True)
class Reached:
    """Everything that was found, each thing once.

    Attributes:
        tensors: Tensors, with the name that leads to them.
        data: Tensors that belong to no module, optimizer or other object.
        modules: Outermost PyTorch modules by the name of their variable.
        optimizers: PyTorch's optimizers.
        keras: Layers, optimizers, metrics and seed generators of Keras.
        containers: Dictionaries, lists, sets and queues.
        objects: Objects with attributes.
        cells: Variables of enclosing functions.
        globals: Global variables, as `(namespace, name)`.
        generators: Random generators of PyTorch.
        compiled: Whether something was made by `torch.compile`.
    """

    tensors: list[tuple[str, Any]] = field(default_factory=list)
    data: list[Any] = field(default_factory=list)
    modules: dict[str, torch.nn.Module] = field(default_factory=dict)
    optimizers: list[Any] = field(default_factory=list)
    keras: list[Any] = field(default_factory=list)
    containers: list[Any] = field(default_factory=list)
    objects: list[Any] = field(default_factory=list)
    cells: list[CellType] = field(default_factory=list)
    globals: list[tuple[dict[str, Any], str]] = field(default_factory=list)
    generators: list[Any] = field(default_factory=list)
    compiled: bool = False


def reached_from(roots: Iterable[Any]) -> Reached:
    """Follows functions, methods, attributes and containers from the roots.

    Example:

    >>> model = torch.nn.Linear(2, 1)
    >>> def step(x):
    ...     return model(x)
    >>> reached = reached_from([step])
    >>> list(reached.modules), [name for name, _ in reached.tensors]
    (['model'], ['model.weight', 'model.bias'])
    """
    walk = _Walk()
    for root in roots:
        walk.visit("", root)
        walk.follow()
    return walk.found


class _Walk:
    def __init__(self) -> None:
        self.found = Reached()
        # What objects own is followed first: what remains is data.
        self.owned: deque[tuple[str, Any]] = deque()
        self.waiting: deque[tuple[str, Any]] = deque()
        self._seen: dict[int, Any] = {}
        self._functions = 0
        self._inside = False

    def follow(self) -> None:
        """Visits everything that was met, until nothing new is."""
        while self.owned or self.waiting:
            self._inside = bool(self.owned)
            name, thing = (self.owned or self.waiting).popleft()
            self.visit(name, thing)

    def visit(self, name: str, thing: Any) -> None:
        if id(thing) in self._seen or isinstance(thing, (type, ModuleType, str, bytes)):
            return
        self._seen[id(thing)] = thing
        if isinstance(thing, torch.Tensor):
            self.found.tensors.append((name, thing))
            if not self._inside:
                self.found.data.append(thing)
        elif isinstance(thing, _KERAS):
            self.found.keras.append(thing)
        elif isinstance(thing, torch.Generator):
            self.found.generators.append(thing)
        elif isinstance(thing, (FunctionType, MethodType, functools.partial)):
            self._visit_callable(thing)
        elif isinstance(thing, (*_CONTAINERS, tuple)):
            self._visit_container(name, thing)
        elif isinstance(thing, torch.nn.Module):
            self._visit_module(name, thing)
        elif _is_stateful(thing):
            self._visit_object(name, thing)

    def _visit_callable(self, thing: Any) -> None:
        as_written = getattr(thing, _AS_WRITTEN, None)
        if as_written is not None:
            self.found.compiled = True
            self._later("", [as_written])
        elif isinstance(thing, functools.partial):
            self._later("", [thing.func, *thing.args, *thing.keywords.values()])
        elif isinstance(thing, MethodType):
            self._later("", [thing.__self__, thing.__func__])
        elif not self._functions or is_users(thing.__code__.co_filename):
            self._functions += 1
            self._visit_function(inspect.unwrap(thing))

    def _visit_function(self, function: Callable[..., Any]) -> None:
        code = getattr(function, "__code__", None)
        if code is None:
            self._later("", [function])
            return
        cells = getattr(function, "__closure__", None) or ()
        self.found.cells += cells
        met = [(name, _content(cell)) for name, cell in zip(code.co_freevars, cells, strict=False)]
        space = getattr(function, "__globals__", {})
        known = [name for name in _names(code) if name in space]
        self.found.globals += [(space, name) for name in known]
        met += [(name, space[name]) for name in known]
        # An optimizer names no weight, so the modules and tensors themselves come first.
        self.waiting += sorted(met, key=lambda pair: isinstance(pair[1], _NAMELESS))

    def _visit_container(self, name: str, thing: Any) -> None:
        if len(thing) > LARGEST_CONTAINER:
            return
        if not isinstance(thing, tuple):
            self.found.containers.append(thing)
        if isinstance(thing, dict):
            self._later(name, thing.keys())
            for key, value in thing.items():
                self._queue.append((f"{name}.{key}" if isinstance(key, str) else name, value))
        else:
            self._later(name, thing)

    def _visit_module(self, name: str, module: torch.nn.Module) -> None:
        if uncompiled(module) is not module:
            self.found.compiled = True
            self.visit(name, uncompiled(module))
            return
        self.found.modules.setdefault(name or type(module).__name__, module)
        for path, part in module.named_modules(prefix=name):
            self._seen[id(part)] = part
            if isinstance(part, _KERAS):
                self.found.keras.append(part)
                continue
            self.found.objects.append(part)
            for attribute, value in vars(part).items():
                inner = "" if attribute in ("_parameters", "_buffers") else f".{attribute}"
                self.owned.append((f"{path}{inner}", value))

    def _visit_object(self, name: str, thing: Any) -> None:
        if isinstance(thing, torch.optim.Optimizer):
            self.found.optimizers.append(thing)
        self.found.objects.append(thing)
        for attribute, value in vars(thing).items():
            self.owned.append((f"{name}.{attribute}" if name else attribute, value))

    def _later(self, name: str, things: Iterable[Any]) -> None:
        self._queue.extend((name, thing) for thing in things)

    @property
    def _queue(self) -> deque[tuple[str, Any]]:
        return self.owned if self._inside else self.waiting


def _content(cell: CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # Not assigned yet.
        return None


def _names(code: Any) -> Iterable[str]:
    """The names that a function's code, and what is defined inside it, may look up globally."""
    yield from code.co_names
    for constant in code.co_consts:
        if inspect.iscode(constant):
            yield from _names(constant)


def _is_stateful(thing: Any) -> bool:
    if not hasattr(thing, "__dict__"):
        return False
    home = type(thing).__module__
    if home.startswith(_STATEFUL):
        return True
    file = getattr(sys.modules.get(home), "__file__", None)
    return home == "__main__" or (file is not None and is_users(file))


def layers_in(reached: Reached) -> list[Any]:
    """Every Keras layer, those inside of others included."""
    return [
        layer
        for thing in reached.keras
        if isinstance(thing, keras.Layer)
        for layer in thing._flatten_layers()  # noqa: SLF001 (Keras lists nested layers nowhere else)
    ]


def scale_tensors(reached: Reached) -> list[Any]:
    """The tensors that drive a loss scale."""
    optimizers = [*reached.keras, *(getattr(thing, "optimizer", None) for thing in reached.keras)]
    scalers = [thing for thing in reached.objects if isinstance(thing, torch.amp.GradScaler)]
    return [
        *(v._value for v in scale_variables(optimizers)),  # noqa: SLF001 (`value` is cast under autocast)
        *(value for s in scalers for value in vars(s).values() if isinstance(value, torch.Tensor)),
    ]
