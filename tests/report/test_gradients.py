"""Gradients by layer: sums over variables, and the choice of the trace to show."""

from floatline import records
from floatline.report import gradients
from tests.report import samples


def trace(*flushed: int) -> records.Trace:
    """Two layers take turns; each gradient has 100 elements, 50 of them 0 in float32."""
    sites = tuple(
        samples.value(
            index, records.Statistics(count=100, shadow_zero=50, flushed=count, zero=50 + count)
        )
        for index, count in enumerate(flushed)
    )
    owners = tuple(
        records.GradientSite(f"v{index}", ("a", "b")[index % 2], index)
        for index in range(len(flushed))
    )
    return records.Trace(0, "first", sites, owners)


def test_variables_of_a_layer_are_added_up() -> None:
    first, second = gradients.by_layer(trace(5, 0, 20))
    assert (first.layer, first.elements, first.nonzero, first.flushed) == ("a", 200, 100, 25)
    assert first.flushed_share == 0.25
    assert (second.layer, second.flushed_share) == ("b", 0.0)


def test_a_gradient_of_zeros_has_lost_nothing() -> None:
    zeros = samples.value(0, records.Statistics(count=9, zero=9, shadow_zero=9))
    one = records.Trace(0, "first", (zeros,), (records.GradientSite("v", "a", 0),))
    assert gradients.by_layer(one)[0].flushed_share == 0.0


def test_the_trace_with_the_largest_share_is_shown() -> None:
    quiet, loud = trace(1, 0), trace(30, 10)
    shown = gradients.most_flushed((quiet, loud, trace(2, 2)))
    assert shown is not None
    assert shown[0] is loud


def test_nothing_flushed_is_nothing_to_show() -> None:
    assert gradients.most_flushed((trace(0, 0), records.Trace(1, "last", ()))) is None
