"""Values that the GPU's kernel counts on the host, in Triton's interpreter.

    TRITON_INTERPRET=1 python -m tests.backends.torch.counted FILE

writes the packs of all cases to FILE, for another process to judge.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

Case = tuple[tuple[Any, Any, Any], str]
"""Computed, shadow and local lane, and the dtype."""

SIZES = (1, 7, 1024, 1025, 2500)


def cases() -> dict[str, Case]:
    """Every case by name; the same in every process."""
    found: dict[str, Case] = {}
    for size in SIZES:
        true = values(size)
        for dtype in (torch.float16, torch.bfloat16, torch.float32):
            name = str(dtype).removeprefix("torch.")
            found[f"{name}, {size}"] = (true.to(dtype), true, true * 1.01), name
            raised = true.to(dtype).to(torch.float32)
            found[f"{name}, {size}, own"] = (true.to(dtype), raised, raised), name
        found[f"float64, {size}"] = (true.double(), true.double(), true.double()), "float64"
        whole = (true.nan_to_num(0.0).clamp(-100, 100)).to(torch.int64)
        found[f"int64, {size}"] = (whole, whole.roll(1), whole), "int64"
    found["nothing but zeros"] = ((torch.zeros(9).half(), *[torch.zeros(9)] * 2), "float16")
    found["nothing finite"] = (
        (torch.full((9,), torch.inf), *[torch.full((9,), torch.nan)] * 2),
        "float32",
    )
    found["beyond float32"] = ((torch.ones(4), *[torch.full((4,), 3e38)] * 2), "float32")
    views: dict[str, Callable[[Any], Any]] = {
        "transposed": lambda x: x.t(),
        "columns": lambda x: x[:, 3:9],
        "expanded": lambda x: x[:1].expand(40, 30),
        "behind an odd offset": lambda x: x.reshape(-1)[1:],
        "channels last": lambda x: x.reshape(2, 3, 20, 10).to(memory_format=torch.channels_last),
        "negated": lambda x: x._neg_view(),
    }
    for name, view in views.items():
        true = values(1200).reshape(40, 30)
        found[name] = (view(true.half()), view(true), view(true * 0.5)), "float16"
    mixed = values(1200).reshape(40, 30)
    found["in another order"] = (mixed.half().t().contiguous(), mixed.t(), mixed.t()), "float16"
    return found


def values(size: int) -> Any:
    """Numbers of every magnitude, with zeros, infinities and not-numbers among them."""
    rng = np.random.default_rng(size)
    drawn = rng.normal(size=size) * 10.0 ** rng.integers(-12, 9, size)
    drawn[::7] = 0
    for place, special in enumerate((np.inf, -np.inf, np.nan, 2.0**-24, 2.0**-126, 65520.0), 1):
        drawn[place : place + 1] = special
    return torch.tensor(drawn, dtype=torch.float32)


def main() -> None:
    """Counts every case into one table."""
    from floatline.backends.torch.table import Table

    table, known = Table(torch.device("cpu")), cases()
    for site, (lanes, dtype) in enumerate(known.values()):
        table.put(site, lanes, dtype)
    _, pack = table.measured()
    np.savez(sys.argv[1], counts=pack.counts, sums=pack.sums, maxima=pack.maxima)


if __name__ == "__main__":
    main()
