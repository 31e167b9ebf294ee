"""Small scripts of a user's, and how the tests run them on a backend that computes nothing."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest

from floatline.backends.interface import Outcome
from floatline.capture.capture import Budget, Capture
from floatline.capture.script import capture_script
from floatline.errors import FloatlineError
from floatline.progress import silent
from tests.capture.fakes import FakeBackend, ended

MODEL = """
import keras
import numpy as np

x, y = np.ones((20, 4), "float32"), np.ones((20, 1), "float32")
model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1, name="head")])
model.compile("sgd", "mse")
"""

Write = Callable[..., Path]


def writer(folder: Path) -> Write:
    """Writes scripts into a folder, after the making of a small model."""

    def write(text: str, name: str = "train.py", model: bool = True) -> Path:
        path = folder / name
        path.write_text((MODEL if model else "") + textwrap.dedent(text))
        return path

    return write


def run(
    script: Path | str,
    arguments: Sequence[str] = (),
    *,
    precision: str | None = None,
    budget: Budget | None = None,
    outcomes: Iterable[Outcome | BaseException] = (),
    dtype: str | None = None,
    examine: Callable[[Capture], Any] = lambda capture: capture,
    settles: Callable[[Any], bool] = lambda _: True,
) -> Any:
    return capture_script(
        str(script),
        arguments,
        load_backend=lambda: FakeBackend(outcomes, dtype),
        precision=precision,
        budget=budget or Budget(),
        progress=silent,
        examine=examine,
        settles=settles,
    )


def failing(script: Path | str, *arguments: str, **options: Any) -> FloatlineError:
    with pytest.raises(FloatlineError) as caught:
        ended(run(script, arguments, **options))
    return caught.value
