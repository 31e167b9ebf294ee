"""Lanes multiply in float32, and in TF32 only what it holds without loss."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from floatline.backends.torch.products import KINDS, multiplied, needed


def call(name: str, *dtypes: torch.dtype, cuda: bool = True) -> Any:
    tensors = [
        SimpleNamespace(
            dtype=dtype, is_cuda=cuda, is_floating_point=lambda dtype=dtype: dtype.is_floating_point
        )
        for dtype in dtypes
    ]
    return SimpleNamespace(known=SimpleNamespace(name=name), inputs=tensors)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_tf32_holds_every_number_of_16_bits(dtype: torch.dtype) -> None:
    every = torch.arange(-(2**15), 2**15).to(torch.int16).view(dtype).to(torch.float32)
    bits = every[~every.isnan()].view(torch.int32)
    assert not (bits & 0x1FFF).any()


def test_tf32_does_not_hold_every_float32() -> None:
    assert torch.tensor(1 + 2.0**-12).view(torch.int32) & 0x1FFF


@pytest.mark.parametrize(
    ("asked", "own", "answer"),
    [
        (call("mm", torch.float16, torch.float16), True, "tf32"),
        (call("convolution", torch.bfloat16, torch.bfloat16), True, "tf32"),
        (call("mm", torch.float16, torch.float16), False, "ieee"),
        (call("addmm", torch.float32, torch.float16, torch.float16), True, "ieee"),
        (call("_scaled_dot_product_flash_attention", torch.float16), True, "ieee"),
        (call("mm", torch.float16, torch.float16, cuda=False), True, None),
    ],
)
def test_only_what_was_16_bits_wide_is_multiplied_in_tf32(
    asked: Any, own: bool, answer: str | None
) -> None:
    assert needed(asked, own=own) == answer


def settings() -> list[str]:
    return [torch._C._get_fp32_precision_getter("cuda", kind) for kind in KINDS]


def test_the_users_settings_come_back_also_after_an_error() -> None:
    before = settings()
    with pytest.raises(ZeroDivisionError), multiplied("ieee"):
        raise ZeroDivisionError
    assert settings() == before
    with multiplied("ieee"):
        assert settings() == ["ieee"] * 3
    with multiplied("tf32"):
        assert settings() == ["tf32"] * 3
    with multiplied(None):
        assert settings() == before
    assert settings() == before
