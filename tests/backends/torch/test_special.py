"""Operations whose float32 lane is another call, and those that have none."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from floatline.backends.torch.special import LANE_CALLS
from tests.backends.torch.traced import Traced, trace_of

ATEN = torch.ops.aten
SHAPE = (2, 3, 5, 4)


def attended(*, causal: bool) -> tuple[list[Any], Any, Any, tuple[Any, ...]]:
    """Query, key and value; the result; the upstream gradient; the gradients. By autograd."""
    torch.manual_seed(0)
    inputs = [torch.randn(SHAPE, requires_grad=True) for _ in range(3)]
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        result = torch.nn.functional.scaled_dot_product_attention(*inputs, is_causal=causal)
    upstream = torch.randn(SHAPE)
    return inputs, result, upstream, torch.autograd.grad(result, inputs, upstream)


@pytest.mark.parametrize("causal", [False, True])
def test_attention_by_its_formula_is_attention(causal: bool) -> None:
    """The fused kernels of GPUs, which know no float32, called with what they take and give."""
    inputs, expected, upstream, gradients = attended(causal=causal)
    inputs = [tensor.detach() for tensor in inputs]
    forward = ATEN._scaled_dot_product_flash_attention.default
    rest = (torch.zeros(2, 3, 5), None, None, 5, 5, torch.zeros(1), torch.zeros(1), None)
    lane = LANE_CALLS["_scaled_dot_product_flash_attention"]
    result = lane(forward, ((*inputs, 0.0, causal), {}), (expected, *rest))
    torch.testing.assert_close(result[0], expected)
    backward = ATEN._scaled_dot_product_flash_attention_backward.default
    arguments = (upstream, *inputs, expected, *rest[:5], 0.0, causal, *rest[5:7])
    lane = LANE_CALLS["_scaled_dot_product_flash_attention_backward"]
    found = lane(backward, (arguments, {"scale": 1 / math.sqrt(4)}), gradients)
    for own, other in zip(found, gradients, strict=True):
        torch.testing.assert_close(own, other)


def test_attention_that_drops_has_no_float32_twin() -> None:
    inputs = [torch.randn(SHAPE) for _ in range(3)]
    forward = ATEN._scaled_dot_product_flash_attention.default
    with pytest.raises(NotImplementedError):
        LANE_CALLS["_scaled_dot_product_flash_attention"](
            forward, ((*inputs, 0.5), {}), (inputs[0],)
        )


def test_a_half_to_float_softmax_takes_what_is_wide_already() -> None:
    values = torch.randn(4, 3)
    result = LANE_CALLS["_softmax"](ATEN._softmax.default, ((values, 1, True), {}), None)
    torch.testing.assert_close(result, values.softmax(1))


def test_dropout_drops_the_same_in_every_lane() -> None:
    def drop() -> Any:
        values = torch.linspace(0.1, 1.0, 64).half()
        return torch.native_dropout(values * 0.3, 0.5, True)[0]

    traced = Traced(drop)
    shadow = traced.shadow(traced.returned)
    assert torch.equal(shadow == 0, traced.returned == 0)
    kept = shadow != 0
    expected = (torch.linspace(0.1, 1.0, 64) * 0.6)[kept]
    torch.testing.assert_close(shadow[kept], expected)
    assert traced.omissions.listed() == ()


def test_random_numbers_that_depend_on_values_are_counted() -> None:
    traced = Traced(lambda: torch.bernoulli(torch.full((8,), 0.3).half() * 1.1))
    (entry,) = traced.omissions.listed()
    assert (entry.operation, entry.count) == ("bernoulli", 1)
    assert torch.equal(traced.shadow(traced.returned), traced.returned.float())


def test_what_cannot_run_in_float32_is_counted_and_goes_on() -> None:
    with torch.library._scoped_library("floatline_test", "DEF") as library:
        library.define("only_half(Tensor values) -> Tensor")

        def only_half(values: Any) -> Any:
            if values.dtype != torch.float16:
                raise RuntimeError("expected float16")
            return values * 2

        library.impl("only_half", only_half, "CPU")

        def step(inputs: Any) -> Any:
            return torch.ops.floatline_test.only_half(inputs.half()) + 1

        trace = trace_of(step, torch.linspace(0, 1, 8))
    (entry,) = trace.not_traced
    assert (entry.operation, entry.reason) == ("floatline_test::only_half", "has no float32 twin")
    last = trace.sites[-1]
    assert (last.place.operation, last.dtype) == ("add", "float16")
    assert last.statistics.error < 1e-3


def test_python_that_looks_at_values_follows_the_real_step() -> None:
    def step(inputs: Any) -> Any:
        half = inputs.half() * 1e-8  # All zero in float16, not in float32.
        chosen = inputs[half == 0]
        return chosen * (2.0 if bool((half == 0).all()) else 3.0)

    trace = trace_of(step, torch.linspace(0.1, 1.0, 8))
    assert trace.sites[-1].shape == (8,)
    assert trace.sites[-1].statistics.max_abs == pytest.approx(2.0)


def test_checkpointed_layers_are_recomputed_with_the_same_numbers() -> None:
    def step(inputs: Any) -> None:
        inputs = inputs.clone().requires_grad_()
        body = lambda t: (t.half() * 1e-3).float().square().exp()  # noqa: E731
        torch.utils.checkpoint.checkpoint(body, inputs, use_reentrant=False).sum().backward()

    squares = [s for s in trace_of(step, torch.ones(4)).sites if s.place.operation == "square"]
    assert [s.place.phase for s in squares] == ["forward", "backward"]
    assert len({s.statistics.max_abs for s in squares}) == 1


def test_a_spectrum_is_measured_as_its_real_and_imaginary_parts() -> None:
    signal = torch.randn(3, 64, generator=torch.Generator().manual_seed(0))
    trace = trace_of(lambda x: torch.fft.rfft(x).abs().half() ** 2, signal)
    transform, square = trace.sites[1], trace.sites[-1]
    truth = np.fft.rfft(signal.numpy().astype("float64"))
    parts = np.abs([truth.real, truth.imag])
    assert (transform.place.operation, transform.shape) == ("_fft_r2c", (3, 33, 2))
    assert transform.statistics.max_abs == pytest.approx(parts.max(), rel=1e-5)
    assert square.statistics.max_abs == pytest.approx((np.abs(truth) ** 2).max(), rel=1e-5)
    assert transform.index in trace.sites[2].inputs
