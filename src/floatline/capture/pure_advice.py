"""What to write for a loop of JAX's whose step cannot be followed where it stands."""

from __future__ import annotations

import ast
from pathlib import Path

from floatline.capture.pure_loops import PurePlace, pure_places
from floatline.capture.pure_outlining import parameters
from floatline.errors import ScriptError


def pure_loop_error(path: Path) -> ScriptError | None:
    """The error for the first such loop of a script; None where it has none."""
    try:
        places = pure_places(ast.parse(path.read_bytes(), str(path)))
    except (OSError, SyntaxError, ValueError):
        return None
    found = [place for place in places if place.obstacle is not None]
    return _error(path, found[0]) if found else None


def _error(path: Path, place: PurePlace) -> ScriptError:
    first, last = place.body[place.begin].lineno, place.body[place.end - 1].end_lineno
    names = parameters(place)
    given, returned = ", ".join(place.given), ", ".join(place.returned)
    arguments = ", ".join(names[path] for path in place.given)
    results = ", ".join(names[path] for path in place.returned)
    return ScriptError(
        f"The loop at {path}:{first} makes training steps that nobody compiles, and Floatline "
        f"cannot follow its step where it stands: {place.obstacle}.",
        f"Make lines {first} to {last} a function `def step({arguments})` that ends with "
        f"`return {results}`, put `@floatline.training_step` (after `import floatline`) above it, "
        f"and write `{returned} = step({given})` in their place. `jax.jit` must be able to compile "
        "it: `jnp.where(condition, new, old)` stands for an `if`, and `float(...)` comes after it.",
    )
