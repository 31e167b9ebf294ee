"""Memory that runs out is told apart, let go, and on the host noticed before Linux notices it."""

from __future__ import annotations

import gc
import sys
import weakref
from pathlib import Path

import pytest

from floatline.backends import memory
from floatline.errors import OutOfMemoryError

MIB = 2**20


class Held:
    """Stands for what a failed try had in memory."""


def failing(held: list[weakref.ref[Held]]) -> None:
    value = Held()
    held.append(weakref.ref(value))
    raise MemoryError("no room")


def test_what_a_failed_try_held_is_free_when_its_error_is_raised() -> None:
    held: list[weakref.ref[Held]] = []
    with pytest.raises(OutOfMemoryError) as short:
        memory.within_memory(lambda: failing(held), lambda error: isinstance(error, MemoryError))
    assert held[0]() is None
    assert short.value.message.startswith("MemoryError: no room")
    assert "smaller batch" in short.value.advice


def test_an_error_as_it_is_holds_all_that_the_try_had() -> None:
    held: list[weakref.ref[Held]] = []
    with pytest.raises(MemoryError) as error:
        failing(held)
    gc.collect()
    assert held[0]() is not None
    assert error.value is not None


def test_other_errors_stay_what_they_are() -> None:
    def wrong() -> None:
        raise ValueError("shapes")

    with pytest.raises(ValueError, match="shapes"):
        memory.within_memory(wrong, lambda error: isinstance(error, MemoryError))


def test_what_is_noticed_lets_go_as_well() -> None:
    held: list[weakref.ref[Held]] = []

    def noticing() -> None:
        value = Held()
        held.append(weakref.ref(value))
        raise OutOfMemoryError("Little is left.")

    with pytest.raises(OutOfMemoryError, match="Little is left"):
        memory.within_memory(noticing, lambda error: False)
    assert held[0]() is None


def test_more_than_is_free_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "free_host_bytes", lambda: 100 * MIB)
    memory.check_host(100 * MIB)
    with pytest.raises(OutOfMemoryError, match="101 MiB of memory are needed, and 100 MiB are fr"):
        memory.check_host(101 * MIB)


def test_where_nothing_is_told_nothing_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert memory.free_host_bytes() is None
    memory.check_host(2**60)


def test_new_values_are_stopped_before_the_last_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    free = [4096 * MIB]
    monkeypatch.setattr(memory, "free_host_bytes", lambda: free[0])
    host = memory.HostMemory()
    host.made(1024 * MIB)
    free[0] = memory.RESERVE - 1
    host.made(memory.CHECKED_EVERY - 1)  # So little is not worth asking.
    with pytest.raises(OutOfMemoryError):
        host.made(1)


def test_a_machine_with_little_memory_is_not_stopped_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(memory, "free_host_bytes", lambda: memory.RESERVE // 2)
    memory.HostMemory().made(memory.CHECKED_EVERY)


@pytest.mark.parametrize("version", [1, 2])
def test_a_limit_of_the_group_counts(
    version: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit, use, cache = memory._FILES[2 - version]
    (tmp_path / limit).write_text(f"{300 * MIB}\n")
    (tmp_path / use).write_text(f"{250 * MIB}\n")
    (tmp_path / "memory.stat").write_text(f"anon {200 * MIB}\n{cache} {50 * MIB}\n")
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(memory, "_groups", lambda: [tmp_path])
    assert memory.free_host_bytes() == 100 * MIB
    (tmp_path / limit).write_text("max\n" if version == 2 else f"{2**62}\n")
    free = memory.free_host_bytes()
    assert free is not None
    assert free > 100 * MIB
