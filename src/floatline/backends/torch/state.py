"""Everything that a training step can change, copied and put back bit for bit."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import CellType
from typing import Any

import keras
import numpy as np
import torch

# Keras has no public name for the generator behind unseeded random operations.
from keras.src.backend.common import global_state
from keras.src.random.seed_generator import GLOBAL_SEED_GENERATOR

from floatline.backends.shelf import Shelf
from floatline.backends.torch.lanes import Tensor
from floatline.backends.torch.reach import Reached, reached_from
from floatline.backends.torch.shadows import memory
from floatline.backends.torch.shelving import OnShelf, copy_of, recalled
from floatline.patches import definer, replaced


@dataclass(frozen=True, slots=True)
class KeptTensor:
    """A tensor as it was.

    Attributes:
        tensor: The tensor.
        value: Its values.
        grad: Its gradient.
        grad_value: The gradient's values.
        requires_grad: Whether it takes part in gradients.
        variable: The Keras variable that holds it, and the dtype that this one said it has.
    """

    tensor: Tensor
    value: Tensor | OnShelf
    grad: Tensor | None
    grad_value: Tensor | OnShelf | None
    requires_grad: bool
    variable: tuple[Any, str] | None = None

    def recalled(self) -> Tensor:
        """Its values; in another dtype if its variable has been given one since, as plans do."""
        value: Tensor = recalled(self.value)
        if self.variable is None or self.variable[0].dtype == self.variable[1]:
            return value
        return value.to(getattr(torch, self.variable[0].dtype))


@dataclass(frozen=True, slots=True)
class State:
    """A snapshot.

    Attributes:
        tensors: By identity.
        structure: Containers, attributes and variables, each as `(what, copy)`.
        generators: Random generators and their states.
        random: The global random states.
    """

    tensors: Mapping[int, KeptTensor]
    structure: tuple[tuple[Any, Any], ...]
    generators: tuple[tuple[Any, Tensor], ...]
    random: RandomState


@dataclass(frozen=True, slots=True)
class RandomState:
    """The global random states of PyTorch, NumPy and Python."""

    host: Tensor
    devices: tuple[Tensor, ...]
    numpy: Any
    python: Any


class Keeper:
    """Knows what a step may change, takes snapshots of it and puts them back.

    Args:
        roots: The model, or the step function.
    """

    def __init__(self, roots: Iterable[Any]) -> None:
        self._roots = list(roots)
        self._born: dict[int, KeptTensor] = {}
        self._copies: dict[int, tuple[Tensor, int, Tensor | OnShelf]] = {}
        self._shelf: Shelf | None = None

    def keep_on(self, shelf: Shelf) -> None:
        """Snapshots keep their large tensors there from now on, one after the other."""
        self._shelf = shelf

    def state_bytes(self) -> int:
        """Bytes of all tensors that a snapshot copies; gradients are not there all the time."""
        tensors = {id(tensor): tensor for tensor in _tensors(self.reached())}
        return sum(tensor.nbytes for tensor in tensors.values())

    def add_roots(self, roots: Iterable[Any]) -> None:
        """Adds what was seen to take part in the step."""
        self._roots += [root for root in roots if not any(root is known for known in self._roots)]

    @contextmanager
    def noting_births(self) -> Iterator[None]:
        """While active, the initial values of new Keras variables are kept."""

        def around(original: Any) -> Any:
            def initialize(variable: Any, value: Any) -> None:
                original(variable, value)
                tensor = variable._value  # noqa: SLF001 (`value` is cast under autocast)
                if tensor is not None and tensor.device.type != "meta":
                    self._born[id(tensor)] = self._kept(tensor, variable)

            return initialize

        with replaced(definer(keras.Variable, "_initialize"), "_initialize", around):
            yield

    def reached(self) -> Reached:
        """Everything that the step can reach now."""
        return reached_from(self._roots)

    def names(self) -> dict[int, str]:
        """Path of every known variable, by the memory that holds it."""
        reached = self.reached()
        named: dict[int, str] = {}
        for variable in _keras_variables(reached.keras):
            named.setdefault(memory(_raw(variable)), variable.path)
        prefix = next(iter(reached.modules), "") + "." if len(reached.modules) == 1 else ""
        for name, tensor in reached.tensors:
            named.setdefault(memory(tensor), name.removeprefix(prefix))
        for optimizer in reached.optimizers:
            for weight, values in optimizer.state.items():
                path = named.get(memory(weight), "weight")
                for key, value in values.items():
                    if isinstance(value, torch.Tensor):
                        named[memory(value)] = f"{path}.{key}"
        return named

    def named_values(self) -> dict[str, Tensor]:
        """Copies of every known variable, by path."""
        named = self.names()
        tensors = {memory(tensor): tensor for tensor in _tensors(self.reached())}
        return {
            path: tensors[key].detach().clone() for key, path in named.items() if key in tensors
        }

    def snapshot(self) -> State:
        """Copies everything that the step can change."""
        reached = self.reached()
        tensors = {id(tensor): tensor for tensor in _tensors(reached)}
        data = set(map(id, reached.data))
        variables = {id(_raw(variable)): variable for variable in _keras_variables(reached.keras)}
        return State(
            {
                key: self._kept(tensor, variables.get(key), data=key in data)
                for key, tensor in tensors.items()
            },
            tuple(_structure(reached)),
            tuple((generator, generator.get_state()) for generator in reached.generators),
            random_state(),
        )

    def restore(self, state: State) -> None:
        """Puts a snapshot back, bit for bit; what was made since is as it was when it was made."""
        for what, copy in state.structure:
            _put_back(what, copy)
        for kept in {**self._born, **state.tensors}.values():
            put_tensor(kept)
        for generator, generator_state in state.generators:
            generator.set_state(generator_state)
        put_random_state(state.random)

    def _kept(self, tensor: Tensor, variable: Any = None, *, data: bool = False) -> KeptTensor:
        grad = tensor.grad if tensor.is_leaf else None
        return KeptTensor(
            tensor,
            self._copied(tensor) if data else copy_of(tensor, self._shelf),
            grad,
            None if grad is None else copy_of(grad, self._shelf),
            tensor.requires_grad,
            None if variable is None else (variable, variable.dtype),
        )

    def _copied(self, tensor: Tensor) -> Tensor | OnShelf:
        """A copy of data; the one made before, if nobody wrote to it since."""
        known = self._copies.get(id(tensor))
        version = tensor._version  # noqa: SLF001 (the count of writes has no public name)
        if known is None or known[0] is not tensor or known[1] != version:
            known = self._copies[id(tensor)] = (tensor, version, copy_of(tensor, self._shelf))
        return known[2]


def put_tensor(kept: KeptTensor) -> None:
    """Gives a tensor its values, its gradient and its part in gradients back."""
    tensor, value = kept.tensor, kept.recalled()
    with torch.no_grad():
        if tensor.shape == value.shape and tensor.dtype == value.dtype:
            tensor.copy_(value)
        else:
            tensor.grad = None  # A gradient of another dtype would not be accepted beside it.
            tensor.data = value.clone()
        if tensor.is_leaf:
            fits = kept.grad is not None and kept.grad.dtype == tensor.dtype
            tensor.grad = kept.grad if fits else None
            if kept.grad is not None:
                kept.grad.copy_(recalled(kept.grad_value))
            if tensor.requires_grad != kept.requires_grad:
                tensor.requires_grad_(kept.requires_grad)


def random_state() -> RandomState:
    """The global random states as they are now."""
    devices = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    return RandomState(
        torch.get_rng_state(),
        tuple(devices),
        np.random.get_state(),  # noqa: NPY002 (the generator that a step draws from unnamed)
        random.getstate(),
    )


def put_random_state(state: RandomState) -> None:
    """Puts the global random states back."""
    torch.set_rng_state(state.host)
    if state.devices:
        torch.cuda.set_rng_state_all(list(state.devices))
    np.random.set_state(state.numpy)  # noqa: NPY002
    random.setstate(state.python)


def _tensors(reached: Reached) -> Iterator[Tensor]:
    for variable in _keras_variables(reached.keras):
        yield _raw(variable)
    for thing in reached.keras:
        if isinstance(thing, keras.Layer):
            yield from thing.parameters()
            yield from thing.buffers()
    yield from (tensor for _, tensor in reached.tensors)


def _keras_variables(things: Iterable[Any]) -> Iterator[Any]:
    generator = global_state.get_global_attribute(GLOBAL_SEED_GENERATOR)
    owners = [*things, *([generator] if generator is not None else [])]
    for owner in owners:
        optimizer = getattr(owner, "optimizer", None)
        variables = [
            *(owner.variables if hasattr(owner, "variables") else [owner.state]),
            *getattr(owner, "metrics_variables", ()),
            *(optimizer.variables if isinstance(optimizer, keras.optimizers.Optimizer) else ()),
        ]
        yield from (variable for variable in variables if _raw(variable) is not None)


def _raw(variable: Any) -> Any:
    """The tensor behind a Keras variable, whose own `value` is cast under autocast."""
    return variable._value  # noqa: SLF001 (see above)


def _structure(reached: Reached) -> Iterator[tuple[Any, Any]]:
    for container in reached.containers:
        yield container, container.copy()
    for thing in reached.objects:
        yield thing, dict(vars(thing))
    for cell in reached.cells:
        try:
            yield cell, cell.cell_contents
        except ValueError:  # Not assigned yet.
            continue
    for space, name in reached.globals:
        yield (space, name), space[name]


def _put_back(what: Any, copy: Any) -> None:
    if isinstance(what, tuple):
        space, name = what
        space[name] = copy
    elif isinstance(what, (dict, set)):
        what.clear()
        what.update(copy)
    elif isinstance(what, CellType):
        what.cell_contents = copy
    elif isinstance(what, (list, deque)):
        what.clear()
        what.extend(copy)
    else:
        vars(what).clear()
        vars(what).update(copy)
