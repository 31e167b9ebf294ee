"""Everything of the user's that a watched training can change, kept and put back bit for bit."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np

# Keras has no public name for the generator behind unseeded random operations.
from keras.src.backend.common import global_state
from keras.src.random.seed_generator import GLOBAL_SEED_GENERATOR

from floatline.backends.shelf import Shelved
from floatline.capture.shelving import Shelving
from floatline.formats import FORMATS

_WIDEST_BYTES = 8
"""Bytes of an integer, at most."""

# What `fit` writes on the model itself.
_FIT_ATTRIBUTES = ("history", "stop_training", "_initial_epoch", "_eval_epoch_iterator")


class KeptVariables:
    """Values of the variables of models and optimizers, copied when they are first seen.

    Args:
        owners: Keras models, layers and optimizers.
        shelving: Decides where the copies lie.
    """

    def __init__(self, owners: Sequence[Any], shelving: Shelving) -> None:
        self._owners = tuple(owners)
        self._shelving = shelving
        self._values: dict[int, tuple[Any, Any]] = {}
        self.remember()

    def remember(self) -> None:
        """Copies the variables that exist now and were not seen before."""
        new = {
            id(variable): variable
            for owner in self._owners
            for variable in _variables(owner)
            if id(variable) not in self._values
        }
        shelf = self._shelving.decide(sum(_bytes_of(variable) for variable in new.values()))
        for key, variable in new.items():
            value = value_of(variable)
            shelved = shelf is not None and shelf.takes(value.nbytes)
            self._values[key] = (variable, shelf.put(value) if shelf and shelved else value)

    def changed(self) -> bool:
        """Whether any variable has another value than the remembered one."""
        return any(
            not np.array_equal(value_of(variable), _recalled(value))
            for variable, value in self._values.values()
        )

    def restore(self) -> None:
        """Puts every remembered value back."""
        for variable, value in self._values.values():
            variable.assign(_recalled(value))


def _recalled(value: Any) -> Any:
    return value.array() if isinstance(value, Shelved) else value


def _bytes_of(variable: Any) -> int:
    """Bytes of a variable's values; one that is not built yet has none."""
    known = variable.shape is not None and None not in variable.shape
    width = FORMATS[variable.dtype].bits // 8 if variable.dtype in FORMATS else _WIDEST_BYTES
    return math.prod(variable.shape) * width if known else 0


def value_of(variable: Any) -> Any:
    """The value of a Keras variable, as an array of its own."""
    # The copy is a plain tensor; NumPy 2 warns when it reads a TensorFlow variable itself.
    return np.array(keras.ops.convert_to_numpy(keras.ops.copy(variable.value)))


def _variables(owner: Any) -> list[Any]:
    optimizer = getattr(owner, "optimizer", None)
    return [
        *owner.variables,
        *getattr(owner, "metrics_variables", ()),
        *(optimizer.variables if optimizer is not None else ()),
    ]


@contextmanager
def preserve_random_generators() -> Iterator[None]:
    """On exit, the generators of Python, NumPy and Keras are where they were on entry."""
    # NumPy's old global generator is the one that scripts draw from without naming it.
    python_state, numpy_state = random.getstate(), np.random.get_state()  # noqa: NPY002
    generator = global_state.get_global_attribute(GLOBAL_SEED_GENERATOR)
    seed = None if generator is None else value_of(generator.state)
    try:
        yield
    finally:
        global_state.set_global_attribute(GLOBAL_SEED_GENERATOR, generator)
        if generator is not None:
            generator.state.assign(seed)
        np.random.set_state(numpy_state)  # noqa: NPY002
        random.setstate(python_state)


@contextmanager
def preserve_attributes(owner: Any, names: Sequence[str] = _FIT_ATTRIBUTES) -> Iterator[None]:
    """On exit, these attributes of an object are what they were on entry, or gone again."""
    before = {name: vars(owner)[name] for name in names if name in vars(owner)}
    try:
        yield
    finally:
        for name in names:
            if name in before:
                setattr(owner, name, before[name])
            elif name in vars(owner):
                delattr(owner, name)


@contextmanager
def preserve_callbacks(callbacks: Sequence[Any]) -> Iterator[None]:
    """On exit, every attribute of these callbacks refers to what it referred to on entry."""
    before = [(callback, dict(vars(callback))) for callback in callbacks]
    try:
        yield
    finally:
        for callback, attributes in before:
            vars(callback).clear()
            vars(callback).update(attributes)
