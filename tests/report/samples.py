"""Diagnoses made by hand: one for each verdict, with plain numbers and no framework."""

from dataclasses import replace

from floatline.records import (
    Check,
    Configuration,
    Diagnosis,
    Environment,
    Evidence,
    Finding,
    GradientSite,
    History,
    LayerRecord,
    NotTraced,
    Place,
    Reference,
    Site,
    SourceLine,
    Statistics,
    StepRecord,
    Trace,
    Widened,
)

ENVIRONMENT = Environment(
    floatline="0.1.0",
    python="3.11.7",
    keras="3.15.1",
    backend="tensorflow",
    framework="TensorFlow 2.21.0",
    device="CPU",
)

DIVISION = Place(
    layer="row_share",
    operation="Mul",
    name="gradient_tape/functional_1/row_share_1/truediv/mul",
    phase="backward",
    source=SourceLine("train.py", 2),
    library=SourceLine("/usr/lib/tensorflow/math_grad.py", 1474),
    layer_class="RowShare",
)

OVERFLOW = Finding(
    rule="FL102",
    cause="backward-overflow",
    phase="backward",
    summary="The backward pass of the division overflows: 2 of 1024 elements reach 9.8e4.",
    evidence={
        "saturated": 2,
        "elements": 1024,
        "shadow_max_abs": 98123.4,
        "limit": 65504.0,
        "saturated_share": 2 / 1024,
        "format": "float16",
        "smallest": float("nan"),
    },
    remedies=(
        "Compute this layer in float32: pass dtype='float32' when it is made, and then cast back.",
        "Lower the initial loss scale.",
    ),
    place=DIVISION,
    propagation=37,
)

ADVICE = Finding(
    rule="FL501",
    cause="policy-after-build",
    phase="configuration",
    summary="The policy was set after the layers were made; the model trains in float32.",
    evidence={},
    remedies=("Set the policy before the first layer is made.",),
    severity="advice",
)

CONFIGURATION = Configuration(
    global_policy="mixed_float16",
    layers=(LayerRecord("row_share", "RowShare", "float16", "float32", SourceLine("train.py", 1)),),
    optimizer="Adam",
    loss_scaling=True,
    initial_scale=32768.0,
    entry="fit",
    source=SourceLine("train.py", 3),
    epochs=10,
)


def value(index: int, statistics: Statistics, place: Place = DIVISION) -> Site:
    """A computed float16 site."""
    return Site(index, place, "value", "float16", (None, 32), (), statistics)


def traced() -> Trace:
    """A step with a quiet site, an overflow that begins and one that passes, and two gradients."""
    sites = (
        value(0, Statistics(count=64, max_abs=1.0, min_abs_nonzero=0.1, exponents={-1: 64})),
        value(
            1,
            Statistics(
                count=1024,
                inf=2,
                saturated=2,
                local_saturated=2,
                max_abs=98123.4,
                exponents={15: 1000, 16: 24},
            ),
        ),
        value(2, Statistics(count=1024, inf=2, saturated=2, max_abs=98123.4)),
        value(3, Statistics(count=100, zero=60, flushed=40, shadow_zero=20, max_abs=1e-5)),
        value(4, Statistics(count=10, max_abs=1e-3, error=float("inf"))),
    )
    return Trace(
        step=4,
        moment="symptom",
        sites=sites,
        gradients=(
            GradientSite("dense/kernel", "encoder/dense", 3),
            GradientSite("row_share/w", "row_share", 4),
        ),
        losses=(0,),
        loss_scale=32768.0,
        moved=12,
        not_traced=(NotTraced("PyFunc", 3, "it runs Python code of the user's"),),
        agrees=True,
    )


def history() -> History:
    """Five steps; the loss scale halves once and the last loss is NaN."""
    scales = (32768.0, 32768.0, 16384.0, 16384.0, 16384.0)
    losses = (0.6931, 0.69, 0.68, 0.67, float("nan"))
    steps = tuple(
        StepRecord(index, loss, finite_gradients=index != 1, skipped=index == 1, loss_scale=scale)
        for index, (loss, scale) in enumerate(zip(losses, scales, strict=True))
    )
    return History(steps, stopped="symptom", seconds=3.21)


def reference() -> Reference:
    """Float32 on the same batches."""
    return Reference(tuple(StepRecord(index, 0.69 - 0.01 * index) for index in range(5)))


def precision() -> Diagnosis:
    """An overflow in the backward pass of a division, and one piece of advice."""
    return Diagnosis(
        verdict="precision",
        explanation="The gradient of layer row_share overflows float16 in step 1. "
        "The same steps in float32 stay finite.",
        findings=(OVERFLOW, ADVICE),
        checks=(
            Check("FL101", "clear"),
            Check("FL102", "found"),
            Check("FL301", "cannot tell", missing="a float32 training of the same steps"),
        ),
        evidence=Evidence(CONFIGURATION, history(), (traced(),), reference()),
        environment=ENVIRONMENT,
        notes=("The callback ModelCheckpoint [keras] did not run.",),
        command="floatline diagnose train.py",
        script="train.py",
    )


def healthy() -> Diagnosis:
    """Nothing found; the finite steps and no reference."""
    steps = tuple(StepRecord(index, 0.7 - 0.1 * index) for index in range(3))
    return Diagnosis(
        verdict="healthy",
        explanation="Every value of the traced steps lies well inside float16.",
        findings=(),
        checks=(Check("FL101", "clear"), Check("FL102", "clear")),
        evidence=Evidence(CONFIGURATION, History(steps, seconds=1.0)),
        environment=ENVIRONMENT,
    )


def other(verdict: str) -> Diagnosis:
    """A bare diagnosis with one of the remaining verdicts, and nothing measured."""
    assert verdict in ("not-precision", "undecided")
    return Diagnosis(
        verdict="not-precision" if verdict == "not-precision" else "undecided",
        explanation="The loss is NaN from step 0 on.",
        findings=(),
        checks=(),
        evidence=Evidence(Configuration("float32"), History(())),
        environment=ENVIRONMENT,
    )


def widened(diagnosis: Diagnosis) -> Diagnosis:
    """The same, where a part of the first traced step ran in float32 because of the device."""
    trace, *others = diagnosis.evidence.traces
    site = replace(trace.sites[0], dtype_elsewhere="float16")
    told = replace(
        trace,
        sites=(site, *trace.sites[1:]),
        widened=(Widened("matmul", "float16", 6),),
    )
    evidence = replace(diagnosis.evidence, traces=(told, *others))
    return replace(diagnosis, evidence=evidence)
