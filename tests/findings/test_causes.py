"""Every overflow belongs to one root cause, by what the operation is and what stands around it."""

from __future__ import annotations

import pytest

from floatline.findings.operations import kind
from floatline.findings.origins import overflows
from tests.findings.evidence import Sketch, collapses, conclude, evidence, learns


def cause(sketch: Sketch, origin: int) -> str:
    """The rule of an origin whose values reach the loss."""
    sketch.loss(origin, nan=1, poisoned=1)
    return overflows(sketch.trace())[0].rule


@pytest.mark.parametrize(
    ("operation", "expected"),
    [
        ("reduce_sum", "reduction"),
        ("AddN", "reduction"),
        ("FusedBatchNormV3", "normalization"),
        ("convert_element_type", "cast"),
        ("dot_general", "matmul"),
        ("integer_pow", "square"),
        ("aten::_softmax", "softmax"),
        ("Conv2D", "convolution"),
        ("Log1p", "log"),
        ("min", "bound"),
        ("Relu", "other"),
    ],
)
def test_kinds_on_three_backends(operation: str, expected: str) -> None:
    assert kind(operation) == expected


@pytest.mark.parametrize("operation", ["MatMul", "Conv2D", "AddV2", "BiasAdd", "Mul", "Relu"])
def test_activation(operation: str) -> None:
    sketch = Sketch()
    weight = sketch.add("Cast", sketch.add("ReadVariableOp", role="parameter", dtype="float32"))
    assert cause(sketch, sketch.overflow(operation, sketch.add("Relu"), weight)) == "FL101"


def test_variance_divides_but_a_standard_deviation_does_not() -> None:
    """A hand-written standard deviation that becomes a feature is a sum of squares."""
    for feeds_back, expected in ((True, "FL106"), (False, "FL102")):
        sketch = Sketch()
        centred = sketch.add("Sub")
        square = sketch.overflow("SquaredDifference", centred)
        root = sketch.passes("Sqrt", sketch.passes("Mean", square))
        divisor = (centred, root) if feeds_back else (root, sketch.literal(1000.0))
        assert cause(sketch, sketch.passes("RealDiv", *divisor)) == expected


def test_a_mean_is_a_sum_even_when_it_is_divided_by_a_number() -> None:
    """JAX sums in float32, divides by the count, and rounds the quotient."""
    for tensor, expected in ((False, "FL102"), (True, "FL101")):
        sketch = Sketch()
        divisor = sketch.add("sub", dtype="float32", shape=(100,) if tensor else ())
        total = sketch.add("reduce_sum", dtype="float32", max_abs=1e8)
        mean = sketch.add("div", divisor, total, dtype="float32", max_abs=1e6)
        rounded = sketch.overflow("convert_element_type", divisor, mean, max_abs=1e6)
        assert cause(sketch, rounded) == expected


@pytest.mark.parametrize(("largest", "expected"), [(316.0, "FL102"), (46.0, "FL101")])
def test_a_power_is_a_square_if_it_is_one(largest: float, expected: str) -> None:
    sketch = Sketch()
    power = sketch.overflow("Pow", sketch.add("Sub", max_abs=largest), max_abs=316.0**2)
    assert cause(sketch, sketch.passes("Mean", power)) == expected


def test_single_squares_that_overflow_are_cast_before_they_are_squared() -> None:
    for operation, before in (("Square", True), ("Sum", False)):
        sketch = Sketch()
        square = sketch.overflow(operation, sketch.add("Relu"))
        sketch.loss(sketch.passes("Mean", square), nan=1, poisoned=1)
        steps = collapses(1.0)
        (finding,) = (
            f
            for f in conclude(evidence([sketch.trace()], steps, learns())).findings
            if f.rule == "FL102"
        )
        assert ("before the square" in finding.remedies[0]) is before


def test_a_product_with_itself_is_a_square() -> None:
    sketch = Sketch()
    centred = sketch.add("Sub")
    total = sketch.passes("Sum", sketch.overflow("Mul", centred, centred))
    assert cause(sketch, total) == "FL102"


def test_scores_are_products_of_computed_tensors_logits_are_not() -> None:
    for second, expected in (("value", "FL107"), ("parameter", "FL101")):
        sketch = Sketch()
        weight = sketch.add("Read", role="parameter") if second == "parameter" else None
        right = sketch.add("BiasAdd") if weight is None else sketch.add("Cast", weight)
        product = sketch.overflow("MatMul", sketch.add("BiasAdd"), right)
        assert cause(sketch, sketch.passes("Softmax", product)) == expected


