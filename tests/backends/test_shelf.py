"""Arrays on a shelf come back bit for bit, and leave no file behind."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
import pytest

from floatline.backends.shelf import Shelf
from floatline.errors import StorageError

DTYPES = ("float32", "float16", "float64", "int32", "uint8", "bool", ml_dtypes.bfloat16)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(3, 5), (1,), (), (2, 0)])
def test_every_bit_comes_back(tmp_path: Path, dtype: Any, shape: tuple[int, ...]) -> None:
    count = int(np.prod(shape)) * np.dtype(dtype).itemsize
    bits = np.random.default_rng(0).integers(0, 2 if dtype == "bool" else 256, count, np.uint8)
    array = bits.view(dtype).reshape(shape)  # NaN with all kinds of payload among them.
    kept = Shelf(0, tmp_path).put(array)
    back = kept.array()
    assert (back.dtype, back.shape, back.tobytes()) == (array.dtype, shape, array.tobytes())


def test_a_file_lives_as_long_as_its_value_and_the_folder_as_long_as_any(tmp_path: Path) -> None:
    shelf = Shelf(0, tmp_path)
    one, other = shelf.put(np.ones(3)), shelf.put(np.zeros(3))
    folder = shelf.folder
    assert len(list(folder.iterdir())) == 2
    del one
    gc.collect()
    assert len(list(folder.iterdir())) == 1
    del shelf
    gc.collect()
    assert not other.array().any()
    del other
    gc.collect()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("end", ["", "raise SystemExit(1)", "raise ValueError", "import os; 1 / 0"])
def test_nothing_is_left_when_python_ends(tmp_path: Path, end: str) -> None:
    script = (
        "import numpy as np\nfrom floatline.backends.shelf import Shelf\n"
        f"shelf = Shelf(0)\nkept = [shelf.put(np.ones(9))]\nkept.append(kept)\n{end}\n"
    )
    subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        check=False,
        capture_output=True,
        timeout=60,
    )
    assert list(tmp_path.iterdir()) == []


def test_small_values_are_left_in_memory(tmp_path: Path) -> None:
    shelf = Shelf(100, tmp_path)
    assert (shelf.takes(99), shelf.takes(100)) == (False, True)


class Usage(NamedTuple):
    free: int


def test_a_disk_without_room_is_told_before_it_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf = Shelf(0, tmp_path, spare_bytes=50)
    monkeypatch.setattr("shutil.disk_usage", lambda _folder: Usage(free=100))
    shelf.put(np.ones(6))
    with pytest.raises(StorageError) as raised:
        shelf.put(np.ones(7))
    assert all(words in str(raised.value) for words in ("56 bytes", "100 bytes free", "TMPDIR"))


def test_a_disk_that_fills_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf = Shelf(0, tmp_path)
    monkeypatch.setattr("shutil.disk_usage", lambda _folder: Usage(free=2**60))
    shelf.folder.rmdir()
    with pytest.raises(StorageError, match="cannot be written"):
        shelf.put(np.ones(3))


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="no folder for it"):
        Shelf(0, tmp_path / "gone")


def test_a_file_that_somebody_removed_is_told(tmp_path: Path) -> None:
    kept = Shelf(0, tmp_path).put(np.ones(3))
    next(tmp_path.glob("*/*")).unlink()
    with pytest.raises(StorageError, match="cannot be read"):
        kept.array()
