"""One patient per rule: evidence in which exactly that root cause is at work."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from floatline.records import Evidence, GradientSite, Trace
from tests.findings.crossed import crossed_rows
from tests.findings.evidence import (
    INF,
    NAN,
    Numbers,
    Sketch,
    broken,
    collapses,
    configuration,
    curve,
    evidence,
    lagging,
    learns,
    stalls,
    steps,
)
from tests.findings.shuffled import shuffled_targets
from tests.findings.special import (
    empty_vectors,
    gradient_of_a_penalty,
    gradient_penalty,
    moments_in_half,
    odd_vocabulary,
    short_vectors,
    spectrum,
    spectrum_of_torch,
    vanishing_penalty,
)
from tests.findings.widths import wide_here


def activation() -> Evidence:
    sketch = Sketch()
    x = sketch.add("Cast", role="value")
    w = sketch.add("ReadVariableOp", role="parameter", dtype="float32", variable="block/kernel")
    return broken(sketch, sketch.overflow("MatMul", x, sketch.add("Cast", w)))


def reduction() -> Evidence:
    sketch = Sketch()
    return broken(sketch, sketch.overflow("Sum", sketch.add("Relu"), count=1, n=1, max_abs=4e5))


def exponential() -> Evidence:
    sketch = Sketch()
    return broken(sketch, sketch.overflow("Exp", sketch.add("BiasAdd", max_abs=12.0)))


def mask() -> Evidence:
    sketch = Sketch()
    big = sketch.literal(-1e9, inf=1, saturated=1, computed_max_abs=0.0)
    product = sketch.passes("Mul", sketch.add("Sub"), big)
    return broken(sketch, sketch.passes("AddV2", sketch.add("BatchMatMulV2"), product))


def edge_mask() -> Evidence:
    sketch = Sketch()
    product = sketch.add("Mul", sketch.add("Sub"), sketch.literal(-65504.0), max_abs=65504.0)
    return broken(sketch, sketch.overflow("AddV2", sketch.add("BatchMatMulV2"), product))


def large_input() -> Evidence:
    sketch = Sketch()
    batch = sketch.add("x", role="input", dtype="float32", layer=None, max_abs=3e5)
    return broken(sketch, sketch.overflow("Cast", batch, max_abs=3e5))


def large_target() -> Evidence:
    sketch = Sketch()
    sketch.add("y", role="input", dtype="float32", layer=None, max_abs=2.5e5)
    bias = sketch.add("ReadVariableOp", role="parameter", dtype="float32", max_abs=2e5)
    return broken(sketch, sketch.overflow("Cast", bias, max_abs=2e5))


def offset_input() -> Evidence:
    sketch = Sketch()
    batch = sketch.add("x", role="input", dtype="float32", layer=None, max_abs=2e4)
    rounded = sketch.add("Cast", batch, max_abs=2e4, error=3e-4)
    mean = sketch.literal(20000.0, max_abs=2e4)
    return lagging(sketch, sketch.add("Sub", rounded, mean, error=3.0))


def variance() -> Evidence:
    """Silent: 1 / inf is 0, and nothing else is non-finite."""
    sketch = Sketch()
    centred = sketch.add("Sub", sketch.add("Conv2D", max_abs=900.0), max_abs=600.0)
    square = sketch.overflow("Square", centred, max_abs=3.6e5)
    mean = sketch.add("Mean", square, inf=2, saturated=2)
    guarded = sketch.add("AddV2", mean, sketch.literal(1e-3), inf=2, saturated=2)
    root = sketch.add("Rsqrt", guarded, zero=2, flushed=2, error=1.0)
    return lagging(sketch, sketch.add("Mul", centred, root, zero=90, flushed=90, error=1.0))


def attention() -> Evidence:
    sketch = Sketch()
    query = sketch.add("BiasAdd", max_abs=400.0)
    key = sketch.add("BiasAdd", max_abs=400.0)
    scores = sketch.overflow("BatchMatMulV2", query, key, max_abs=7.8e5)
    return broken(sketch, sketch.passes("Softmax", sketch.passes("Mul", scores)))


def backward() -> Evidence:
    """The division model: 9 of 40 steps skipped, 2 elements reach 9.8e4."""
    sketch = Sketch()
    total = sketch.add("Sum", sketch.add("MatMul"), layer="div")
    ratio = sketch.add("RealDiv", total, total, layer="div")
    loss = sketch.loss(ratio)
    seed = sketch.add("RealDiv", loss, phase="backward", layer="div")
    product = sketch.overflow("Mul", seed, total, phase="backward", layer="div")
    spoilt = sketch.passes("MatMul", product, phase="backward")
    sketch.gradient("block", spoilt, nan=50, poisoned=50)
    skipped = (0, 1, 2, 3, 4, 5, 9, 14, 20)
    own = steps(curve(1.0, 0.2), skipped, 2.0**15)
    return evidence([sketch.trace(0, "first", 2.0**15)], own, learns())


def flushing(scale: float | None = None, share: float = 1.0, step: int = 0) -> Trace:
    """The first layer's gradient underflows in its backward pass, the last layer's does not."""
    sketch = Sketch()
    loss = sketch.loss(sketch.add("Sigmoid", layer="head"))
    top = sketch.add("MatMul", loss, phase="backward", layer="head")
    lost = int(100 * share)
    numbers: Numbers = {"flushed": lost, "zero": lost, "error": share}
    deep = sketch.add("MatMul", top, phase="backward", local_flushed=lost, **numbers)
    sketch.gradient("block", deep, **numbers)
    sketch.gradient("head", top)
    return sketch.trace(step, "first" if step == 0 else "last", scale)


def no_scaling() -> Evidence:
    traces = [flushing(), flushing(step=39)]
    return evidence(traces, stalls(), learns(), config=configuration(scaling=False))


def low_scale() -> Evidence:
    traces = [flushing(2.0), flushing(2.0, step=39)]
    return evidence(traces, stalls(), learns())


def epsilon() -> Evidence:
    sketch = Sketch()
    tiny = sketch.literal(1e-8, zero=1, flushed=1, computed_max_abs=0.0)
    guarded = sketch.add("AddV2", sketch.add("Mean"), tiny, zero=2, flushed=2)
    root = sketch.add("Sqrt", guarded, zero=2, flushed=2)
    return broken(sketch, sketch.breaks("RealDiv", sketch.add("Sub"), root))


def underflow() -> Evidence:
    sketch = Sketch()
    numbers: Numbers = {
        "flushed": 80,
        "zero": 80,
        "local_flushed": 80,
        "error": 0.9,
        "max_abs": 1e-8,
    }
    return lagging(sketch, sketch.add("Mul", sketch.add("Relu"), sketch.add("Relu"), **numbers))


def infinite_divisor() -> Evidence:
    sketch = Sketch()
    million = sketch.literal(1e6, inf=1, saturated=1, computed_max_abs=0.0)
    gone: Numbers = {"flushed": 100, "zero": 100, "error": 1.0, "max_abs": 1e-3}
    return lagging(sketch, sketch.add("RealDiv", sketch.add("Relu"), million, **gone))


def softmax() -> Evidence:
    sketch = Sketch()
    numbers: Numbers = {"flushed": 40, "zero": 40, "local_flushed": 40, "error": 1e-6}
    probabilities = sketch.add("Softmax", sketch.add("BiasAdd", max_abs=30.0), **numbers)
    clipped = sketch.add("Maximum", probabilities, dtype="float32", layer=None)
    return lagging(sketch, sketch.add("Log", clipped, dtype="float32", layer=None, error=0.4))


def position() -> Evidence:
    sketch = Sketch()
    times = sketch.add("x", role="input", dtype="float32", layer=None, max_abs=3e4)
    rounded = sketch.add("Cast", times, max_abs=3e4, error=2e-4)
    return lagging(sketch, sketch.add("Sub", rounded, rounded, error=1.2))


def long_sum() -> Evidence:
    sketch = Sketch()
    ones = sketch.add("Relu")
    return lagging(sketch, sketch.add("Cumsum", ones, local_error=0.4, error=0.4, max_abs=5000.0))


def identifiers() -> Evidence:
    sketch = Sketch()
    labels = sketch.add("y", role="input", dtype="int32", layer=None, max_abs=2559.0)
    rounded = sketch.add("Cast", labels, layer=None, max_abs=2559.0, error=2e-4)
    numbers: Numbers = {"dtype": "int64", "mismatched": 50, "max_abs": 2559.0}
    back = sketch.add("Cast", rounded, layer=None, **numbers)
    loss = sketch.loss(sketch.add("SparseSoftmaxCrossEntropyWithLogits", back, dtype="float32"))
    sketch.gradient("block", loss, error=0.9)
    return evidence([sketch.trace(0, "first", 2.0**15)], stalls(), learns())


def small_update() -> Evidence:
    sketch = Sketch()
    spread = {0: 60, -1: 40}
    weight = sketch.add("ReadVariableOp", role="parameter", variable="w", exponents=spread)
    loss = sketch.loss(sketch.add("MatMul", weight))
    sketch.gradient("block", loss)
    change = sketch.add("Mul", loss, phase="update", layer=None, max_abs=1e-5)
    options: Numbers = {"phase": "update", "layer": None, "variable": "w"}
    sketch.add("AssignSubVariableOp", weight, change, **options)
    policy = configuration("float16", variables="float16", scaling=False)
    return evidence([sketch.trace()], stalls(), learns(), config=policy)


def one_minus_epsilon() -> Evidence:
    sketch = Sketch()
    one = sketch.literal(1.0)
    rest = sketch.add("Sub", one, sketch.add("Minimum"), zero=2, flushed=2)
    return broken(sketch, sketch.breaks("Log", rest))


def squashed() -> Evidence:
    """Forward finite; the backward pass divides by an epsilon that stands alone."""
    sketch = Sketch()
    rest = sketch.add("Sub", sketch.literal(1.0), sketch.add("Square"), zero=9, flushed=9)
    guarded = sketch.add("AddV2", rest, sketch.literal(1e-6))
    loss = sketch.loss(sketch.add("Log", guarded))
    inverse = sketch.overflow("Reciprocal", guarded, phase="backward", max_abs=1e6)
    back = sketch.passes("Mul", loss, inverse, phase="backward")
    sketch.gradient("block", back, nan=9, poisoned=9)
    return evidence([sketch.trace(0, "first", 2.0**15)], collapses(0.5), learns())


def collapse() -> Evidence:
    """No traced step shows why."""
    sketch = Sketch()
    sketch.gradient("block", sketch.loss(sketch.add("MatMul")))
    return evidence([sketch.trace(0, "first", 2.0**15)], collapses(0.5), learns())


def high_scale() -> Evidence:
    patient = backward()
    own = steps(curve(1.0, 0.2), range(12), 2.0**24)
    return evidence(patient.traces, own, learns())


def infinite_scale() -> Evidence:
    own = [step for step in steps([0.0] * 20) if step.loss is not None]
    grown = [type(s)(s.step, s.loss, True, (), False, 2.0**15 * 2.0 ** (7 * s.step)) for s in own]
    lost = [type(s)(s.step + 20, 1.0, False, (), True, INF) for s in own]
    return evidence(collapse().traces, [*grown, *lost], steps([0.0] * 20 + curve(1.0, 0.1, 20)))


def plain_sgd(sketch: Sketch) -> Evidence:
    """A scaled training whose reference is as slow: it divides by the same loss scale."""
    config = dataclasses.replace(configuration(), optimizer="SGD")
    return evidence([sketch.trace(0, "first", 2.0**15)], stalls(), config=config)


def forgotten_scale() -> Evidence:
    """The loss scale is read by the optimizer alone."""
    sketch = Sketch()
    sketch.gradient("block", sketch.loss(sketch.add("MatMul")))
    scale(sketch)
    return plain_sgd(sketch)


def clipped_by_norm(bound: float = 1.0, *, allows: bool = False) -> Evidence:
    """Gradients of norm 16384 at a scale of 2**15, clipped together to `bound`."""
    sketch = Sketch()
    loss = sketch.loss(sketch.add("MatMul"))
    by = scale(sketch)
    raw = sketch.add("MatMul", loss, by, phase="backward", max_abs=8192.0)
    options: Numbers = {"count": 1, "dtype": "float32", "layer": None, "phase": "backward"}
    norm = sketch.add("Sqrt", sketch.add("L2Loss", raw, **options), **options, max_abs=16384.0)
    inverse = sketch.add("RealDiv", norm, **options, max_abs=1 / 16384.0)
    inputs = (inverse, by) if allows else (inverse,)
    factor = sketch.add("Mul", *inputs, **options, max_abs=min(1.0, bound / 16384.0))
    clipped = sketch.add("Mul", raw, factor, phase="backward", max_abs=8192.0 * bound / 16384.0)
    sketch.gradients.append(GradientSite("block/kernel", "block", clipped))
    return plain_sgd(sketch)


def clipped_by_value() -> Evidence:
    sketch = Sketch()
    loss = sketch.loss(sketch.add("MatMul"))
    raw = sketch.add("MatMul", loss, scale(sketch), phase="backward", max_abs=8192.0)
    clipped = sketch.add("Minimum", raw, phase="backward", max_abs=1.0)
    sketch.gradients.append(GradientSite("block/kernel", "block", clipped))
    return plain_sgd(sketch)


def scale(sketch: Sketch) -> int:
    """The loss scale as the step reads it."""
    path = "loss_scale_optimizer/dynamic_scale"
    options: Numbers = {"role": "parameter", "dtype": "float32", "count": 1, "layer": None}
    own: Numbers = {"max_abs": 2.0**15, "computed_max_abs": 2.0**15}
    return sketch.add("ReadVariableOp", variable=path, **options, **own)


def late_policy() -> Evidence:
    sketch = Sketch()
    sketch.gradient("block", sketch.loss(sketch.add("MatMul", dtype="float32"), dtype="float32"))
    return evidence([sketch.trace()], config=configuration(compute="float32"))


def pure_half() -> Evidence:
    policy = configuration("float16", variables="float16", scaling=False)
    sketch = Sketch()
    sketch.gradient("block", sketch.loss(sketch.add("MatMul")))
    return evidence([sketch.trace()], stalls(), learns(), config=policy)


def missing_data() -> Evidence:
    sketch = Sketch()
    holes: Numbers = {"nan": 3, "shadow_nan": 3, "local_nonfinite": 3}
    batch = sketch.add("x", role="input", dtype="float32", layer=None, **holes)
    loss = sketch.loss(sketch.add("MatMul", sketch.add("Cast", batch, **holes), **holes), **holes)
    sketch.gradient("block", loss, **holes)
    spoilt = steps([NAN] * 40)
    return evidence([sketch.trace()], spoilt, spoilt)


def diverging() -> Evidence:
    sketch = Sketch()
    sketch.gradient("block", sketch.loss(sketch.add("MatMul")))
    grows = steps(curve(1.0, 1e6))
    return evidence([sketch.trace()], grows, grows)


def dead() -> Evidence:
    def trace(step: int) -> Trace:
        sketch = Sketch()
        loss = sketch.loss(sketch.add("Relu", zero=100, shadow_zero=100))
        sketch.gradient("block", loss, zero=100, shadow_zero=100, max_abs=0.0)
        return sketch.trace(step, "first" if step == 0 else "last")

    flat = steps([0.7] * 40)
    return evidence([trace(0), trace(39)], flat, flat)


def logarithm_of_zero() -> Evidence:
    sketch = Sketch()
    broken_too: Numbers = {"nan": 1, "shadow_nan": 1, "local_nonfinite": 1}
    log = sketch.add("Log", sketch.add("Relu", zero=1, shadow_zero=1), **broken_too)
    sketch.gradient("block", sketch.loss(log, **broken_too), **broken_too)
    lost = steps([NAN] * 40)
    return evidence([sketch.trace()], lost, lost)


PATIENTS: dict[str, tuple[Callable[[], Evidence], ...]] = {
    "FL101": (activation,),
    "FL102": (reduction,),
    "FL103": (exponential,),
    "FL104": (mask, edge_mask),
    "FL105": (large_input, large_target, offset_input),
    "FL106": (variance,),
    "FL107": (attention,),
    "FL108": (spectrum, spectrum_of_torch),
    "FL110": (backward,),
    "FL111": (short_vectors, empty_vectors),
    "FL112": (gradient_penalty, vanishing_penalty, gradient_of_a_penalty),
    "FL201": (no_scaling,),
    "FL202": (low_scale,),
    "FL203": (epsilon,),
    "FL204": (underflow, infinite_divisor),
    "FL205": (softmax,),
    "FL206": (moments_in_half,),
    "FL301": (position,),
    "FL302": (long_sum,),
    "FL303": (identifiers,),
    "FL304": (small_update,),
    "FL305": (one_minus_epsilon, squashed),
    "FL401": (collapse,),
    "FL402": (high_scale,),
    "FL403": (infinite_scale,),
    "FL404": (forgotten_scale, clipped_by_norm, clipped_by_value),
    "FL501": (late_policy,),
    "FL502": (pure_half,),
    "FL503": (wide_here,),
    "FL601": (missing_data,),
    "FL602": (diverging,),
    "FL603": (dead,),
    "FL604": (logarithm_of_zero,),
    "FL605": (crossed_rows,),
    "FL606": (shuffled_targets,),
    "FL701": (odd_vocabulary,),
}
"""For every rule, the patients whose first finding it must be."""
