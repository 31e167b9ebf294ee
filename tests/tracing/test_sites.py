"""The ledger: sites in order, and values that travel round a loop."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from floatline.records import Place, Statistics
from floatline.tracing.sites import Description, Ledger


def describe(name: str = "x", *sources: int) -> Description:
    place = Place(layer=None, operation="Mul", name=name, phase="forward")
    return Description(place, "value", "float16", (2,), sources)


def test_sites_are_numbered_in_the_order_of_entry() -> None:
    ledger = Ledger()
    assert [ledger.add(describe(name)) for name in "abc"] == [0, 1, 2]
    assert len(ledger) == 3


def test_a_completed_site_is_its_description_with_statistics() -> None:
    ledger = Ledger()
    place = Place(layer="dense", operation="Const", name="y", phase="forward")
    ledger.add(describe())
    ledger.add(Description(place, "constant", "bfloat16", (), (0,), 1e-8, "path"))
    first, second = ledger.complete([Statistics(1), Statistics(2)])
    assert (first.index, first.inputs, first.statistics.count) == (0, (), 1)
    assert (second.index, second.place, second.role, second.dtype) == (
        1,
        place,
        "constant",
        "bfloat16",
    )
    assert (second.shape, second.inputs, second.constant, second.variable) == (
        (),
        (0,),
        1e-8,
        "path",
    )
    assert second.statistics == Statistics(2)


def test_every_site_needs_its_statistics() -> None:
    ledger = Ledger()
    ledger.add(describe())
    with pytest.raises(ValueError, match="shorter"):
        ledger.complete([])


def test_sources_are_named_once_and_in_order() -> None:
    assert Ledger().resolve([3, 1, 3, 2]) == (1, 2, 3)


def test_a_loop_variable_stands_for_its_start_and_what_came_round() -> None:
    ledger = Ledger()
    start = ledger.add(describe("start"))
    carried = ledger.carry([start])
    inside = ledger.add(describe("inside", carried))
    ledger.feed(carried, [inside])
    assert carried < 0
    assert ledger.resolve([carried]) == (start, inside)
    assert ledger.complete([Statistics(1)] * 2)[inside].inputs == (start, inside)


def test_two_loop_variables_that_change_places() -> None:
    ledger = Ledger()
    one, two = ledger.carry([10]), ledger.carry([20])
    ledger.feed(one, [two])
    ledger.feed(two, [one])
    assert ledger.resolve([one]) == ledger.resolve([two]) == (10, 20)


def test_a_loop_variable_of_a_loop_in_a_loop() -> None:
    ledger = Ledger()
    outer = ledger.carry([5])
    inner = ledger.carry([outer])
    ledger.feed(inner, [inner, 7])
    ledger.feed(outer, [inner])
    assert ledger.resolve([inner]) == (5, 7)
    assert ledger.resolve([outer]) == (5, 7)


def test_a_loop_variable_without_any_source() -> None:
    ledger = Ledger()
    carried = ledger.carry([])
    ledger.feed(carried, [carried])
    assert ledger.resolve([carried]) == ()


EDGES = st.lists(st.tuples(st.integers(0, 4), st.integers(-5, 9)), max_size=12)


@given(edges=EDGES, starts=st.lists(st.integers(0, 9), min_size=5, max_size=5))
def test_resolving_is_reachability(edges: list[tuple[int, int]], starts: list[int]) -> None:
    ledger = Ledger()
    numbers = [ledger.carry([start]) for start in starts]
    reach = {number: {start} for number, start in zip(numbers, starts, strict=True)}
    fed = [(numbers[position], source) for position, source in edges]
    for number, source in fed:
        ledger.feed(number, [source])
    for _ in numbers:  # As many rounds as the longest chain has links.
        for number, source in fed:
            reach[number] |= {source} if source >= 0 else reach[source]
    for number in numbers:
        assert ledger.resolve([number]) == tuple(sorted(reach[number]))
