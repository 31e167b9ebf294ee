"""Reads jaxprs: what is inside them, and where their operations stand.

A jaxpr is JAX's own text of a traced function. Newer versions of JAX keep constants in the jaxpr
itself, older ones in a closed jaxpr around it; both are read here and nowhere else.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from floatline.backends.jax.primitives import CALLS, PLACES

LAYER_SCOPE = "floatline_layer_"
"""Name scope of a Keras layer while the step is built: the prefix of its number."""

UPDATE_SCOPE = "floatline_update"
"""Name scope of everything that an optimizer does."""

PIECE_SCOPE = "floatline_piece_"
"""Name scope around all lanes of one operation of the step, in the program that traces it."""

JOIN_SCOPE = "floatline_join"
MEASURE_SCOPE = "floatline_measure"
"""Name scopes of gathering what is measured together, and of measuring."""

_LAYER = re.compile(rf"{LAYER_SCOPE}(\d+)")
_TRANSFORM = re.compile(r"\b\w+\(|\)")


def opened(jaxpr: Any) -> tuple[Any, Sequence[Any]]:
    """The jaxpr with its equations, and its constants."""
    return getattr(jaxpr, "jaxpr", jaxpr), getattr(jaxpr, "consts", ())


def inner_jaxprs(equation: Any) -> Iterator[Any]:
    """The functions that an operation holds as parameters."""
    for parameter in equation.params.values():
        several = parameter if isinstance(parameter, (tuple, list)) else [parameter]
        yield from (one for one in several if hasattr(opened(one)[0], "eqns"))


def every_equation(jaxpr: Any) -> Iterator[Any]:
    """All operations of a jaxpr, those of the functions inside included."""
    for equation in opened(jaxpr)[0].eqns:
        yield equation
        for inner in inner_jaxprs(equation):
            yield from every_equation(inner)


def closed_over(parameter: Any) -> Iterator[Any]:
    """The arrays that functions in a parameter of an operation hold, those inside included."""
    several = parameter if isinstance(parameter, (tuple, list)) else [parameter]
    for jaxpr in several:
        inner, consts = opened(jaxpr)
        yield from consts
        for equation in getattr(inner, "eqns", ()):
            for value in equation.params.values():
                yield from closed_over(value)


def called(equation: Any) -> Any | None:
    """The function that a mere call runs; None for all other operations."""
    name = CALLS.get(equation.primitive.name)
    return equation.params.get(name) if name is not None else None


def bind(
    equation: Any, arrays: Sequence[Any], params: Mapping[str, Any] | None = None
) -> Sequence[Any]:
    """Runs an operation on other arrays; returns its outputs."""
    primitive = equation.primitive
    chosen = primitive.get_bind_params(equation.params if params is None else dict(params))
    with equation.ctx.manager:
        outputs = primitive.bind(*arrays, **chosen)
    return tuple(outputs) if primitive.multiple_results else (outputs,)


def scopes(equation: Any) -> str:
    """The name scopes around an operation, as JAX writes them."""
    return str(equation.source_info.name_stack)


def differentiates(jaxpr: Any) -> bool:
    """Whether the function runs a backward pass."""
    return any(is_backward(scopes(equation)) for equation in every_equation(jaxpr))


def compiles_gradients(jaxpr: Any) -> bool:
    """Whether a function that nobody compiles calls a compiled one which differentiates."""
    return any(
        equation.primitive.name in ("jit", "pjit")
        and not is_differentiated(scopes(equation))
        and any(map(differentiates, inner_jaxprs(equation)))
        for equation in opened(jaxpr)[0].eqns
    )


def is_backward(stack: str) -> bool:
    """Whether name scopes are those of a backward pass."""
    return "transpose(" in stack


def is_differentiated(stack: str) -> bool:
    """Whether name scopes are those of a function that is differentiated."""
    return "jvp(" in stack


def read_forward(jaxpr: Any, stack: str, residuals: Collection[int]) -> frozenset[Any]:
    """The variables of a jaxpr that something besides the backward pass reads.

    JAX computes ahead, while it runs the forward pass, what only the backward pass will read: the
    square of a divisor, a mask. Such a value belongs to the backward pass.

    Args:
        jaxpr: The function.
        stack: Name scopes around it.
        residuals: Positions of outputs that only a backward pass reads.
    """
    inner, _ = opened(jaxpr)
    found = {
        atom for n, atom in enumerate(inner.outvars) if n not in residuals and is_variable(atom)
    }
    read = {atom for equation in inner.eqns for atom in equation.invars if is_variable(atom)}
    read |= set(filter(is_variable, inner.outvars))
    for equation in reversed(inner.eqns):
        scope = f"{stack}/{scopes(equation)}"
        # What nobody reads is a loss that was dropped for its gradient.
        dropped = read.isdisjoint(equation.outvars)
        ahead = is_differentiated(scope) and found.isdisjoint(equation.outvars) and not dropped
        if dropped:
            found.update(equation.outvars)
        if not (is_backward(scope) or ahead):
            found.update(filter(is_variable, equation.invars))
    return frozenset(found)


def before_moves(jaxpr: Any, named: Mapping[Any, str]) -> dict[Any, str]:
    """The names of a jaxpr's outputs, and those of what they are the placed or chosen copies of.

    Args:
        jaxpr: The function.
        named: Names by variable of the jaxpr.
    """
    found = dict(named)
    for equation in reversed(opened(jaxpr)[0].eqns):
        if found.keys().isdisjoint(filter(is_variable, equation.outvars)):
            continue
        function = called(equation)
        if function is not None:
            inner = opened(function)[0]
            outputs = {
                within: found[without]
                for without, within in zip(equation.outvars, inner.outvars, strict=True)
                if without in found and is_variable(within)
            }
            deeper = before_moves(function, outputs)
            pairs = zip(equation.invars, map(deeper.get, inner.invars), strict=True)
        elif equation.primitive.name in PLACES:
            choosing = equation.primitive.name == "select_n"
            copied = equation.invars[1:] if choosing else equation.invars
            pairs = zip(copied, [found.get(equation.outvars[0])] * len(copied), strict=True)
        else:
            continue
        for atom, name in pairs:
            if name is not None and is_variable(atom):
                found.setdefault(atom, name)
    return found


def is_variable(atom: Any) -> bool:
    """Whether an operand is computed; else it is a number that stands in the jaxpr."""
    return not hasattr(atom, "val")


@cache
def layer_numbers(stack: str) -> tuple[int, ...]:
    """The numbers of the Keras layers in a name stack, outermost first, repetitions left out.

    Example:

    >>> layer_numbers("transpose(jvp(floatline_layer_0))/floatline_layer_3/floatline_layer_3")
    (0, 3)
    """
    return tuple(dict.fromkeys(int(number) for number in _LAYER.findall(stack)))


@cache
def user_scopes(stack: str) -> str | None:
    """The path made of the names that the user, or the user's library, gave.

    `jnp.einsum` opens a scope that is called by its formula, which names no part of a model.

    Example:

    >>> user_scopes("transpose(jvp(encoder))/dense")
    'encoder/dense'
    >>> user_scopes("jvp()") is None
    True
    >>> user_scopes("attention/bqd,bkd->bqk")
    'attention'
    """
    names = _TRANSFORM.sub("", stack).split("/")
    given = (name for name in names if name and "->" not in name)
    kept = [name for name in given if not name.startswith("floatline_")]
    return "/".join(kept) or None
