"""Tensors of every dtype and nests of them come back from disk as they were."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keras import ops

from floatline.errors import InputError
from floatline.watch import arrays

DTYPES = ["float32", "float16", "bfloat16", "int32", "bool", "uint8"]


def test_every_dtype_comes_back(tmp_path: Path) -> None:
    values = [ops.cast(ops.convert_to_tensor([0.0, 1.0, 3.0]), dtype) for dtype in DTYPES]
    values.append(ops.convert_to_tensor(np.float32(2.5)))
    dtypes = arrays.save(tmp_path / "a.npz", values)
    found = arrays.load(tmp_path / "a.npz", dtypes)
    assert dtypes == [*DTYPES, "float32"]
    for have, want in zip(found, values, strict=True):
        plain = ops.convert_to_numpy(want)
        assert have.shape == plain.shape
        assert have.tobytes() == plain.tobytes()


nests = st.recursive(
    st.none() | st.integers(0, 9).map(np.float32),
    lambda inner: (
        st.tuples(inner, inner)
        | st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
)


@given(nests)
def test_a_nest_comes_back(nest: Any) -> None:
    leaves: list[Any] = []
    assert arrays.restored(arrays.structure(nest, leaves), leaves) == nest


def test_what_is_no_number_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be kept"):
        arrays.save(tmp_path / "a.npz", [np.array(["text"], dtype=object)])
