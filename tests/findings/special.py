"""Patients of special operations: spectra, lengths, gradients of gradients, optimizers in half."""

from __future__ import annotations

from floatline.records import Evidence
from tests.findings.evidence import (
    NAN,
    Numbers,
    Sketch,
    broken,
    curve,
    evidence,
    lagging,
    learns,
    steps,
)


def odd_vocabulary(words: int = 50257, width: int = 768, rows: int = 512) -> Evidence:
    """The last layer of a language model; what else it computes is small."""
    sketch = Sketch()
    weight = sketch.add("Read", role="parameter", dtype="float32", shape=(width, words))
    hidden = sketch.add("Relu", shape=(rows, width), count=rows * width)
    sketch.add(
        "MatMul",
        hidden,
        sketch.add("Cast", weight, shape=(width, words)),
        shape=(rows, words),
        count=rows * words,
    )
    return evidence([sketch.trace(0, "first", 2.0**15)], learns(), learns())


def spectrum() -> Evidence:
    """The parts of complex numbers, which are no sites, are squared in half precision."""
    sketch = Sketch()
    window = sketch.add("Mul", dtype="float32", shape=(32, 17, 512))
    part = sketch.add("Real", window, dtype="float32", shape=(32, 17, 257), max_abs=384.0)
    half = sketch.add("Cast", part, shape=(32, 17, 257), max_abs=384.0)
    return broken(sketch, sketch.overflow("Mul", half, half, shape=(32, 17, 257), max_abs=1.5e5))


def spectrum_of_torch() -> Evidence:
    """The transform itself, whose parts are measured there, and its magnitude."""
    sketch = Sketch()
    parts = sketch.add("_fft_r2c", dtype="float32", shape=(32, 257, 17, 2))
    size = sketch.add("abs", parts, dtype="float32", shape=(32, 257, 17), max_abs=384.0)
    half = sketch.add("_to_copy", size, shape=(32, 257, 17), max_abs=384.0)
    return broken(sketch, sketch.overflow("square", half, shape=(32, 257, 17), max_abs=1.5e5))


def skipping(sketch: Sketch, product: int, scale: float = 2.0**-9) -> Evidence:
    """A gradient overflows at whatever scale, in every step."""
    spoilt = sketch.passes("MatMul", product, phase="backward")
    sketch.gradient("block", spoilt, nan=50, poisoned=50)
    own = steps(curve(1.0, 1.0), range(40), 2.0**15)
    return evidence([sketch.trace(0, "first", scale)], own, learns())


def short_vectors() -> Evidence:
    """As x * rsqrt(sum(x * x)): the gradient of the inverse root is its cube."""
    sketch = Sketch()
    vector = sketch.add("Mul", max_abs=0.03)
    total = sketch.add("Sum", sketch.add("Mul", vector, vector), max_abs=3e-3)
    root = sketch.add("Rsqrt", sketch.add("AddV2", total, sketch.literal(1e-7)), max_abs=3e3)
    loss = sketch.loss(sketch.add("Mul", vector, root))
    seed = sketch.add("Sum", loss, phase="backward")
    return skipping(sketch, sketch.overflow("RsqrtGrad", root, seed, phase="backward"))


def empty_vectors() -> Evidence:
    """As x / (sqrt(sum(x * x) + 1e-12) + 1e-3): the root is 0 where the epsilon is."""
    sketch = Sketch()
    vector = sketch.add("dot_general")
    total = sketch.add("reduce_sum", sketch.add("square", vector), dtype="float32")
    tiny = sketch.literal(1e-12, zero=1, flushed=1, computed_max_abs=0.0)
    guarded = sketch.add("add", sketch.add("convert_element_type", total), tiny, zero=2, flushed=2)
    root = sketch.add("sqrt", guarded, zero=2, flushed=2)
    sketch.loss(sketch.add("div", vector, sketch.add("add", root, sketch.literal(1e-3))))
    return skipping(sketch, sketch.breaks("div", root, phase="backward"))


def penalized(*, vanishes: bool = False) -> Sketch:
    """A loss that is made of a gradient, as far as the sum of its squares."""
    sketch = Sketch()
    weight = sketch.add("Cast", sketch.add("Read", role="parameter", dtype="float32"))
    score = sketch.add("Sum", sketch.add("MatMul", sketch.add("Cast"), weight))
    sketch.losses.append(score)
    inner = sketch.add("MatMul", weight, phase="backward", max_abs=1e-4 if vanishes else 600.0)
    if vanishes:
        gone: Numbers = {"flushed": 80, "zero": 80, "local_flushed": 80, "error": 0.9}
        sketch.add("Square", inner, layer=None, **gone)
    else:
        sketch.overflow("Square", inner, layer=None, max_abs=3.6e5)
    return sketch


def gradient_penalty() -> Evidence:
    sketch = penalized()
    return broken(sketch, sketch.passes("Sum", len(sketch.sites) - 1, layer=None))


def vanishing_penalty() -> Evidence:
    sketch = penalized(vanishes=True)
    return lagging(sketch, sketch.add("Sum", len(sketch.sites) - 1, layer=None, error=0.9))


def gradient_of_a_penalty() -> Evidence:
    sketch = Sketch()
    weight = sketch.add("Cast", sketch.add("Read", role="parameter", dtype="float32"))
    inner = sketch.add("MatMul", weight, phase="backward")
    loss = sketch.loss(sketch.add("Sum", sketch.add("Square", inner)))
    seed = sketch.add("Mul", loss, phase="backward")
    return skipping(sketch, sketch.overflow("Mul", inner, seed, phase="backward"))


def updated(*, gradient: Numbers | None = None) -> Sketch:
    """Adam of PyTorch on half-precision weights: the second moment and its epsilon are both 0."""
    sketch = Sketch()
    loss = sketch.loss(sketch.add("addmm"))
    handed = sketch.gradient("block", loss, **(gradient or {}))
    tiny = sketch.literal(1e-8, zero=1, flushed=1, computed_max_abs=0.0)
    root = sketch.add("sqrt", handed, phase="update", flushed=9, zero=9)
    guarded = sketch.add("add_", root, tiny, phase="update", flushed=9, zero=9)
    sketch.breaks("addcdiv_", handed, guarded, phase="update", variable="block.kernel")
    return sketch


def moments_in_half() -> Evidence:
    lost = steps([1.0, *[NAN] * 39], bad=range(1, 40))
    return evidence([updated().trace()], lost, learns())
