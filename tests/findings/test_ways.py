"""Ways of faults, groups of sites: small traces whose answer is plain."""

import dataclasses

from floatline import records
from floatline.findings.path import origin, way
from floatline.findings.summaries import REST, fewer, summaries, together
from tests.report import samples


def site(index: int, inputs: tuple[int, ...], layer: str = "dense", **counts: int) -> records.Site:
    place = dataclasses.replace(samples.DIVISION, layer=layer, name=f"{layer}/{index}")
    measured = records.Statistics(count=2, max_abs=float(index), exponents={index: 2}, **counts)
    return dataclasses.replace(samples.value(index, measured, place), inputs=inputs)


def forked() -> records.Trace:
    """0 leads to the gradient 2 by one step, and to the loss 4 by two."""
    sites = (site(0, ()), site(1, (0,)), site(2, (0,)), site(3, (1,)), site(4, (3, 2)))
    gradient = records.GradientSite("kernel", "dense", 2)
    return records.Trace(0, "first", sites, (gradient,), losses=(4,))


def test_the_way_ends_at_the_loss_by_the_shortest_path() -> None:
    trace = forked()
    assert [s.index for s in way(trace, trace.sites[0])] == [0, 2, 4]
    assert [s.index for s in way(trace, trace.sites[4])] == [4]


def test_without_a_loss_it_ends_at_a_gradient() -> None:
    trace = dataclasses.replace(forked(), losses=())
    assert [s.index for s in way(trace, trace.sites[0])] == [0, 2]
    assert [s.index for s in way(trace, trace.sites[3])] == [3]


def test_a_finding_is_found_in_the_step_that_it_names() -> None:
    early = forked()
    late = dataclasses.replace(early, step=7)
    place = early.sites[1].place
    finding = dataclasses.replace(samples.OVERFLOW, place=place, evidence={"step": 7})
    found = origin(finding, (early, late))
    assert found is not None
    assert found[0] is late
    assert found[1].place == place
    assert origin(samples.ADVICE, (early,)) is None
    assert origin(samples.OVERFLOW, (early,)) is None


def test_groups_add_up_to_all_sites() -> None:
    trace = forked()
    (group,) = summaries(trace)
    assert group.sites == 5
    assert group.statistics.count == 10
    assert group.statistics.max_abs == 4.0
    assert group.statistics.exponents == {0: 2, 1: 2, 2: 2, 3: 2, 4: 2}


def test_the_smallest_of_nothing_is_nothing() -> None:
    zeros = records.Statistics(count=3, zero=3)
    some = records.Statistics(count=1, min_abs_nonzero=0.5, max_abs=0.5)
    assert together([zeros, some]).min_abs_nonzero == 0.5
    assert together([zeros, zeros]).min_abs_nonzero == 0.0


def test_too_many_groups_become_fewer_and_lose_no_site() -> None:
    sites = tuple(site(i, (), f"block_{i // 10}/part_{i}") for i in range(100))
    found = summaries(records.Trace(0, "first", sites))
    assert len(found) == 100
    by_block = fewer(found, 20)
    assert [group.layer for group in by_block] == [f"block_{i}" for i in range(10)]
    assert sum(group.sites for group in by_block) == 100
    least = fewer(found, 4)
    assert len(least) <= 4
    assert least[-1].layer == REST
    assert sum(group.sites for group in least) == 100
