"""The one pass over a large array on a GPU: a Pallas kernel that adds up and counts all its lanes.

XLA reads an array twice to measure it, and counts its exponents by adding to memory. The kernel
reads it once. Threads of a program wait for each other only when it has seen its whole share: until
then each keeps sums, maxima and counts of its own, four counts in one integer. So it counts 32
neighbouring exponents, those that the first values suggest; where others occur, and where not all
is finite, the program reads its share again. Each leaves a row, and XLA adds the rows up: no order
in which programs finish shows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from floatline.backends.jax.lanes import Array
from floatline.backends.jax.measuring import kernels
from floatline.tracing.fused import measure, tallied
from floatline.tracing.statistics import (
    FIELD_SHIFT,
    FIELDS,
    NO_MAXIMA,
    NOTHING,
    SUMS,
    TINY,
    Pack,
    merge,
)
from floatline.tracing.tallies import TALLIES

READ = (np.dtype(np.float16), np.dtype(jnp.bfloat16), np.dtype(np.float32))
"""What the kernel reads as it lies in memory."""

PROGRAMS = 1024
"""Programs of a grid that are enough: those of a larger array look at several blocks each."""

REPEATS = 32
"""Blocks of a program at most: a thread's count of a byte must hold."""

THREAD = 4
"""Neighbouring elements that one thread reads, and adds up for itself."""

WINDOW = 32
"""Exponents that are counted in one go."""

ABOVE = 3
"""Those of them that are kept for larger values than the first block has."""

COUNTED = 16
"""Tallies of a program, up to a power of two."""

ADDED = 8
"""Sums and maxima of a program, up to a power of two."""

_TINY_BITS = int(np.float32(TINY).view(np.int32))
_INFINITY_BITS = 0x7F800000
_BYTE, _BYTES = 8, 4


class Shape(NamedTuple):
    """How the kernel is run.

    Attributes:
        block: Elements that a program looks at together, a power of two.
        warps: Groups of 32 threads of a program. Each thread has 255 registers at most, so what it
            keeps of a block must be few numbers.
    """

    block: int = 1024
    warps: int = 8


class _Job(NamedTuple):
    """What a program is to do: where its lanes are, and what decides.

    Attributes:
        lanes: Its share of each distinct lane.
        which: Which of them are the computed, the shadow and the local lane.
        least: The `least_normal` of the array.
        block: Elements of a block.
        repeat: Blocks.
    """

    lanes: Sequence[Any]
    which: Sequence[int]
    least: float
    block: int
    repeat: int

    def read(self, number: Array) -> tuple[Array, Array, Array]:
        """The lanes of a block; those that are one stay one."""
        found = [self.block_of(lane, number) for lane in self.lanes]
        computed, shadow, local = (found[n] for n in self.which)
        return computed, shadow, local

    def block_of(self, lane: Any, number: Array) -> Array:
        """A block of one lane."""
        from jax.experimental import pallas as pl

        start = pl.multiple_of(number * self.block, self.block)
        return lane[pl.ds(start, self.block)].astype(np.float32)

    def fields(self, number: Array) -> Array:
        """The exponents of the shadow in a block."""
        return _bits(self.block_of(self.lanes[self.which[1]], number)) >> FIELD_SHIFT

    def over_blocks(self, look: Callable[[Array, Any], Any], start: Any) -> Any:
        """What is found in one block after the other."""
        if self.repeat == 1:
            return look(jnp.int32(0), start)
        return lax.fori_loop(jnp.int32(0), jnp.int32(self.repeat), look, start)

    @property
    def threads(self) -> int:
        """Numbers that a vector has which holds one for each thread."""
        return self.block // THREAD


