"""Samples take their share of the time and no more, whatever they cost; without a clock."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from floatline.watch.occasions import Occasions
from floatline.watch.pace import FIRST, LEAST, MOST, SHARE, Pace, steps_between

SECONDS = st.floats(1e-4, 10.0)


@given(SECONDS, SECONDS)
def test_samples_take_their_share_of_the_time(plain: float, added: float) -> None:
    apart = steps_between(Pace((plain,), (plain + added,)))
    assert LEAST <= apart <= MOST
    if apart < MOST:
        assert added <= SHARE * apart * plain * 1.0001
    if LEAST < apart < MOST:
        assert added > SHARE * (apart - 1) * plain * 0.9999


@given(st.lists(SECONDS, min_size=3, max_size=9))
def test_dearer_samples_are_rarer(added: list[float]) -> None:
    distances = [steps_between(Pace((0.01,), (0.01 + cost,))) for cost in sorted(added)]
    assert distances == sorted(distances)


def test_one_slow_moment_among_several_changes_nothing() -> None:
    pace = Pace()
    for seconds in (0.1, 0.1, 9.0, 0.1):
        pace = pace.after_plain(25 * seconds, 25).after_sampled(4 * seconds)
    assert pace.plain == (0.1, 0.1, 9.0, 0.1)
    assert steps_between(pace) == round(3 / SHARE)


def test_only_the_latest_times_count() -> None:
    pace = Pace((9.0,) * 5, (9.0,) * 5)
    for _ in range(5):
        pace = pace.after_plain(0.5, 25).after_sampled(0.12)
    assert steps_between(pace) == round(5 / SHARE)


def test_a_clock_that_stands_still_divides_by_nothing() -> None:
    assert steps_between(Pace((0.0,), (0.0,))) == LEAST


def sampled(
    every: int | None, steps: int, *, read: int = 25, cost: float = 4.0, first: float = 500.0
) -> list[int]:
    """The steps before which a sample was taken, of a training in which a step takes a second."""
    now, found = 0.0, list[int]()
    occasions = Occasions(every, lambda: now)
    for step in range(steps):
        sampling = occasions.due(step)
        if sampling:
            occasions.begin(step)
            now += cost if found else first
            found.append(step)
        now += 1.0
        if (step + 1) % read == 0:
            occasions.read(step + 1)
        if sampling:
            occasions.end(typical=len(found) > 1)
    return found


def test_the_first_samples_come_early_and_what_compiles_does_not_count() -> None:
    assert sampled(None, 2600) == [FIRST, FIRST + LEAST, 1150, 2150]


def test_a_sample_follows_a_reading() -> None:
    found = sampled(None, 5000, read=70)
    assert len(found) > 5
    assert all(step % 70 == 0 for step in found)


@pytest.mark.parametrize("read", [1, 25, 1000])
def test_a_fixed_number_of_steps_is_kept(read: int) -> None:
    assert sampled(40, 200, read=read) == [40, 80, 120, 160]


def test_none_is_taken_where_none_is_asked_for() -> None:
    assert sampled(0, 5000) == []
