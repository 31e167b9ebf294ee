"""The kernel that measures large arrays on a GPU: judged against XLA's operations, and timed.

Prints Markdown; exits with 1 when the kernel is wrong.

    KERAS_BACKEND=jax python benchmarks/jax_kernel.py
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

import jax
import jax.numpy as jnp
import numpy as np

from floatline.backends.jax import counting, selfcheck
from floatline.tracing.statistics import least_normal

REPEATS = 20
SIZES = (2**20, 2**23, 2**26)
SHAPES = ((1024, 8), (1024, 4), (2048, 8), (512, 4))
LANES = {"three lanes": (0, 1, 2), "two": (0, 1, 1), "one": (0, 0, 0)}
ON_GPU = jax.default_backend() == "gpu"


def arrays_of(case: str, dtype: str, which: Sequence[int]) -> list[Any]:
    """Arrays with an illness, as many as the lanes need."""
    size = 3 * 2**18 + 77
    rng = np.random.default_rng(1)
    usual = rng.normal(size=size)
    make: dict[str, Callable[[], Any]] = {
        "ordinary": lambda: usual,
        "every magnitude": lambda: usual * 10.0 ** rng.integers(-36, 36, size),
        "gradients that vanish": lambda: usual * 1e-6,
        "zeros": lambda: np.zeros(size),
        "half zeros": lambda: np.maximum(usual, 0),
        "one infinity": lambda: np.where(np.arange(size) == size // 2, np.inf, usual),
        "masked": lambda: np.where(np.arange(size) % 3 == 0, -np.inf, usual),
        "one NaN": lambda: np.where(np.arange(size) == size - 1, np.nan, usual),
        "nothing finite": lambda: np.full(size, np.nan),
        "all infinite": lambda: np.full(size, -np.inf),
        "overflows float16": lambda: usual * 4e4,
        "beyond float32's sum": lambda: np.full(size, 3e38),
        "near float32's end": lambda: usual * 2.0**-124,
        "one large among tiny": lambda: np.where(np.arange(size) == 5, 1e30, usual * 1e-20),
        "one tiny among large": lambda: np.where(np.arange(size) == 5, 1e-30, usual * 1e20),
    }
    with np.errstate(all="ignore"):
        shadow = make[case]().astype(np.float32)
        # Smaller than that is zero on one device and not on another.
        shadow = np.where(np.abs(shadow) < 2.0**-126, np.float32(0), shadow)
        low = shadow.astype(jnp.dtype(dtype))
        local = np.where(np.arange(size) % 5 == 0, 0, shadow * np.float32(1.01)).astype(np.float32)
    return [jnp.asarray(lane) for lane in (low, shadow, local)][: max(which) + 1]


CASES = (
    "ordinary", "every magnitude", "gradients that vanish", "zeros", "half zeros", "one infinity",
    "masked", "one NaN", "nothing finite", "all infinite", "overflows float16",
    "beyond float32's sum", "near float32's end", "one large among tiny", "one tiny among large",
)  # fmt: skip


def judge(shape: counting.Shape) -> list[str]:
    """Cases in which the kernel of a shape does not find what XLA finds."""
    wrong = []
    for dtype, lanes in (("float16", "three lanes"), ("bfloat16", "two"), ("float32", "one")):
        which, least = LANES[lanes], least_normal(dtype)
        kernel = jax.jit(partial(_count, which=which, least=least, shape=shape))
        by_xla = jax.jit(partial(selfcheck.by_xla, which=which, least=least))
        for case in CASES if ON_GPU else CASES[:2]:
            arrays = arrays_of(case, dtype, which)
            found = selfcheck.statistics(kernel(arrays))
            truth = selfcheck.statistics(by_xla(arrays))
            wrong += [
                f"{case}, {dtype}, {lanes}: {name} is {getattr(found, name)!r:.80}, "
                f"XLA's {getattr(truth, name)!r:.80}"
                for name in selfcheck.differing(found, truth)
            ]
    return wrong


def _count(arrays: Sequence[Any], which: Any, least: float, shape: counting.Shape) -> Any:
    return counting.count(arrays, which, least, shape, interpret=not ON_GPU)


def timed_measures(sizes: Sequence[int]) -> None:
    """Prints what measuring one array takes, in ms on the device."""
    print("\n| elements | lanes | XLA |" + "".join(f" {b}/{w} |" for b, w in SHAPES))
    print("|---" * (3 + len(SHAPES)) + "|", flush=True)
    for size in sizes:
        drawn = jax.random.normal(jax.random.key(0), (size,))
        lanes = [drawn.astype(np.float16), drawn, drawn * np.float32(1.001)]
        for name in ("three lanes", "one") if size == max(sizes) else ("three lanes",):
            which = LANES[name]
            given = lanes[: max(which) + 1]
            ways = [partial(selfcheck.by_xla, which=which, least=2.0**-14)]
            shapes = [counting.Shape(*shape) for shape in SHAPES]
            ways += [partial(_count, which=which, least=2.0**-14, shape=s) for s in shapes]
            times = [in_ms(jax.jit(way), given) for way in ways]
            print(f"| {size} | {name} |" + "".join(f" {t:.3f} |" for t in times), flush=True)
    wide = jax.random.normal(jax.random.key(1), (max(sizes),)) ** 9
    times = [
        in_ms(jax.jit(partial(way, which=(0, 0, 0), least=2.0**-126)), [wide])
        for way in (selfcheck.by_xla, partial(_count, shape=counting.Shape()))
    ]
    print(f"\nOf many exponents, one lane: XLA {times[0]:.3f} ms, kernel {times[1]:.3f} ms.")


def in_ms(function: Callable[..., Any], given: Any) -> float:
    """How long a call takes, of many that are made one after the other."""
    jax.block_until_ready(function(given))
    begin = time.perf_counter()
    for _ in range(REPEATS):
        found = function(given)
    jax.block_until_ready(found)
    return 1000 * (time.perf_counter() - begin) / REPEATS


def main() -> int:
    """Prints everything."""
    print(f"JAX {jax.__version__} on {jax.devices()[0].device_kind}\n")
    print(f"Trouble with the kernel: {selfcheck.trouble(jax.devices()[0])}", flush=True)
    wrong = judge(counting.Shape())
    print(f"\n{3 * (len(CASES) if ON_GPU else 2)} cases judged; wrong: {len(wrong)}")
    print("\n".join(wrong[:12]), flush=True)
    timed_measures(SIZES if ON_GPU else (2**18,))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
