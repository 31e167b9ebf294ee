"""The kernel that measures on a GPU finds what XLA finds, value by value; on trial, too."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from floatline.backends.jax import counting, recorder, selfcheck
from floatline.backends.jax.counting import Shape, count
from floatline.backends.jax.recorder import Recorder
from floatline.backends.jax.selfcheck import (
    KERNEL_NOTE,
    KernelChoice,
    by_xla,
    differing,
    statistics,
    trouble,
)
from floatline.records import Place, Statistics
from floatline.tracing.decoding import decode
from floatline.tracing.sites import Description, Ledger
from floatline.tracing.statistics import Pack, least_normal

SMALL = Shape(block=64, warps=1)
ON_HOST = partial(count, shape=SMALL, interpret=True)

SHORT, LONG = 63, 1000
"""Without a whole block; with several for each program and a rest."""

LANES = {
    "three lanes": (0, 1, 2),
    "local is shadow": (0, 1, 1),
    "one lane": (0, 0, 0),
    "shadow is computed": (0, 0, 1),
    "local is computed": (0, 1, 0),
}


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few programs, so that each has several blocks."""
    monkeypatch.setattr(counting, "PROGRAMS", 2)


def with_infinities(size: int) -> np.ndarray:
    rng = np.random.default_rng(size)
    drawn = rng.normal(size=size) * 10.0 ** rng.integers(-12, 9, size)
    drawn[::7] = 0
    for place, special in enumerate((np.inf, -np.inf, np.nan, 2.0**-24, 2.0**-126, 65520.0), 1):
        drawn[place : place + 1] = special
    return drawn.astype(np.float32)


def usual(size: int) -> np.ndarray:
    return np.random.default_rng(size).normal(size=size).astype(np.float32)


VALUES: dict[str, Any] = {
    "with infinities": with_infinities,
    "of every magnitude": lambda size: np.nan_to_num(with_infinities(size), posinf=0, neginf=0),
    "usual": usual,
    "nothing but zeros": lambda size: np.zeros(size, np.float32),
    "nothing finite": lambda size: np.full(size, np.nan, np.float32),
    "beyond float32's sum": lambda size: np.full(size, 3e38, np.float32),
    "one large among tiny": lambda size: np.where(np.arange(size) == 70, 1e30, usual(size) * 1e-20),
    "one tiny among large": lambda size: np.where(np.arange(size) == 70, 1e-30, usual(size)),
    "masked": lambda size: np.where(np.arange(size) % 3 == 0, -np.inf, usual(size)),
}


