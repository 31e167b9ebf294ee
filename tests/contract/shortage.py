"""A machine with little memory: the backend's own error where a traced step has too many rows."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import keras
import pytest

_TRACED = {
    "tensorflow": "floatline.backends.tensorflow.program.TracedProgram.run",
    "jax": "floatline.backends.jax.programs.TracedProgram.run",
    "torch": "floatline.backends.torch.program.TracedRun.run",
}
_FLOAT32 = {
    "tensorflow": "floatline.backends.tensorflow.program.Float32Program.run",
    "jax": "floatline.backends.jax.replay.Float32Replay._advance",
    "torch": "floatline.backends.torch.float32.Float32Replay._advance",
}


def refusal() -> Exception:
    """What the backend raises where it gets no memory."""
    name = keras.backend.backend()
    framework = importlib.import_module(name)
    if name == "tensorflow":
        error = framework.errors.ResourceExhaustedError
        return error(None, None, "OOM when allocating tensor")  # type: ignore[no-any-return]
    if name == "jax":
        text = "RESOURCE_EXHAUSTED: Out of memory allocating 17179869184 bytes."
        return framework.errors.JaxRuntimeError(text)  # type: ignore[no-any-return]
    text = "CUDA out of memory. Tried to allocate 16.00 GiB."
    return framework.OutOfMemoryError(text)  # type: ignore[no-any-return]


def allow(monkeypatch: pytest.MonkeyPatch, rows: int) -> list[int]:
    """Lets traced steps of up to so many rows run; returns the sizes that were tried."""
    tried: list[int] = []
    where = _TRACED[keras.backend.backend()]
    allowed = _original(where)

    def run(program: Any, *args: Any, **kwargs: Any) -> Any:
        size = min(
            int(leaf.shape[0])
            for leaf in keras.tree.flatten(args)
            if len(getattr(leaf, "shape", ())) and leaf.shape[0] in SIZES
        )
        tried.append(size)
        if size > rows:
            raise refusal()
        return allowed(program, *args, **kwargs)

    monkeypatch.setattr(where, run)
    return tried


def refuse_float32(monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    """Lets a float32 training run for so many steps."""
    where = _FLOAT32[keras.backend.backend()]
    original, steps = _original(where), [0]

    def run(program: Any, *args: Any) -> Any:
        steps[0] += 1
        if steps[0] > after:
            raise refusal()
        return original(program, *args)

    monkeypatch.setattr(where, run)


SIZES = frozenset((48, 24, 12, 6, 3, 1))
"""Rows of batches in these tests: no other dimension there comes first and has one of them."""


def _original(where: str) -> Callable[..., Any]:
    module, _, attribute = where.rpartition(".")
    module, _, owner = module.rpartition(".")
    found: Callable[..., Any] = vars(getattr(importlib.import_module(module), owner))[attribute]
    return found
