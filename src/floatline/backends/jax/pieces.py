"""A long jaxpr compiled in pieces, one per name scope; pieces that are alike are compiled once.

A traced step is many times its step, and XLA takes long to compile it as a whole: minutes, for a
network that trains on a GPU. Networks repeat themselves, though. Cut into the operations of the
step, each with all its lanes, a network of many layers has no more kinds of pieces than one of two.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Hashable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import lax
from jax.extend import core

from floatline.backends.jax.bundles import BRANCH, CONVOLUTION, bundled, cut
from floatline.backends.jax.jaxprs import MEASURE_SCOPE, bind, closed_over, is_variable, scopes
from floatline.backends.jax.lanes import Array

WHOLE = 2500
"""Operations of a function that is compiled as a whole."""

AFFORDABLE = 4 * WHOLE
"""Those of a function that may be if nothing else shows what its user sees."""

TOGETHER = 16
"""How many pieces are compiled as one program at most, on a GPU. Starting a program takes its host
a tenth of a millisecond, longer than most pieces run; a step of twelve layers has 11 500 pieces
and 1100 such programs, of fewer kinds than there are kinds of pieces.

What lies between two pieces is held back, so that XLA rewrites none with another: it rounds what it
rounded, and multiplies what it multiplied. How what is held back lies in memory is left to it, and
with that the order of a sum. On a CPU, where starting is cheap, XLA lets go of what is held back
before it fuses: functions like `rsqrt` and `exp` then come out otherwise in the last digit.
"""

Function = Callable[[Sequence[Array]], list[Array]]


class Whole:
    """A function that is compiled as one.

    Args:
        closed: The function's jaxpr.
        inputs: What it will be given.
        options: Compiler options.
    """

    def __init__(self, closed: Any, inputs: Sequence[Array], options: Mapping[str, Any]) -> None:
        self._function = jax.jit(core.jaxpr_as_fun(closed), compiler_options=dict(options))
        self._inputs = [_shape_of(array) for array in inputs]

    def __call__(self, inputs: Sequence[Array]) -> list[Array]:
        """Runs it."""
        return list(self._function(*inputs))

    @functools.cached_property
    def least_bytes(self) -> int:
        """Memory that it needs besides its inputs, as the compiler has planned it."""
        planned = self._function.lower(*self._inputs).compile().memory_analysis()
        return 0 if planned is None else planned.temp_size_in_bytes + planned.output_size_in_bytes


class Piece(NamedTuple):
    """Consecutive operations, compiled.

    Attributes:
        run: What they read to what they write.
        reads: Variables of the jaxpr that they need.
        writes: Variables that are needed after them.
        drops: Variables that nobody needs after them.
    """

    run: Callable[..., Sequence[Array]]
    reads: tuple[Any, ...]
    writes: tuple[Any, ...]
    drops: tuple[Any, ...]


def compiled(
    closed: Any, inputs: Sequence[Array], options: Mapping[str, Any], *, whole: bool = False
) -> Whole | Chain:
    """Compiles a function for inputs like these: as a whole while that is quick.

    XLA rewrites what it sees together, `(1 - x) + c` into `(1 + c) - x`, and a small step is to be
    rewritten as its user's is. Pieces show what its operations say.

    Args:
        closed: The function's jaxpr.
        inputs: What it will be given. Where they are spread over several devices the function
            stays whole, for only XLA knows how what lies between pieces would be spread.
        options: Compiler options.
        whole: Compile it as a whole as long as that is affordable, not only while it is quick.

    Returns:
        A function from inputs to outputs.
    """
    devices = {device for array in inputs for device in getattr(array, "devices", set)()}
    most = AFFORDABLE if whole else WHOLE
    if len(devices) > 1 or closed.effects or len(closed.jaxpr.eqns) <= most:
        return Whole(closed, inputs, options)
    return in_pieces(closed, next(iter(devices), jax.devices()[0]), options)


def in_pieces(closed: Any, device: Any, options: Mapping[str, Any]) -> Chain:
    """Compiles a function for a device, piece by piece."""
    together = TOGETHER if device.platform == "gpu" else 1
    return Chain(closed, _Compiler(jax.sharding.SingleDeviceSharding(device), options, together))


class Chain:
    """Compiled pieces that are run one after the other, from inputs to outputs."""

    def __init__(self, closed: Any, compiler: _Compiler) -> None:
        self._consts = dict(zip(closed.jaxpr.constvars, closed.consts, strict=True))
        self._inputs, self._outputs = closed.jaxpr.invars, closed.jaxpr.outvars
        self._pieces = compiler.compile(bordered(closed.jaxpr, compiler.together))

    @functools.cached_property
    def least_bytes(self) -> int:
        """Memory that the values between the pieces need; what is handed in is there already.

        A piece may write its results over what it is the last to read.
        """
        given = {*self._consts, *self._inputs}
        live = most = 0
        for piece in self._pieces:
            made = sum(map(_size, piece.writes))
            freed = sum(_size(variable) for variable in piece.drops if variable not in given)
            most = max(most, live + made - min(made, freed))
            live += made - freed
        return most

    def __call__(self, inputs: Sequence[Array]) -> list[Array]:
        """Runs them."""
        values = self._consts | dict(zip(self._inputs, inputs, strict=True))
        for piece in self._pieces:
            results = piece.run(*(values[variable] for variable in piece.reads))
            values.update(zip(piece.writes, results, strict=True))
            for variable in piece.drops:
                del values[variable]
        return [_value_of(atom, values) for atom in self._outputs]


class _Fork:
    """A branch: the function that is chosen runs in pieces of its own.

    Args:
        equation: The operation; the number of the function comes first among its operands.
        border: The piece that it is.
        functions: One for each number.
    """

    def __init__(self, equation: Any, border: _Border, functions: Sequence[Function]) -> None:
        self._equation, self._border, self._functions = equation, border, functions

    def __call__(self, *arrays: Array) -> list[Array]:
        values = dict(zip(self._border.reads, arrays, strict=True))
        number, *operands = (_value_of(atom, values) for atom in self._equation.invars)
        results = self._functions[int(number)](operands)
        made = dict(zip(self._equation.outvars, results, strict=True))
        return [made[variable] for variable in self._border.writes]


def _shape_of(array: Array) -> Any:
    """An array, or a number, without its values; keys of random numbers know no weak type."""
    if not isinstance(array, jax.Array):
        return array
    weak = bool(getattr(array, "weak_type", False))
    return jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=array.sharding, weak_type=weak)


def _size(variable: Any) -> int:
    """Bytes of a variable's value; keys of random numbers count as nothing."""
    width = getattr(variable.aval.dtype, "itemsize", 0)
    return int(np.prod(variable.aval.shape, dtype=np.int64)) * int(width)


