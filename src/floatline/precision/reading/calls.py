"""What calls in a layer's code give: casts, bounds, selections, sublayers, the user's helpers."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import FunctionType, MethodType
from typing import TYPE_CHECKING, Any

import keras

from floatline.formats import LOW_FORMATS
from floatline.precision.reading.kinds import (
    UNKNOWN,
    Kind,
    Value,
    is_dtype,
    join,
    kind_of_dtype,
)
from floatline.sources import is_users

if TYPE_CHECKING:
    from floatline.precision.reading.code import Scope

_CASTS = ("cast", "astype", "convert_to_tensor", "asarray", "constant", "as_tensor", "tensor", "to")
_INTEGERS = (
    *("equal", "not_equal", "greater", "greater_equal", "less", "less_equal", "isnan", "isfinite"),
    *("isinf", "argmax", "argmin", "argsort", "any", "all", "shape", "size", "logical_and"),
    *("logical_or", "logical_not", "logical_xor", "int", "long", "bool"),
)
_MADE = (
    *("zeros", "ones", "eye", "arange", "range", "linspace", "normal", "uniform", "identity"),
    *("truncated_normal", "tri", "one_hot", "random_normal", "randn", "rand", "empty", "full"),
)
_OPERATORS: Mapping[str, type[ast.operator]] = {
    "add": ast.Add,
    "subtract": ast.Sub,
    "sub": ast.Sub,
    "multiply": ast.Mult,
    "mul": ast.Mult,
    "divide": ast.Div,
    "div": ast.Div,
    "true_divide": ast.Div,
}
_FULL = ("float", "double")
_LIBRARIES = ("keras", "tensorflow", "jax", "torch")
_PLAIN = ("builtins", "math")


@dataclass(frozen=True, slots=True)
class Called:
    """A call with everything that is known of it.

    Attributes:
        node: Its syntax.
        name: The last part of the function's name.
        owner: What a method is called of, where that is a value; else None.
        thing: The function or layer itself, where it is known.
        given: Positional arguments, without the owner.
        named: Arguments by name.
    """

    node: ast.Call
    name: str
    owner: Value | None
    thing: Any
    given: tuple[Value, ...]
    named: Mapping[str, Value]

    @property
    def values(self) -> tuple[Value, ...]:
        """The owner and the positional arguments."""
        return self.given if self.owner is None else (self.owner, *self.given)

    def argument(self, position: int, *names: str) -> Value | None:
        """An argument by its position among `values`, or by one of its names."""
        by_name = next((self.named[name] for name in names if name in self.named), None)
        inside = position < len(self.values)
        return by_name or (self.values[position] if inside else None)

    @property
    def dtype(self) -> Value | None:
        """The argument that names a dtype."""
        if "dtype" in self.named:
            return self.named["dtype"]
        return next((value for value in self.given if is_dtype(value)), None)

    @property
    def met(self) -> Value:
        """What comes of all arguments, dtypes left out."""
        values = (*self.values, *self.named.values())
        return join(value for value in values if not is_dtype(value))


def call(scope: Scope, node: ast.Call) -> Value:
    """What a call gives; notes the numbers that it meets values with."""
    called = _called(scope, node)
    if isinstance(called.thing, keras.Layer):
        return _of_layer(called.thing)
    if called.name in _CASTS:
        return _cast(scope, called)
    if called.name in _OPERATORS and len(called.values) >= 2:
        left, right = called.values[:2]
        return scope.operator(node, left, _OPERATORS[called.name](), right)
    if (noted := _noted(scope, called)) is not None:
        return noted
    if called.name in _INTEGERS:
        if called.owner is not None and called.name in ("int", "long"):
            _made_integer(scope, called, called.owner)
        return Value("integer")
    if called.name in _MADE:
        return Value("full" if called.dtype is None else _kind(called.dtype))
    if called.owner is not None:
        return Value("full" if called.name in _FULL else called.met.kind)
    return _of_function(scope, called)


def _called(scope: Scope, node: ast.Call) -> Called:
    if isinstance(node.func, ast.Attribute):
        holder, name = scope.value(node.func.value), node.func.attr
        function = scope.attribute(node.func, holder)
        owner = holder if function.thing is None and holder.thing is None else None
    else:
        function, owner, name = scope.value(node.func), None, ast.unparse(node.func)
    return Called(
        node=node,
        name=name,
        owner=owner,
        thing=function.thing,
        given=tuple(scope.value(argument) for argument in node.args),
        named={word.arg or "": scope.value(word.value) for word in node.keywords},
    )


def _of_layer(layer: Any) -> Value:
    """What a sublayer returns: what it computes in, if its code says nothing else."""
    if is_users(inspect.getfile(type(layer))) and _names_float32(type(layer).call):
        return UNKNOWN
    if layer.compute_dtype in LOW_FORMATS:
        return Value("half")
    return Value(kind_of_dtype(layer.compute_dtype))


def _names_float32(function: Any) -> bool:
    code = getattr(inspect.unwrap(function), "__code__", None)
    known = (*code.co_consts, *code.co_names) if code else ("float32",)
    return any(word in ("float32", "float64", "float") for word in known)


def _cast(scope: Scope, called: Called) -> Value:
    given, dtype = called.argument(0, "x", "value", "input"), called.dtype
    if given is None:
        return UNKNOWN
    if dtype is None:  # A tensor stays what it is; a number becomes one of Keras' default dtype.
        return Value("full") if given.number is not None else Value(given.each.kind)
    kind = _kind(dtype)
    if kind == "integer":
        _made_integer(scope, called, given)
    if kind == "half" and given.number is not None:
        return Value("number", given.number, given.text, cast=True)
    return Value(kind)


def _kind(dtype: Value) -> Kind:
    if dtype.dtype_of is not None:
        return dtype.dtype_of
    return "unknown" if dtype.thing is None else kind_of_dtype(dtype.thing)


def _made_integer(scope: Scope, called: Called, given: Value) -> None:
    if given.each.kind == "half":
        scope.reader.integers.setdefault(scope.line(called.node))


def _noted(scope: Scope, called: Called) -> Value | None:
    """Functions that bound or select with numbers."""
    first = called.argument(0, "x", "input") or UNKNOWN
    match called.name:
        case "maximum" | "minimum":
            other = called.argument(1, "x2") or UNKNOWN
            number, value = (other, first) if other.number is not None else (first, other)
            role = "lower bound" if called.name == "maximum" else "upper bound"
            scope.note(called.node, number, role, value)  # type: ignore[arg-type]  # (one of two)
            return join((first, other))
        case "clip" | "clip_by_value" | "clamp":
            low = called.argument(1, "x_min", "min", "a_min", "clip_value_min")
            high = called.argument(2, "x_max", "max", "a_max", "clip_value_max")
            scope.note(called.node, low or UNKNOWN, "lower bound", first)
            scope.note(called.node, high or UNKNOWN, "upper bound", first)
            return Value(first.each.kind)
        case "where" if len(called.values) == 3:
            _, one, other = called.values
            return _selected(scope, called, one, other)
        case "masked_fill" | "full_like":
            number = called.argument(len(called.values) - 1, "value", "fill_value") or UNKNOWN
            return _selected(scope, called, number, first)
        case "pad":
            number = called.argument(3, "constant_values", "value") or UNKNOWN
            return _selected(scope, called, number, first)
    return None


def _selected(scope: Scope, called: Called, one: Value, other: Value) -> Value:
    number, value = (one, other) if one.number is not None else (other, one)
    scope.note(called.node, number, "selected", value)
    return join((one, other))


def _of_function(scope: Scope, called: Called) -> Value:
    thing = called.thing
    if isinstance(thing, FunctionType | MethodType) and is_users(_file(thing)):
        returned = scope.reader.follow(thing, called.given, called.named)
        return UNKNOWN if returned is None else returned
    module = str(getattr(thing, "__module__", None) or "").partition(".")[0]
    if module in _PLAIN or module == "numpy":
        return _computed(thing, called.given, module)
    if module in _LIBRARIES or _is_operation(thing):
        return Value("full") if called.met.kind == "number" else Value(called.met.kind)
    return UNKNOWN


def _file(function: Any) -> str:
    return str(inspect.unwrap(getattr(function, "__func__", function)).__code__.co_filename)


def _is_operation(thing: Any) -> bool:
    """Functions of a library that a wrapper hides, such as compiled ones."""
    return type(thing).__module__.partition(".")[0] in _LIBRARIES


def _computed(function: Any, given: Sequence[Value], module: str) -> Value:
    """Python's own functions, of numbers that are fixed, are run."""
    numbers = [value.number for value in given]
    if module == "numpy" or any(value.kind != "number" for value in given):
        return join(given) if module != "numpy" else Value("full")
    if not numbers or any(number is None for number in numbers):
        return Value("number")
    try:
        return Value("number", float(function(*numbers)), f"{function.__name__}(...)")
    except (ArithmeticError, TypeError, ValueError):
        return Value("number")
