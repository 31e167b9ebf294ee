"""Whether a training in half precision may follow one in float32, as the user's files tell it."""

from __future__ import annotations

import ast
import linecache
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import keras

from floatline.capture.loops import HALF
from floatline.capture.names import FUNCTIONS
from floatline.formats import LOW_FORMATS
from floatline.layers import walk
from floatline.sources import is_users

_POLICIES = frozenset({*LOW_FORMATS, *(f"mixed_{name}" for name in LOW_FORMATS)})
_FIT = frozenset({"epochs", "batch_size", "callbacks", "steps_per_epoch", "validation_data"})
"""Arguments that tell Keras' `fit` from that of a scaler or a tokenizer."""

_STEP = frozenset({"GradientTape", "backward", "value_and_grad", "train_on_batch"})


def computes_in_half(model: Any) -> bool:
    """Whether a model, or a layer of it, is set to compute in 16 bits."""
    layers = (model, *(layer for _, layer in walk(model)))
    return any(str(layer.compute_dtype) in LOW_FORMATS for layer in layers)


def gives_way(model: Any) -> bool:
    """Whether a model is all in float32, and one in half precision may be trained after it.

    So it may if the user's files, as far as they are loaded, name half precision and train twice.
    """
    if not isinstance(model, keras.Model) or computes_in_half(model):
        return False
    trees = list(_users_trees())
    return any(map(_names_half, trees)) and sum(map(trainings, trees)) > 1


def trains_again() -> bool:
    """Whether the user's files, as far as they are loaded, train more than once."""
    return sum(map(trainings, _users_trees())) > 1


def names_half() -> bool:
    """Whether the script, or what it has loaded of the user's, names half precision."""
    return any(map(_names_half, _users_trees()))


def trainings(tree: ast.Module) -> int:
    r"""How often a file trains, at least: one `fit` in a loop counts twice, in a function per call.

    Example:

    >>> trainings(ast.parse("def go(m): m.fit(x, epochs=1)\ngo(a); go(b); scaler.fit(x)"))
    2
    """
    called = [_name(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return sum(weight for weight in _weights(tree, 1, called))


def _weights(node: ast.AST, weight: int, called: list[str]) -> Iterator[int]:
    if isinstance(node, ast.Call) and _trains(node):
        yield weight
    if isinstance(node, FUNCTIONS):
        if node.name == "train_step":  # Keras calls it, in `fit`.
            return
        weight *= max(1, called.count(node.name))
    for child in ast.iter_child_nodes(node):
        repeats = isinstance(node, ast.For | ast.While) and _is_fit(child)
        yield from _weights(child, 2 * weight if repeats else weight, called)


def _is_fit(node: ast.AST) -> bool:
    """Whether a statement holds a whole training, so that a loop around it makes several."""
    calls = [inner for inner in ast.walk(node) if isinstance(inner, ast.Call)]
    return any(_trains(call) and _name(call.func) == "fit" for call in calls)


def _trains(call: ast.Call) -> bool:
    name = _name(call.func)
    return name in _STEP or (name == "fit" and any(k.arg in _FIT for k in call.keywords))


def _name(function: ast.expr) -> str:
    return str(getattr(function, "attr", getattr(function, "id", "")))


def _names_half(tree: ast.AST) -> bool:
    return any(
        getattr(node, "attr", getattr(node, "id", None)) in HALF
        or (isinstance(node, ast.Constant) and str(node.value) in _POLICIES)
        for node in ast.walk(tree)
    )


def _users_trees() -> Iterator[ast.Module]:
    """The script that runs, and what is loaded of the user's from its folder."""
    folder = str(Path(getattr(sys.modules["__main__"], "__file__", "")).absolute().parent)
    files = {getattr(module, "__file__", None) for module in list(sys.modules.values())}
    own = (file for file in files if isinstance(file, str) and is_users(file))
    for file in sorted(own):
        if not str(Path(file).absolute()).startswith(folder):
            continue
        with suppress(SyntaxError, ValueError):
            yield ast.parse("".join(linecache.getlines(file)))
