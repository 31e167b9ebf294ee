"""What is true of a script may differ between backends, for a reason that is written down."""

from __future__ import annotations

import pytest

from tests.patients.cases import TRUTHS
from tests.patients.truth import Elsewhere, Truth

DIFFERENT = [
    pytest.param(truth, other, id=f"{truth.script}-{'-'.join(other.backends)}")
    for truth in TRUTHS
    for other in truth.elsewhere
]


def truth_of(name: str) -> Truth:
    return next(truth for truth in TRUTHS if truth.script == name)


@pytest.mark.parametrize(("truth", "other"), DIFFERENT)
def test_a_difference_has_a_reason_and_differs(truth: Truth, other: Elsewhere) -> None:
    assert other.reason.endswith(".")
    for backend in other.backends:
        here = truth.on(backend)
        said = (here.verdict, here.causes, here.layers, here.lines)
        assert said != (truth.verdict, truth.causes, truth.layers, truth.lines)


def test_a_script_that_trains_on_a_backend_has_nothing_to_find_there() -> None:
    torch = truth_of("precision/tanh_squash").on("torch")
    assert (torch.verdict, torch.causes, torch.layers, torch.lines) == ("healthy", (), (), ())
    assert truth_of("precision/tanh_squash").on("jax").verdict == "precision"


def test_a_line_may_be_the_culprit_on_one_backend_only() -> None:
    truth = truth_of("precision/unix_time")
    assert truth.on("jax").lines == (21,)
    assert truth.on("torch").lines == truth.lines == (29,)


def test_a_training_may_fail_in_float32_elsewhere() -> None:
    jax = truth_of("precision/empty_rows").on("jax")
    assert (jax.verdict, jax.causes) == ("not-precision", ("non-finite-in-float32",))
    assert jax.lines == truth_of("precision/empty_rows").lines
