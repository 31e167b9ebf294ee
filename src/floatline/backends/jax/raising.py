"""Small functions inside operations (the addition of a scatter or a reduction), in float32."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax

from floatline.backends.jax.jaxprs import every_equation, opened
from floatline.backends.jax.lanes import LOW, SHADOW, Value, raised


def raised_jaxprs(params: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters with every function on 16-bit floats replaced by one on float32."""
    return {name: _raised(value) for name, value in params.items()}


def _raised(parameter: Any) -> Any:
    inner, consts = opened(parameter)
    if not hasattr(inner, "eqns") or not _is_low(inner):
        return parameter
    from floatline.backends.jax.interpreter import Frame, Setting

    def twin(*arrays: Any) -> list[Any]:
        values = [Value((array,)) for array in arrays]
        return [value.lead for value in Frame(Setting((SHADOW,))).run(parameter, values)]

    shapes = [jax.ShapeDtypeStruct(v.aval.shape, raised(v.aval.dtype)) for v in inner.invars]
    closed = jax.make_jaxpr(twin)(*shapes)
    return closed if inner is not parameter or consts else closed.jaxpr


def _is_low(jaxpr: Any) -> bool:
    atoms = [*jaxpr.invars, *jaxpr.outvars]
    atoms += [atom for equation in every_equation(jaxpr) for atom in equation.outvars]
    return any(getattr(atom.aval, "dtype", None) in LOW for atom in atoms)