def count(
    distinct: Sequence[Array],
    which: Sequence[int],
    least: float,
    shape: Shape | None = None,
    *,
    interpret: bool = False,
) -> Pack:
    """Measures one array; gives what `tracing.statistics.measure` does.

    Args:
        distinct: Flat lanes of one length, in their own dtypes.
        which: Which of them the computed, the shadow and the local lane are.
        least: The `least_normal` of the array's dtype.
        shape: How the kernel is run.
        interpret: Run the kernel on the host, operation by operation.
    """
    shape = shape or Shape()
    lanes = [lane if lane.dtype in READ else lane.astype(np.float32) for lane in distinct]
    (size,) = lanes[0].shape
    repeat = _repeats(size, shape.block)
    programs = size // (shape.block * repeat)
    border = programs * shape.block * repeat
    packs = []
    if programs:
        rows, values = _called(lanes, which, least, shape, (programs, repeat), interpret)
        packs.append(_added(rows, values, border))
    if border < size or not programs:
        flat = [lane[border:].astype(np.float32) for lane in lanes]
        computed, shadow, local = (flat[number] for number in which)
        packs.append(measure(computed, shadow, local, least, None, kernels()))
    return packs[0] if len(packs) == 1 else merge(*packs)


def _repeats(size: int, block: int) -> int:
    """Blocks of each program: a power of two."""
    share = min(size // (block * PROGRAMS), REPEATS)
    return 1 << max(share.bit_length() - 1, 0)


def _called(
    lanes: Sequence[Array],
    which: Sequence[int],
    least: float,
    shape: Shape,
    grid: tuple[int, int],
    interpret: bool,
) -> tuple[Array, Array]:
    """A row of counts, and one of sums and maxima, for each program."""
    # Where there is no GPU nobody needs them, and importing them takes long.
    from jax.experimental import pallas as pl
    from jax.experimental.pallas import triton

    programs, repeat = grid
    width = FIELDS + COUNTED
    return pl.pallas_call(  # type: ignore[no-any-return]
        partial(_kernel, which, least, shape.block, repeat),
        grid=(programs,),
        in_specs=[pl.BlockSpec((shape.block * repeat,), lambda n: (n,))] * len(lanes),
        out_specs=[pl.BlockSpec((1, w), lambda n: (n, 0)) for w in (width, ADDED)],
        out_shape=[
            jax.ShapeDtypeStruct((programs, width), np.int32),
            jax.ShapeDtypeStruct((programs, ADDED), np.float32),
        ],
        compiler_params=triton.CompilerParams(num_warps=shape.warps, num_stages=1),
        interpret=interpret,
        name="floatline_count",
    )(*lanes)


def _added(rows: Array, values: Array, elements: int) -> Pack:
    """The pack of all programs together."""
    counts, sums = jnp.sum(rows, axis=0, dtype=np.int32), jnp.sum(values[:, :SUMS], axis=0)
    maxima = jnp.max(values[:, SUMS : SUMS + len(NO_MAXIMA)], axis=0)
    zeros = elements - jnp.sum(counts[1:FIELDS], dtype=np.int32)
    extras = jnp.asarray([elements, 0], np.int32)
    tallies = (
        counts[FIELDS : FIELDS + len(TALLIES)].at[list(TALLIES).index("shadow_zero")].set(zeros)
    )
    parts = [zeros[None], counts[1:FIELDS], tallies, extras]
    return Pack(
        jnp.concatenate(parts)[None],
        sums[None],
        jnp.maximum(maxima, jnp.asarray(NO_MAXIMA, np.float32))[None],
    )


def _kernel(which: Sequence[int], least: float, block: int, repeat: int, *refs: Any) -> None:
    *lanes, rows, values = refs
    job = _Job(lanes, which, least, block, repeat)
    first = job.fields(jnp.int32(0))
    highest = jnp.max(jnp.where(first < FIELDS - 1, first, 0))
    base = highest + (ABOVE + 1 - WINDOW)
    sums, extremes, small, window = job.over_blocks(
        partial(_look, job, base),
        (
            (jnp.zeros(job.threads, np.float32),) * SUMS,
            (jnp.zeros(job.threads, np.int32),) * 2
            + (jnp.full(job.threads, np.iinfo(np.int32).max, np.int32),),
            jnp.zeros(job.threads, np.int32),
            (jnp.zeros(job.threads, np.int32),) * (WINDOW // _BYTES),
        ),
    )
    added = [jnp.sum(part) for part in sums]
    peak, computed_peak, lowest = jnp.max(extremes[0]), jnp.max(extremes[1]), jnp.min(extremes[2])
    tallies, largest = lax.cond(
        # A sum that left float32 is looked at again as well, and is what it is.
        (sum(added) < np.inf) & (jnp.maximum(peak, computed_peak) < _INFINITY_BITS),
        lambda: (_small(small), _vector([*added, _float(peak), _float(computed_peak)], ADDED)),
        lambda: _again(job),
    )
    least_magnitude = jnp.where(lowest < _INFINITY_BITS, -_float(lowest), NOTHING)
    rows[0, :FIELDS] = _others(job, base, (lowest, peak), _placed(window, base))
    rows[0, FIELDS:] = tallies
    values[0, :] = jnp.where(_places(ADDED) == SUMS + 2, least_magnitude, largest)


def _look(job: _Job, base: Array, number: Array, before: Any) -> Any:
    """Adds a block to what each thread has."""
    computed, shadow, local = job.read(number)
    sums, extremes, small, window = before
    bits = _bits(shadow)
    seen = bits if computed is shadow else _bits(computed)
    pairs = [_pair(computed, shadow), _pair(computed, local)]
    lowest = jnp.where(bits >= _TINY_BITS, bits, np.iinfo(np.int32).max)
    return (
        tuple(a + _folded(b) for a, b in zip(sums, (*pairs[0], *pairs[1]), strict=True)),
        (
            jnp.maximum(extremes[0], _folded(bits, jnp.max)),
            jnp.maximum(extremes[1], _folded(seen, jnp.max)),
            jnp.minimum(extremes[2], _folded(lowest, jnp.min)),
        ),
        small + _folded(_zeros(computed, shadow, local, job.least)),
        _counted(bits >> FIELD_SHIFT, base, window),
    )


def _bits(values: Array) -> Array:
    """The bits of magnitudes: as integers they are in the same order."""
    return lax.bitcast_convert_type(jnp.abs(values), np.int32)


def _float(bits: Array) -> Array:
    return lax.bitcast_convert_type(bits, np.float32)


def _folded(values: Array, fold: Callable[..., Array] = jnp.sum) -> Array:
    """One number for each thread."""
    return fold(values.reshape(-1, THREAD), axis=1)


def _pair(computed: Array, truth: Array, *, guarded: bool = False) -> list[Array]:
    """Distance and magnitude, where both are finite."""
    if truth is computed:
        return [jnp.zeros(computed.shape, np.float32)] * 2
    pair = [jnp.abs(computed - truth), jnp.abs(truth)]
    return [jnp.where(pair[0] < np.inf, values, 0.0) for values in pair] if guarded else pair


def _zeros(computed: Array, shadow: Array, local: Array, least: float) -> Array:
    """Of finite numbers: zero, below `least`, zero in the shadow too, in the local lane too."""
    seen = jnp.abs(computed)
    zero = seen < TINY
    both = [zero if lane is computed else zero & (jnp.abs(lane) < TINY) for lane in (shadow, local)]
    return _packed([zero, seen < least, *both])


def _small(counted: Array) -> Array:
    """The tallies that follow from `_zeros`; finite numbers belong to no other."""
    zero, below, both, alone = _unpacked(counted)
    found = {
        "zero": zero,
        "subnormal": below - zero,
        "flushed": zero - both,
        "local_flushed": zero - alone,
    }
    return _vector([found.get(name, jnp.int32(0)) for name in TALLIES], COUNTED, np.int32)


def _packed(members: Sequence[Array]) -> Array:
    """Up to four masks as bytes of one number."""
    weighted = [jnp.where(held, 1 << _BYTE * n, 0) for n, held in enumerate(members)]
    return sum(weighted[1:], weighted[0])


def _unpacked(counted: Array) -> list[Array]:
    """The four sums of a vector's bytes: two at a time, for a program has no more than 2**16."""
    found = []
    for shift in (0, _BYTE):
        both = jnp.sum((counted >> shift) & 0x00FF00FF, dtype=np.int32)
        found.append((both & 0xFFFF, (both >> 2 * _BYTE) & 0xFFFF))
    (first, third), (second, fourth) = found
    return [first, second, third, fourth]


def _counted(fields: Array, base: Array, window: Sequence[Array]) -> tuple[Array, ...]:
    """Adds the exponents from `base` on to a window: four of them in each integer."""
    beyond = fields - base
    one = jnp.int32(1) << ((beyond & (_BYTES - 1)) * _BYTE)
    word = beyond >> 2
    return tuple(
        before + _folded(jnp.where(word == number, one, 0)) for number, before in enumerate(window)
    )


def _placed(window: Sequence[Array], base: Array) -> Array:
    """A row of all exponents with those of a window."""
    places = _places(FIELDS) - base
    row = jnp.zeros(FIELDS, np.int32)
    for number, counted in enumerate(window):
        for byte, found in enumerate(_unpacked(counted)):
            row = jnp.where(places == _BYTES * number + byte, found, row)
    return row


def _others(job: _Job, base: Array, bits: tuple[Array, Array], row: Array) -> Array:
    """The row with the exponents that lie outside of the first window, window by window."""
    lowest, highest = ((end >> FIELD_SHIFT) - base for end in bits)
    shift = WINDOW.bit_length() - 1

    def add(number: Array, row: Array) -> Array:
        start = base + number * WINDOW
        empty = (jnp.zeros(job.threads, np.int32),) * (WINDOW // _BYTES)

        def counted() -> Array:
            look = lambda block, before: _counted(job.fields(block), start, before)  # noqa: E731 (the body of a loop)
            return row + _placed(job.over_blocks(look, empty), start)

        return lax.cond(number == 0, lambda: row, counted)

    return lax.fori_loop(lowest >> shift, (highest >> shift) + 1, add, row)


def _again(job: _Job) -> tuple[Array, Array]:
    """Tallies, sums and maxima where something may not be finite."""
    words = -(-len(TALLIES) // _BYTES)

    def look(number: Array, before: Any) -> Any:
        computed, shadow, local = job.read(number)
        sums, peaks, counts = before
        pairs = [_pair(computed, truth, guarded=True) for truth in (shadow, local)]
        held = [member != 0 for member in tallied(computed, shadow, local, job.least)]
        packed = [_packed(held[n * _BYTES : (n + 1) * _BYTES]) for n in range(words)]
        magnitudes = (jnp.abs(shadow), jnp.abs(computed))
        finite = [jnp.where(size < np.inf, size, 0.0) for size in magnitudes]
        return (
            tuple(a + _folded(b) for a, b in zip(sums, (*pairs[0], *pairs[1]), strict=True)),
            tuple(jnp.maximum(a, _folded(b, jnp.max)) for a, b in zip(peaks, finite, strict=True)),
            tuple(a + _folded(b) for a, b in zip(counts, packed, strict=True)),
        )

    nothing = jnp.zeros(job.threads, np.float32)
    sums, peaks, counts = job.over_blocks(
        look,
        ((nothing,) * SUMS, (nothing,) * 2, (jnp.zeros(job.threads, np.int32),) * words),
    )
    found = [number for word in counts for number in _unpacked(word)]
    values = [*(jnp.sum(part) for part in sums), *(jnp.max(part) for part in peaks)]
    return _vector(found[: len(TALLIES)], COUNTED, np.int32), _vector(values, ADDED)


def _places(width: int) -> Array:
    return lax.broadcasted_iota(np.int32, (width,), 0)


def _vector(numbers: Sequence[Array], width: int, dtype: Any = np.float32) -> Array:
    """Numbers as one vector, filled up with zeros."""
    vector = jnp.zeros(width, dtype)
    for place, number in enumerate(numbers):
        vector = jnp.where(_places(width) == place, number, vector)
    return vector