def _value_of(atom: Any, values: Mapping[Any, Array]) -> Array:
    return values[atom] if is_variable(atom) else np.asarray(atom.val, atom.aval.dtype)


class _Border(NamedTuple):
    """A piece before it is compiled, or several: their operations, and what crosses its border."""

    groups: Sequence[Sequence[Any]]
    reads: tuple[Any, ...]
    writes: tuple[Any, ...]
    drops: tuple[Any, ...]

    @property
    def equations(self) -> list[Any]:
        """The operations of all of them."""
        return [equation for group in self.groups for equation in group]


def bordered(jaxpr: Any, together: int) -> list[_Border]:
    """The pieces of a jaxpr. What is needed of one is known from the end only."""
    needed = set(filter(is_variable, jaxpr.outvars))
    found = []
    for groups in reversed(bundled(cut(_alive(jaxpr)), together)):
        equations = [equation for group in groups for equation in group]
        made = {variable for equation in equations for variable in equation.outvars}
        used = dict.fromkeys(v for equation in equations for v in equation.invars if is_variable(v))
        reads = tuple(variable for variable in used if variable not in made)
        writes = tuple(v for equation in equations for v in equation.outvars if v in needed)
        drops = tuple(variable for variable in reads if variable not in needed)
        found.append(_Border(groups, reads, writes, drops))
        needed = (needed - made) | set(reads)
    return found[::-1]


def _alive(jaxpr: Any) -> list[Any]:
    """The operations of a jaxpr that its results depend on."""
    needed = set(filter(is_variable, jaxpr.outvars))
    kept = []
    for equation in reversed(jaxpr.eqns):
        if not needed.isdisjoint(equation.outvars):
            kept.append(equation)
            needed.update(filter(is_variable, equation.invars))
    return kept[::-1]


def _crossing(border: _Border) -> list[list[Any]]:
    """For each group, what it makes for those behind it."""
    needed: set[Any] = set()
    found = []
    for group in reversed(border.groups):
        made = [variable for equation in group for variable in equation.outvars]
        found.append([variable for variable in made if variable in needed])
        needed.update(v for equation in group for v in equation.invars if is_variable(v))
    return found[::-1]


