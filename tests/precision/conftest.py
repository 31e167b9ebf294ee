"""Every test leaves Keras' global policy as it was."""

from __future__ import annotations

from collections.abc import Iterator

import keras
import pytest


@pytest.fixture(autouse=True)
def _global_policy() -> Iterator[None]:
    before = keras.config.dtype_policy()
    yield
    assert keras.config.dtype_policy().name == before.name