def test_cast_of_a_literal_of_a_weight_and_of_a_value() -> None:
    for role, expected in (("constant", "FL104"), ("parameter", "FL101"), ("value", "FL101")):
        sketch = Sketch()
        large = sketch.add("Source", role=role, dtype="float32", max_abs=1e6)  # type: ignore[arg-type]
        assert cause(sketch, sketch.overflow("Cast", large, max_abs=1e6)) == expected


def test_input_through_two_casts() -> None:
    sketch = Sketch()
    batch = sketch.add("x", role="input", dtype="float64", max_abs=1e6)
    single = sketch.add("Cast", batch, dtype="float32", max_abs=1e6)
    assert cause(sketch, sketch.overflow("Cast", single, max_abs=1e6)) == "FL105"


def test_scaled_loss_that_overflows_is_a_matter_of_the_scale() -> None:
    sketch = Sketch()
    sketch.losses.append(sketch.overflow("Mul", sketch.add("Sum"), count=1, n=1, layer=None))
    assert overflows(sketch.trace(scale=2.0**15))[0].rule == "FL110"
    assert overflows(sketch.trace(scale=None))[0].rule == "FL101"


def test_a_break_behind_an_underflow_or_a_cancellation() -> None:
    for flushes, expected in ((9, "FL204"), (0, "FL301")):
        sketch = Sketch()
        zero = sketch.add("Mul", zero=9, flushed=9, local_flushed=flushes)
        assert cause(sketch, sketch.breaks("Log", zero)) == expected


@pytest.mark.parametrize(
    ("vanished_in_square", "vanished_in_root", "expected"),
    [(9, 9, "FL204"), (9, 0, "FL110"), (0, 9, "FL110")],
    ids=["a root of what vanished", "a root that is there", "a root that did not vanish here"],
)
def test_a_gradient_that_divides_by_what_vanished_does_not_overflow(
    vanished_in_square: int, vanished_in_root: int, expected: str
) -> None:
    for operation, causes in ((Sketch.breaks, expected), (Sketch.overflow, "FL110")):
        sketch = Sketch()
        square = sketch.add("Square", sketch.add("Sub"), local_flushed=vanished_in_square)
        norm = sketch.add("Sqrt", sketch.add("Sum", square), flushed=vanished_in_root)
        sketch.loss(norm)
        spoilt = operation(sketch, "SqrtGrad", norm, phase="backward")
        sketch.gradient("block", spoilt, nan=1, poisoned=1)
        assert overflows(sketch.trace())[0].rule == causes


@pytest.mark.parametrize(("operation", "expected"), [("RealDiv", "FL204"), ("Mul", "FL104")])
def test_a_literal_that_is_infinite_gives_zeros_where_it_only_divides(
    operation: str, expected: str
) -> None:
    sketch = Sketch()
    literal = sketch.literal(1e6, saturated=1, inf=1, computed_max_abs=0.0)
    scaled = sketch.add(operation, sketch.add("Relu"), literal, zero=9, flushed=9, error=1.0)
    sketch.loss(scaled, error=1.0)
    (origin,) = overflows(sketch.trace())
    assert (origin.rule, origin.site.index) == (expected, literal)


def test_an_infinite_literal_that_is_divided_is_no_divisor() -> None:
    sketch = Sketch()
    literal = sketch.literal(1e6, saturated=1, inf=1, computed_max_abs=0.0)
    assert cause(sketch, sketch.passes("RealDiv", literal, sketch.add("Relu"))) == "FL104"


def test_what_breaks_behind_an_infinite_divisor_breaks_on_its_zeros() -> None:
    sketch = Sketch()
    literal = sketch.literal(1e6, saturated=1, inf=1, computed_max_abs=0.0)
    scaled = sketch.add("RealDiv", sketch.add("Relu"), literal, zero=9, flushed=9, error=1.0)
    sketch.loss(sketch.breaks("Log", scaled), nan=1, poisoned=1)
    assert {origin.rule for origin in overflows(sketch.trace())} == {"FL204"}


@pytest.mark.parametrize("operation", ["Softmax", "Sigmoid", "logistic"])
def test_a_probability_that_vanished_before_a_logarithm(operation: str) -> None:
    sketch = Sketch()
    vanished = sketch.add(operation, zero=9, flushed=9, local_flushed=9)
    assert cause(sketch, sketch.breaks("Log", vanished)) == "FL205"


def test_a_division_by_exponentials_that_vanished_takes_no_logarithm() -> None:
    for operation, breaks, expected in (
        ("RealDiv", True, "FL204"),
        ("Rsqrt", True, "FL204"),
        ("Log", True, "FL205"),
        ("RealDiv", False, "FL101"),
    ):
        sketch = Sketch()
        vanished = sketch.add("Exp", zero=9, flushed=9, local_flushed=9)
        total = sketch.add("Sum", vanished)
        origin = (sketch.breaks if breaks else sketch.overflow)(
            operation, sketch.add("Relu"), total
        )
        assert cause(sketch, origin) == expected