def arrays_of(name: str, size: int, dtype: str, which: tuple[int, ...]) -> list[jax.Array]:
    shadow = VALUES[name](size).astype(np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        low, local = shadow.astype(jnp.dtype(dtype)), shadow * np.float32(1.01)
    return [jnp.asarray(lane) for lane in (low, shadow, local)][: max(which) + 1]


def compiled(which: tuple[int, ...], dtype: str) -> tuple[Any, Any]:
    least = least_normal(dtype)
    kernel = jax.jit(partial(count, which=which, least=least, shape=SMALL, interpret=True))
    return kernel, jax.jit(partial(by_xla, which=which, least=least))


@pytest.mark.parametrize(
    ("lanes", "size"), [*((lanes, LONG) for lanes in LANES), ("one lane", SHORT)]
)
def test_the_kernel_finds_what_xla_finds(lanes: str, size: int) -> None:
    which = LANES[lanes]
    for dtype in ("float16", "float32"):
        kernel, xla = compiled(which, dtype)
        for name in VALUES:
            arrays = arrays_of(name, size, dtype, which)
            found, truth = statistics(kernel(arrays)), statistics(xla(arrays))
            assert differing(found, truth) == [], (name, dtype)


def test_a_type_that_the_kernel_does_not_read_is_cast() -> None:
    which = (0, 0, 0)
    kernel, xla = compiled(which, "float32")
    arrays = [jnp.asarray(usual(128)).astype("float8_e4m3fn")]
    assert differing(statistics(kernel(arrays)), statistics(xla(arrays))) == []


def test_the_comparison_can_fail() -> None:
    kernel, xla = compiled((0, 0, 0), "float32")
    arrays = arrays_of("usual", 128, "float32", (0, 0, 0))
    found, truth = kernel(arrays), xla([2 * arrays[0]])
    assert "exponents" in differing(statistics(found), statistics(truth))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_the_kernel_can_be_lowered_for_a_gpu(dtype: str) -> None:
    shapes = [jax.ShapeDtypeStruct((1 << 20,), kind) for kind in (dtype, "float32", "float32")]
    traced = jax.jit(partial(count, which=(0, 1, 2), least=least_normal(dtype))).trace(shapes)
    assert "xla.gpu.triton" in traced.lower(lowering_platforms=("cuda",)).as_text()


@pytest.fixture
def interpreted(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The kernel runs on the host, small."""
    monkeypatch.setattr(selfcheck, "count", ON_HOST)
    monkeypatch.setattr(recorder, "count", ON_HOST)
    monkeypatch.setattr(selfcheck, "SIZE", 1000)
    trouble.cache_clear()
    yield
    trouble.cache_clear()


def test_where_it_finds_the_same_it_is_used(interpreted: None) -> None:
    assert trouble(jax.devices()[0]) is None


def test_where_it_does_not_run_it_says_why() -> None:
    trouble.cache_clear()
    assert "does not run" in (trouble(jax.devices()[0]) or "")
    trouble.cache_clear()


def test_where_it_is_wrong_it_says_about_what(
    interpreted: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(*given: Any, **options: Any) -> Pack:
        pack = ON_HOST(*given, **options)
        return pack._replace(counts=pack.counts.at[0, 127].add(1))

    monkeypatch.setattr(selfcheck, "count", wrong)
    assert "is wrong about" in (trouble(jax.devices()[0]) or "")


class OfGpu:
    """Stands for an array on GPUs."""

    def __init__(self, devices: int) -> None:
        self._devices = {OneGpu(number) for number in range(devices)}

    def devices(self) -> set[OneGpu]:
        return self._devices


class OneGpu:
    """Stands for a GPU."""

    platform = "gpu"

    def __init__(self, number: int) -> None:
        self.number = number


@pytest.mark.parametrize(
    ("devices", "reason", "used", "notes"),
    [
        (1, None, True, ()),
        (1, "it breaks", False, (KERNEL_NOTE.format(reason="it breaks"),)),
        (2, None, False, ()),
    ],
)
def test_it_is_used_on_one_gpu_on_which_it_is_right(
    monkeypatch: pytest.MonkeyPatch,
    devices: int,
    reason: str | None,
    used: bool,
    notes: tuple[str, ...],
) -> None:
    monkeypatch.setattr(selfcheck, "trouble", lambda device: reason)
    choice = KernelChoice([OfGpu(devices), 1.0])
    assert (choice.used, choice.notes) == (used, notes)


def test_a_cpu_has_none() -> None:
    choice = KernelChoice([jnp.ones(2)])
    assert (choice.used, choice.notes) == (False, ())


def recorded(kernel: bool, dtype: str) -> Statistics:
    array = jnp.asarray(usual(1 << 10)).astype(dtype)
    place = Place(None, "add", "add", "forward")

    def measured(array: jax.Array) -> Pack:
        nested = Recorder(Ledger(), kernel=kernel).nested()
        nested.measure(Description(place, "value", dtype, (1 << 10,)), array, array, array)
        pack = nested.finish()[1]
        assert pack is not None
        return pack

    return decode(Pack(*map(np.asarray, jax.jit(measured)(array))))[0]


@pytest.mark.parametrize(("dtype", "times"), [("float32", 1), ("int32", 0)])
def test_large_arrays_of_floats_are_measured_by_it(
    interpreted: None, monkeypatch: pytest.MonkeyPatch, dtype: str, times: int
) -> None:
    monkeypatch.setattr(recorder, "ALONE_ELEMENTS", 1 << 10)
    calls: list[Any] = []
    monkeypatch.setattr(recorder, "count", lambda *given: calls.append(given) or ON_HOST(*given))  # type: ignore[func-returns-value]  # (None is what the `or` is for)
    found = recorded(True, dtype)
    assert len(calls) == times
    assert differing(found, recorded(False, dtype)) == []
    assert len(calls) == times


def test_what_may_be_spread_over_devices_is_measured_by_xla(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert not Recorder(Ledger(), kernel=True).nested(spread=True)._kernel
