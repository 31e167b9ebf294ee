"""Traces made smaller: what is kept, what is counted, and that ways still lead somewhere."""

import dataclasses

from floatline import records
from floatline.findings.path import way
from floatline.findings.summaries import summaries
from floatline.report.portable import smaller
from tests.report import samples

QUIET = records.Statistics(count=4, max_abs=1.0, min_abs_nonzero=0.5, exponents={-1: 4})


def chain(length: int, special: dict[int, records.Statistics] | None = None) -> records.Trace:
    """Each value reads the one before; the last is the loss."""
    forward = dataclasses.replace(samples.DIVISION, phase="forward")
    sites = tuple(
        dataclasses.replace(
            samples.value(index, (special or {}).get(index, QUIET), forward),
            inputs=(index - 1,) if index else (),
        )
        for index in range(length)
    )
    return records.Trace(3, "first", sites, losses=(length - 1,))


def test_a_small_trace_is_kept_as_it_is() -> None:
    trace = chain(5)
    assert smaller(trace, limit=5) is trace


def test_where_faults_begin_comes_before_where_they_pass() -> None:
    passing = records.Statistics(count=4, inf=1, saturated=1)
    beginning = records.Statistics(count=4, inf=1, saturated=1, local_saturated=1)
    trace = chain(20, {3: passing, 7: beginning, 9: beginning})
    kept = smaller(trace, limit=3)
    assert [site.statistics for site in kept.sites] == [beginning, beginning, QUIET]
    assert kept.losses == (2,)


def test_sites_are_numbered_anew_and_lead_past_what_is_left_out() -> None:
    beginning = records.Statistics(count=4, inf=1, saturated=1, local_saturated=1)
    kept = smaller(chain(50, {10: beginning, 30: beginning}), limit=3)
    assert [site.index for site in kept.sites] == [0, 1, 2]
    assert [site.inputs for site in kept.sites] == [(), (0,), (1,)]
    assert way(kept, kept.sites[0]) == kept.sites


def test_what_is_left_out_is_counted_and_stays_in_the_groups() -> None:
    trace = chain(50)
    kept = smaller(trace, limit=10)
    assert (len(kept.sites), kept.left_out) == (10, 40)
    assert sum(group.sites for group in kept.summaries) == 50
    assert summaries(kept) == summaries(trace)


def test_the_way_of_a_finding_is_kept() -> None:
    place = dataclasses.replace(samples.DIVISION, name="the culprit")
    trace = chain(40)
    culprit = dataclasses.replace(trace.sites[36], place=place)
    trace = dataclasses.replace(trace, sites=(*trace.sites[:36], culprit, *trace.sites[37:]))
    finding = dataclasses.replace(samples.OVERFLOW, place=place)
    kept = smaller(trace, [finding], limit=4)
    assert kept.sites[0].place == place
    assert [site.inputs for site in kept.sites] == [(), (0,), (1,), (2,)]


def test_the_gradients_that_are_kept_point_at_their_sites() -> None:
    trace = chain(30)
    gradient = records.GradientSite("kernel", "dense", 17)
    kept = smaller(dataclasses.replace(trace, gradients=(gradient,)), limit=3)
    (found,) = kept.gradients
    assert found.variable == "kernel"
    assert kept.losses != (found.site,)
