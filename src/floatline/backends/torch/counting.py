"""The one pass over a value on a GPU: a Triton kernel that adds up and counts all its lanes.

Each program of the grid reads its share of the elements once and adds what it found to the value's
row. What is counted or compared is added as integers, and the few sums in float64, so the order in
which programs finish does not show.
"""

from __future__ import annotations

from typing import Any

import triton
import triton.language as tl

from floatline.backends.torch.lanes import Tensor
from floatline.tracing import statistics, tallies

BLOCK = 1024
"""Elements that a program looks at together."""

WARPS = 8

PROGRAMS = 1024
"""Programs of a grid at most: enough to fill a GPU; more would only wait for each other's sums."""

FIELDS = tl.constexpr(statistics.FIELDS)
CODES = tl.constexpr(128)
"""Joint classes, up to a power of two."""

PEAKS = tl.constexpr(statistics.FIELDS + 128)
"""Where a row has the bits of max |shadow| and of max |computed|, `INFINITY` less those of the
smallest nonzero |shadow|, and how many integers differ."""

SUMS = tl.constexpr(statistics.FIELDS + 128 + 4)
"""Where a row has the sums of a `Pack`, in float64."""

WIDTH = statistics.FIELDS + 128 + 4 + 2 * statistics.SUMS
"""Numbers in a row, as int32."""

INFINITY_BITS = 0x7F800000

_ROW = tl.constexpr(WIDTH)
_TINY = tl.constexpr(statistics.TINY)
_SHIFT = tl.constexpr(statistics.FIELD_SHIFT)
_CLASSES = tl.constexpr(tallies.CLASSES)
_NAN = tl.constexpr(tallies.NAN)
_INFINITY_BITS = tl.constexpr(INFINITY_BITS)