def _held_back(made: Mapping[Any, Array]) -> dict[Any, Array]:
    """The same values, of which XLA does not know how they were made."""
    known = lax.optimization_barrier(list(made.values())) if made else []
    return dict(zip(made, known, strict=True))


class _Compiler:
    """Compiles pieces for one device, those that are alike once.

    Args:
        sharding: Where their inputs are.
        options: Compiler options.
        together: How many pieces to compile as one at most.
    """

    def __init__(self, sharding: Any, options: Mapping[str, Any], together: int) -> None:
        self.together = together
        self._sharding, self._options = sharding, dict(options)
        self._texts: dict[int, Hashable] = {}
        self._known: dict[Hashable, Callable[..., Sequence[Array]]] = {}

    def compile(self, borders: Sequence[_Border]) -> list[Piece]:
        """Compiles as many pieces at a time as there are processors."""
        forks = {n: fork for n, border in enumerate(borders) if (fork := self._fork(border))}
        keys = {n: self._identity(b) for n, b in enumerate(borders) if n not in forks}
        fresh = {key: borders[n] for n, key in keys.items() if key not in self._known}
        with ThreadPoolExecutor(os.cpu_count()) as threads:
            waiting = {
                key: threads.submit(self._lowered(border).compile, self._options_for(border))
                for key, border in fresh.items()
            }
            self._known |= {key: future.result() for key, future in waiting.items()}
        runs = forks | {n: self._known[key] for n, key in keys.items()}
        return [
            Piece(runs[n], border.reads, border.writes, border.drops)
            for n, border in enumerate(borders)
        ]

    def _fork(self, border: _Border) -> _Fork | None:
        equation = border.equations[0]
        if equation.primitive.name != BRANCH:
            return None
        functions = [Chain(branch, self) for branch in equation.params["branches"]]
        return _Fork(equation, border, functions)

    def _options_for(self, border: _Border) -> dict[str, Any]:
        """What measures is run for every array, and compiled for few sizes: that may take long.

        So may the choice of an algorithm for a convolution: without it, it may take a hundred times
        as long to run.
        """
        measures = all(scopes(group[0]).endswith(MEASURE_SCOPE) for group in border.groups)
        convolves = any(e.primitive.name == CONVOLUTION for e in border.equations)
        return {} if measures or convolves else self._options

    def _lowered(self, border: _Border) -> Any:
        def run(*arrays: Array) -> list[Array]:
            values = dict(zip(border.reads, arrays, strict=True))
            for group, crossing in zip(border.groups, _crossing(border), strict=True):
                for equation in group:
                    operands = [_value_of(atom, values) for atom in equation.invars]
                    values.update(zip(equation.outvars, bind(equation, operands), strict=True))
                values.update(_held_back({variable: values[variable] for variable in crossing}))
            return [values[variable] for variable in border.writes]

        shapes = [
            jax.ShapeDtypeStruct(v.aval.shape, v.aval.dtype, sharding=self._sharding)
            for v in border.reads
        ]
        return jax.jit(run).lower(*shapes)

    def _identity(self, border: _Border) -> Hashable:
        """What is equal for two pieces exactly if one program can stand for both."""
        numbers: dict[Any, int] = {}

        def named(atom: Any) -> Hashable:
            name = numbers.setdefault(atom, len(numbers)) if is_variable(atom) else repr(atom.val)
            return name, str(atom.aval)

        reads = tuple(map(named, border.reads))
        equations = tuple(
            (
                equation.primitive.name,
                tuple((name, self._text(value)) for name, value in equation.params.items()),
                tuple(map(named, equation.invars)),
                tuple(map(named, equation.outvars)),
            )
            for equation in border.equations
        )
        return reads, equations, tuple(map(named, border.writes)), tuple(map(len, border.groups))

    def _text(self, parameter: Any) -> Hashable:
        """A parameter as something to compare: its text, and which arrays it has closed over."""
        if isinstance(parameter, (str, int, float, bool, type(None))):
            return parameter
        # A function that was compiled on its own is the same object wherever it is called.
        if id(parameter) not in self._texts:
            consts = tuple(map(id, closed_over(parameter)))
            self._texts[id(parameter)] = (repr(parameter), consts)
        return self._texts[id(parameter)]
