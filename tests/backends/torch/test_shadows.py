"""Shadows follow views and writes in place: a random program, traced, agrees with float32 alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.backends.torch.traced import Traced

Tensor = Any
Rewrite = Callable[[Tensor], Tensor]

VIEWS: dict[str, Rewrite] = {
    "rows": lambda t: t[1:],
    "column": lambda t: t[..., :1],
    "every other": lambda t: t[::2],
    "turned": lambda t: t.transpose(0, -1),
    "flat": lambda t: t.reshape(-1),
    "backwards": lambda t: t.flip(0),
    "diagonal": lambda t: t.diagonal() if t.dim() > 1 else t,
    "widened": lambda t: t.unsqueeze(0).expand(2, *t.shape),
    "windows": lambda t: t.unfold(0, min(2, t.shape[0]), 1),
    "detached": lambda t: t.detach(),
    "split": lambda t: t.split(1)[0],
}
NEW: dict[str, Rewrite] = {
    "scaled": lambda t: t * 0.3,
    "squared": lambda t: t * t,
    "shifted": lambda t: t + 1e-3,
    "copied": lambda t: t.clone(),
    "contiguous": lambda t: t.contiguous(),
    "joined": lambda t: torch.cat([t, t]),
    "rooted": lambda t: t.abs().sqrt(),
    "masked": lambda t: torch.where(t > 0, t, 0.25),
    "wide and back": lambda t: t.float().exp().to(t.dtype),
}
WRITES: dict[str, Rewrite] = {
    "doubled": lambda t: t.mul_(1.7),
    "added": lambda t: t.add_(0.1),
    "cleared": lambda t: t.zero_(),
    "filled": lambda t: t.fill_(0.7),
    "own": lambda t: t.copy_(t.clone() * 0.9),
    "first": lambda t: t.index_put_((torch.tensor([0]),), t[:1] * 0.5),
    "set": lambda t: t.__setitem__(0, 0.3) or t,
    "rooted": lambda t: t.abs_().sqrt_(),
    "clamped": lambda t: t.clamp_(-0.4, 0.8),
}
ACTIONS = [("view", name) for name in VIEWS]
ACTIONS += [("new", name) for name in NEW] + [("write", name) for name in WRITES]
PROGRAMS = st.lists(st.tuples(st.sampled_from(ACTIONS), st.integers(0, 7)), min_size=1, max_size=12)


def run(program: list[tuple[tuple[str, str], int]], dtype: torch.dtype) -> list[Tensor]:
    """Every tensor that a program makes, beginning with a matrix cast to `dtype`."""
    made = [torch.linspace(-1.0, 1.0, 12).reshape(4, 3).to(dtype).clone()]
    for (kind, name), number in program:
        tensor = made[number % len(made)]
        if kind == "write":
            if tensor.numel() and 0 not in tensor.stride() and name_is_safe(tensor):
                WRITES[name](tensor)
        elif tensor.numel():
            made.append((VIEWS if kind == "view" else NEW)[name](tensor))
    return made


def name_is_safe(tensor: Tensor) -> bool:
    """Whether no two elements share memory: PyTorch forbids writing to overlapping windows."""
    steps = sorted((s, n) for s, n in zip(tensor.stride(), tensor.shape, strict=True) if n > 1)
    reach = 1
    for stride, length in steps:
        if stride < reach:
            return False
        reach = stride * (length - 1) + reach
    return True


@settings(max_examples=60, deadline=None)
@given(PROGRAMS, st.sampled_from([torch.float16, torch.bfloat16]))
def test_every_shadow_is_what_float32_alone_gives(
    program: list[tuple[tuple[str, str], int]], dtype: torch.dtype
) -> None:
    traced = Traced(lambda: run(program, dtype))
    expected = run(program, torch.float32)
    plain = run(program, dtype)
    for tensor, alone, untraced in zip(traced.returned, expected, plain, strict=True):
        shadow = traced.shadow(tensor)
        assert shadow.dtype == torch.float32
        torch.testing.assert_close(shadow, alone, rtol=1e-5, atol=1e-6, equal_nan=True)
        assert torch.equal(tensor.nan_to_num(), untraced.nan_to_num())


def test_a_write_through_a_view_reaches_the_base_and_its_other_views() -> None:
    def program() -> tuple[Tensor, Tensor, Tensor]:
        base = torch.full((2, 2), 0.1).half()
        row, column = base[0], base[:, 0]
        row.add_(1e-5)  # Less than float16 can tell beside 0.1.
        return base, row, column

    traced = Traced(program)
    base, row, column = traced.returned
    assert torch.equal(base, torch.full((2, 2), 0.1).half())
    expected = torch.tensor([[0.1 + 1e-5, 0.1 + 1e-5], [0.1, 0.1]])
    torch.testing.assert_close(traced.shadow(base), expected, rtol=0, atol=1e-8)
    torch.testing.assert_close(traced.shadow(row), expected[0], rtol=0, atol=1e-8)
    torch.testing.assert_close(traced.shadow(column), expected[:, 0], rtol=0, atol=1e-8)


def test_memory_that_is_gone_takes_its_shadow_along() -> None:
    def program() -> None:
        for _ in range(600):
            torch.full((8,), 0.1).half().exp()

    assert len(Traced(program).tracer.shadows) < 600


def test_bits_read_as_another_dtype_are_counted() -> None:
    traced = Traced(lambda: (torch.full((2,), 0.1).half() * 0.1).view(torch.int16))
    assert [entry.operation for entry in traced.omissions.listed()] == ["view"]
    assert torch.equal(traced.shadow(traced.returned), traced.returned)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_complex_numbers_have_shadows(dtype: torch.dtype) -> None:
    def spectrum() -> Tensor:
        values = torch.linspace(0, 1, 8).to(dtype).float()
        return torch.view_as_real(torch.fft.rfft(values).conj().resolve_conj())

    traced = Traced(spectrum)
    expected = torch.view_as_real(torch.fft.rfft(torch.linspace(0, 1, 8)).conj().resolve_conj())
    torch.testing.assert_close(traced.shadow(traced.returned), expected)
    assert not torch.equal(traced.returned, expected)
