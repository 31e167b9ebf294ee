"""How a GPU multiplies float32 numbers in a lane: as exactly as float32 can.

PyTorch may round factors to the 11 significant bits of TF32 first, which is many times as fast.
Convolutions do so unless told otherwise, matrix products if the user allows it. For a shadow that
is too little: float16 has 11 bits, too. But factors that were float16 or bfloat16 lose nothing.
Source: https://docs.pytorch.org/docs/stable/notes/cuda.html#tensorfloat-32-tf32-on-ampere-and-later-devices
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Literal

import torch

from floatline.backends.torch.calls import Call
from floatline.backends.torch.lanes import LOW

Precision = Literal["ieee", "tf32"]

KINDS = ("matmul", "conv", "rnn")
"""What has a setting of its own."""

OF_ARGUMENTS = frozenset(
    "addbmm addmm addmv baddbmm bmm convolution convolution_backward mm mv".split()
)
"""Names of operations whose factors are their arguments as they are."""


def needed(call: Call, *, own: bool) -> Precision | None:
    """What a float32 lane of a call needs; None where there is nothing to choose.

    Args:
        call: The call.
        own: Whether the lane runs on the call's own arguments, cast up.
    """
    if not any(tensor.is_cuda for tensor in call.inputs):
        return None
    narrow = all(t.dtype in LOW for t in call.inputs if t.is_floating_point())
    return "tf32" if own and narrow and call.known.name in OF_ARGUMENTS else "ieee"


@contextlib.contextmanager
def multiplied(precision: Precision | None) -> Iterator[None]:
    """While active, float32 numbers are multiplied like this on a GPU; None changes nothing.

    Example:

    >>> with multiplied("ieee"):
    ...     torch.backends.cudnn.conv.fp32_precision
    'ieee'
    """
    if precision is None:
        yield
        return
    # The attributes of `torch.backends` take ten times as long.
    read, put = torch._C._get_fp32_precision_getter, torch._C._set_fp32_precision_setter  # noqa: SLF001
    before = [read("cuda", kind) for kind in KINDS]
    try:
        for kind in KINDS:
            put("cuda", kind, precision)
        yield
    finally:
        for kind, kept in zip(KINDS, before, strict=True):
            put("cuda", kind, kept)
