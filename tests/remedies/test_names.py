"""What a name holds, as far as its file shows it."""

from __future__ import annotations

import ast

import pytest

from floatline.remedies.names import half_format, is_container, is_number

FILE = ast.parse("""
import jax.numpy as jnp
LENGTH, WIDTH = 20, x.shape[0]
RATE = 0.1
RATES = 0.1, 0.2
HALF = jnp.float16
NAME = "bfloat16"
DTYPE = jnp.float32
TWICE = jnp.float16
TWICE = jnp.float32


def loss(params, counts, model, tree, x, batch):
    hidden = counts.T @ params["first"] + counts[0] + x.mean()
    jax.tree.map(abs, tree)
    return hidden @ model.kernel + jnp.tanh(batch) + x.shape[0]
""")


@pytest.mark.parametrize(
    ("name", "number"),
    [("LENGTH", True), ("RATE", True), ("WIDTH", False), ("RATES", False), ("other", False)],
)
def test_a_number_may_be_given_beside_others(name: str, *, number: bool) -> None:
    assert is_number(FILE, name) is number


@pytest.mark.parametrize(
    ("name", "format_"),
    [("HALF", "jnp.float16"), ("NAME", "'bfloat16'"), ("DTYPE", None), ("TWICE", None)],
)
def test_a_format_that_a_file_names_once_is_known(name: str, format_: str | None) -> None:
    found = half_format(FILE, name)
    assert (None if found is None else ast.unparse(found)) == format_


@pytest.mark.parametrize(
    ("name", "held"),
    [
        *((name, True) for name in ("params", "model", "tree")),
        *((name, False) for name in ("counts", "x", "batch")),
    ],
)
def test_what_holds_arrays_is_told_from_an_array(name: str, *, held: bool) -> None:
    assert is_container(FILE, name) is held