class Counter:
    """Counts values on one GPU.

    Triton finds out in every call which variant of a kernel is meant. That takes longer than the
    rest of the call, so the variants are kept here.
    """

    def __init__(self) -> None:
        self._compiled: dict[Any, Any] = {}

    def count(
        self,
        rows: Tensor,
        sums: Tensor,
        row: int,
        lanes: tuple[Tensor, Tensor, Tensor],
        least: float,
    ) -> None:
        """Measures a value into a row of zeros; nobody waits for the result.

        Args:
            rows: `(n, WIDTH)` int32.
            sums: The same memory as float64.
            row: The value's row.
            lanes: The value in the real step, its shadow, and the result of the operation alone,
                of any dtype of numbers. They have elements, lie in memory without gaps and in the
                same order, and may be one tensor.
            least: The `least_normal` of the value's dtype.
        """
        size = lanes[0].numel()
        even = size % BLOCK == 0
        grid = (min(-(-size // BLOCK), PROGRAMS), 1, 1)
        arguments = (*lanes, rows, sums, row, size, least, BLOCK, even)
        # What Triton makes a variant of: types, the width of a number, alignment.
        kinds = [(lane.dtype, lane.data_ptr() % 16) for lane in lanes]
        variant = (even, size.bit_length() > 31, *kinds)
        compiled = self._compiled.get(variant)
        if compiled is None:
            self._compiled[variant] = _count[grid](*arguments, num_warps=WARPS)
        else:
            compiled[grid](*arguments)


@triton.jit(do_not_specialize=["row", "size", "least"])  # type: ignore[untyped-decorator]  # Triton is not type-checked here
def _count(
    computed: tl.tensor,
    shadow: tl.tensor,
    local: tl.tensor,
    rows: tl.tensor,
    sums: tl.tensor,
    row: tl.tensor,
    size: tl.tensor,
    least: tl.tensor,
    BLOCK: tl.constexpr,  # noqa: N803 (as Triton writes what is fixed when a kernel is compiled)
    EVEN: tl.constexpr,  # noqa: N803
) -> None:
    integers: tl.constexpr = computed.dtype.element_ty.is_int()
    fields = tl.zeros([FIELDS], tl.int32)
    codes = tl.zeros([CODES], tl.int32)
    distance = tl.zeros([BLOCK], tl.float32)
    magnitude = tl.zeros([BLOCK], tl.float32)
    local_distance = tl.zeros([BLOCK], tl.float32)
    local_magnitude = tl.zeros([BLOCK], tl.float32)
    peak = tl.zeros([BLOCK], tl.float32)
    computed_peak = tl.zeros([BLOCK], tl.float32)
    lowest = tl.full([BLOCK], float("inf"), tl.float32)
    differing = tl.zeros([BLOCK], tl.int32)
    beside = tl.arange(0, BLOCK)
    stride = tl.num_programs(0) * BLOCK
    for first in range(tl.program_id(0) * BLOCK, size, stride):
        # What lies behind the end is zero in every lane, and that is neither added nor counted.
        c = _read(computed + first, beside, size - first, EVEN)
        s = _read(shadow + first, beside, size - first, EVEN)
        x = _read(local + first, beside, size - first, EVEN)
        fields += tl.histogram((tl.abs(s).to(tl.int32, bitcast=True) >> _SHIFT), FIELDS)
        code = (_class(x, least) * _CLASSES + _class(s, least)) * _CLASSES + _class(c, least)
        codes += tl.histogram(code, CODES)
        apart, local_apart = tl.abs(c - s), tl.abs(c - x)
        distance += _where_finite(apart, apart)
        magnitude += _where_finite(tl.abs(s), apart)
        local_distance += _where_finite(local_apart, local_apart)
        local_magnitude += _where_finite(tl.abs(x), local_apart)
        peak = tl.maximum(peak, _where_finite(tl.abs(s), tl.abs(s)))
        computed_peak = tl.maximum(computed_peak, _where_finite(tl.abs(c), tl.abs(c)))
        lowest = tl.minimum(lowest, tl.where(tl.abs(s) >= _TINY, tl.abs(s), float("inf")))
        if integers:
            differing += (c != s).to(tl.int32)
    own = rows + row * _ROW
    tl.atomic_add(own + tl.arange(0, FIELDS), fields, mask=fields > 0)
    tl.atomic_add(own + FIELDS + tl.arange(0, CODES), codes, mask=codes > 0)
    # Numbers that are not negative are ordered as their bits are.
    tl.atomic_max(own + PEAKS, tl.max(peak).to(tl.int32, bitcast=True))
    tl.atomic_max(own + PEAKS + 1, tl.max(computed_peak).to(tl.int32, bitcast=True))
    below = tl.min(lowest).to(tl.int32, bitcast=True) - _INFINITY_BITS
    tl.atomic_max(own + PEAKS + 2, -below)
    if integers:
        tl.atomic_add(own + PEAKS + 3, tl.sum(differing))
    own_sums = sums + (row * _ROW + SUMS) // 2
    tl.atomic_add(own_sums, tl.sum(distance).to(tl.float64))
    tl.atomic_add(own_sums + 1, tl.sum(magnitude).to(tl.float64))
    tl.atomic_add(own_sums + 2, tl.sum(local_distance).to(tl.float64))
    tl.atomic_add(own_sums + 3, tl.sum(local_magnitude).to(tl.float64))


@triton.jit  # type: ignore[untyped-decorator]  # Triton is not type-checked here
def _read(start: tl.tensor, beside: tl.tensor, left: tl.tensor, EVEN: tl.constexpr) -> tl.tensor:  # noqa: N803 (as above)
    if EVEN:
        return tl.load(start + beside).to(tl.float32)
    return tl.load(start + beside, mask=beside < left, other=0).to(tl.float32)


@triton.jit  # type: ignore[untyped-decorator]  # Triton is not type-checked here
def _where_finite(values: tl.tensor, judge: tl.tensor) -> tl.tensor:
    return tl.where(judge < float("inf"), values, 0.0)


@triton.jit  # type: ignore[untyped-decorator]  # Triton is not type-checked here
def _class(values: tl.tensor, least: tl.tensor) -> tl.tensor:
    # Each comparison that holds lifts the class by one; a NaN holds none and is set apart.
    size = tl.abs(values)
    held = (size >= _TINY).to(tl.int32) + (size >= least).to(tl.int32)
    held += (size == float("inf")).to(tl.int32)
    return tl.where(size == size, held, _NAN)
