"""Whether the kernel that measures large arrays may be used: where it finds what XLA finds."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from floatline.backends.jax.counting import PROGRAMS, Shape, count
from floatline.backends.jax.lanes import Array
from floatline.backends.jax.measuring import kernels
from floatline.headlines import headline
from floatline.records import Statistics
from floatline.tracing.decoding import decode
from floatline.tracing.fused import measure
from floatline.tracing.statistics import Pack, least_normal

KERNEL_NOTE = (
    "Large arrays were measured by XLA's own operations, which takes longer than the kernel that "
    "is made for them: on this device {reason}."
)

NEAR = 1e-4
"""Relative distance of sums, which are added up in another order."""

SUMS = ("error", "local_error")

SIZE = 2 * PROGRAMS * Shape().block + 5
"""Elements of an array that is counted on trial: some programs have several blocks, and a rest is
left over."""

CASES = (("float16", (0, 1, 2)), ("float32", (0, 0, 0)), ("bfloat16", (0, 1, 1)))
"""The dtype of the computed values, and which lanes are one."""


class KernelChoice:
    """Whether large arrays of a step are measured by the kernel.

    Args:
        inputs: What the step is given.
    """

    def __init__(self, inputs: Sequence[Array]) -> None:
        devices = {device for array in inputs for device in getattr(array, "devices", set)()}
        # Only XLA's own operations can be spread over several devices.
        device = next(iter(devices)) if len(devices) == 1 else None
        on_gpu = device is not None and device.platform == "gpu"
        reason = trouble(device) if on_gpu else None
        self.used = on_gpu and reason is None
        self.notes = (KERNEL_NOTE.format(reason=reason),) if reason else ()


@cache
def trouble(device: Any) -> str | None:
    """Why the kernel cannot be used on a device; None where it does what it should."""
    try:
        with ThreadPoolExecutor(len(CASES)) as threads:  # They take long to compile.
            found = threads.map(partial(_first_difference, device), CASES)
            wrong = [name for name in found if name]
    except Exception as error:  # noqa: BLE001 (whatever it is, XLA's operations remain)
        return f"it does not run ({headline(error)})"
    return f"it is wrong about {wrong[0]}" if wrong else None


def _first_difference(device: Any, case: tuple[str, tuple[int, int, int]]) -> str | None:
    dtype, which = case
    least = least_normal(dtype)
    arrays = jax.device_put(lanes(dtype, SIZE)[: max(which) + 1], device)
    found = statistics(jax.jit(partial(count, which=which, least=least))(arrays))
    truth = statistics(jax.jit(partial(by_xla, which=which, least=least))(arrays))
    return next(iter(differing(found, truth)), None)


def by_xla(arrays: Sequence[Array], which: Sequence[int], least: float) -> Pack:
    """The same by XLA's operations."""
    flat = [array.astype(np.float32) for array in arrays]
    computed, shadow, local = (flat[number] for number in which)
    return measure(computed, shadow, local, least, None, kernels())


def statistics(pack: Pack) -> Statistics:
    """The statistics of one array."""
    return decode(Pack(*map(np.asarray, pack)))[0]


def lanes(dtype: str, size: int) -> list[np.ndarray]:
    """Lanes with numbers of every magnitude, zeros, infinities and not-numbers among them.

    Their second half is as ordinary as most arrays.
    """
    rng = np.random.default_rng(size)
    drawn = rng.normal(size=size)
    drawn[: size // 2] *= 10.0 ** rng.integers(-12, 9, size // 2)
    drawn[: size // 2 : 7] = 0
    for place, special in enumerate((np.inf, -np.inf, np.nan, 2.0**-24, 2.0**-126, 65520.0)):
        drawn[place : place + 1] = special
    shadow = drawn.astype(np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        low = shadow.astype(jnp.dtype(dtype))
        local = shadow * np.float32(1.01)
    return [low, shadow, local]


def differing(found: Statistics, truth: Statistics) -> list[str]:
    """What two statistics of the same array do not have in common."""
    return [
        field.name
        for field in dataclasses.fields(Statistics)
        for mine, other in [(getattr(found, field.name), getattr(truth, field.name))]
        if not (math.isclose(mine, other, rel_tol=NEAR) if field.name in SUMS else mine == other)
    ]