@pytest.mark.parametrize(("largest", "expected"), [(5e4, "FL103"), (1e3, "FL102")])
def test_a_sum_of_exponentials_is_its_largest_or_its_many_terms(
    largest: float, expected: str
) -> None:
    masked = Sketch()
    terms = masked.add("Mul", masked.add("Exp", max_abs=largest), masked.add("Sub"))
    assert cause(masked, masked.overflow("Sum", terms)) == expected
    wide = Sketch()
    terms = wide.add("Cast", wide.add("Exp", max_abs=largest), dtype="float32")
    total = wide.add("Sum", terms, dtype="float32")
    assert cause(wide, wide.overflow("Cast", total)) == expected


def test_an_exponential_that_vanished_before_a_division_meets_no_logarithm() -> None:
    """Sinkhorn's scaling divides by sums of a kernel exp(-cost / epsilon)."""
    sketch = Sketch()
    kernel = sketch.add("exp", zero=9, flushed=9, local_flushed=9)
    total = sketch.add("dot_general", kernel, sketch.add("div"), zero=3, flushed=3)
    assert cause(sketch, sketch.breaks("div", sketch.literal(0.125), total)) == "FL204"


def test_a_literal_that_rounds_to_one() -> None:
    sketch = Sketch()
    top = sketch.add("Const", role="constant", constant=1 - 1e-7, count=1)
    clipped = sketch.add("Minimum", sketch.add("Sigmoid"), top)
    assert cause(sketch, sketch.breaks("Log1p", clipped)) == "FL305"


@pytest.mark.parametrize(("epsilon", "expected"), [(1e-8, "FL203"), (1e-3, "FL305")])
def test_an_epsilon_that_was_to_guard_one_minus_p_is_what_fails(
    epsilon: float, expected: str
) -> None:
    sketch = Sketch()
    gone = int(epsilon < 3e-8)
    literal = sketch.literal(epsilon, zero=gone, flushed=gone)
    rest = sketch.add("sub", sketch.literal(1.0), sketch.add("square"), zero=2, flushed=2)
    assert cause(sketch, sketch.breaks("log", sketch.add("add", rest, literal, zero=2))) == expected


def test_loops_do_not_hang() -> None:
    """The body of a loop reads what it wrote: inputs may come later in the order."""
    sketch = Sketch()
    start = sketch.add("Merge", 2)
    sketch.overflow("Mul", start, start)
    sketch.passes("AddV2", 1, start)
    sketch.loss(2, nan=1, poisoned=1)
    assert [origin.site.index for origin in overflows(sketch.trace())] == [1]


def test_two_faults_of_one_rule_are_one_origin_with_a_count() -> None:
    sketch = Sketch()
    first = sketch.overflow("MatMul", sketch.add("Relu"))
    second = sketch.overflow("MatMul", sketch.add("Relu"))
    sketch.loss(first, second, nan=1, poisoned=1)
    (origin,) = overflows(sketch.trace())
    assert (origin.site.index, origin.others, origin.propagation) == (first, 1, 2)


def test_what_an_optimizer_is_handed_is_no_gradient_that_a_loss_is_made_of() -> None:
    """A step that updates a critic, and then computes a loss with it, is no gradient penalty."""
    for handed, expected in ((True, "FL101"), (False, "FL112")):
        sketch = Sketch()
        sketch.loss(sketch.add("MatMul"))
        gradient = sketch.add("MatMul", phase="backward")
        if handed:
            gradient = sketch.gradient("critic", gradient)
        updated = sketch.add("Sub", gradient, dtype="float32")
        assert cause(sketch, sketch.overflow("Relu", updated)) == expected


def test_a_length_divides_what_it_is_the_length_of() -> None:
    """The distance between two rows is a root of squares as well, and normalises nothing."""
    for divides, expected in ((True, "FL111"), (False, "FL110")):
        sketch = Sketch()
        vector, other = sketch.add("Sub"), sketch.add("Relu")
        root = sketch.add("Sqrt", sketch.add("Sum", sketch.add("Square", vector)))
        sketch.loss(sketch.add("RealDiv", vector if divides else other, root))
        spoilt = sketch.overflow("SqrtGrad", root, phase="backward")
        sketch.gradient("block", spoilt, nan=1, poisoned=1)
        assert overflows(sketch.trace())[0].rule == expected
