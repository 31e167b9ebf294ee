"""A diagnosis with everything that a report shows, and a layer whose name would be a script."""

from __future__ import annotations

import dataclasses

from floatline import records
from floatline.precision.plan import Plan
from floatline.repairs import Remedy, Repair, Rewrite, SourceChange, Trial
from tests.report import samples

EVIL = "<script>alert(1)</script>"
EVIL_END = "</script><!--"

PATCH = f"""--- a/train.py
+++ b/train.py
@@ -4 +4,2 @@
-y = x * x
+x = cast(x)  # {EVIL}
+y = x * x
"""

LAYERS = ("embedding", "encoder/attention", EVIL, "head")


def histogram(centre: int, spread: int = 4, most: int = 4096) -> dict[int, int]:
    """A hill of exponents."""
    return {centre + k: most // 4 ** abs(k) + 1 for k in range(-spread, spread + 1)}


def statistics(centre: int, **counts: int) -> records.Statistics:
    exponents = histogram(centre)
    return records.Statistics(
        count=sum(exponents.values()),
        max_abs=2.0 ** (max(exponents) + 0.5),
        min_abs_nonzero=2.0 ** min(exponents),
        exponents=exponents,
        **counts,
    )


def _place(layer: str | None, operation: str, phase: records.Phase, line: int) -> records.Place:
    return records.Place(
        layer,
        operation,
        f"{layer}/{operation}/{phase}",
        phase,
        records.SourceLine("train.py", line),
        records.SourceLine("/usr/lib/keras/ops.py", 7),
        None if layer is None else "Dense",
    )


def trace() -> records.Trace:
    """Four layers forward and backward, a loss between, and an update; one origin."""
    sites: list[records.Site] = []

    def add(
        layer: str | None,
        operation: str,
        phase: records.Phase,
        measured: records.Statistics,
        dtype: str = "float16",
    ) -> int:
        index = len(sites)
        place = _place(layer, operation, phase, 2 + index % 4)
        reads = (index - 1,) if index else ()
        shape = (None, 32)
        sites.append(records.Site(index, place, "value", dtype, shape, reads, measured))
        return index

    for number, layer in enumerate(LAYERS):
        add(layer, "MatMul", "forward", statistics(-3 - number))
        add(layer, "Relu", "forward", statistics(-4 - number))
    loss = add(None, "Mean", "forward", statistics(-1), "float32")
    gradients = []
    for number, layer in enumerate(reversed(LAYERS)):
        lost = {"flushed": 4000, "local_flushed": 4000} if number == 3 else {}
        index = add(layer, "MatMul_grad", "backward", statistics(-8 - 6 * number, **lost))
        gradients.append(records.GradientSite(f"{layer}/kernel", layer, index))
    add(None, "AssignSub", "update", statistics(-10), "float32")
    return records.Trace(
        step=4,
        moment="symptom",
        sites=tuple(sites),
        gradients=tuple(gradients),
        losses=(loss,),
        loss_scale=32.0,
        not_traced=(records.NotTraced("PyFunc", 3, f"it runs {EVIL}"),),
        agrees=True,
    )


def repair() -> Repair:
    plan = Plan.of("mixed_float16", f"Because {EVIL_END}")
    losses = tuple(1.0 / (step + 1) for step in range(30))
    nothing = Trial((), plan, "not fixed", "The loss ends at 0.9.", 30, 9, losses=(0.9,) * 30)
    found = Trial(
        ("Raise the scale.",), plan, "fixed", "As float32.", 30, 0, 0.03, 0.03, 1.0, losses, losses
    )
    remedy = Remedy("loss-scale", f"Raise the scale. {EVIL}", "None.", plan, "FL202")
    change = SourceChange("train.py", 4, "y = x * x", f"x = cast(x)  # {EVIL}\ny = x * x", "Why.")
    missed = Rewrite((change,), "not fixed", f"It still overflows in {EVIL}.", 30, 4.0)
    cured = Rewrite((change, change), "fixed", "Nothing is wrong in 75 steps.", 75, 5.5)
    return Repair(
        "fixed",
        "Raise the scale.",
        plan,
        (remedy,),
        (nothing, found),
        minimal=True,
        lasting=True,
        changes=(change,),
        rewrites=(missed, cured),
        patch=PATCH,
    )


def diagnosis() -> records.Diagnosis:
    """The whole of it."""
    traced = trace()
    origin = next(site for site in traced.sites if site.statistics.local_flushed)
    lost = dataclasses.replace(
        samples.OVERFLOW,
        rule="FL202",
        cause="loss-scale-too-low",
        summary=f"98 % of the gradient of layer {EVIL} is flushed.",
        evidence={"step": 4, "flushed_share": 0.98, "layer": EVIL_END, "loss_scale": 32.0},
        place=origin.place,
        propagation=1,
    )
    over = dataclasses.replace(samples.OVERFLOW, place=traced.sites[2].place, phase="forward")
    layers = tuple(
        records.LayerRecord(layer, "Dense", "float16", "float32", records.SourceLine("train.py", 3))
        for layer in LAYERS
    )
    steps = tuple(
        records.StepRecord(i, 1.0 if i % 7 else float("nan"), True, (), i % 7 == 0, 2.0 ** (15 - i))
        for i in range(30)
    )
    plain = tuple(records.StepRecord(i, 1.0 / (i + 1)) for i in range(30))
    rounded = tuple(records.StepRecord(i, 1.1 / (i + 1)) for i in range(30))
    second = dataclasses.replace(traced, step=9, moment="last", loss_scale=None)
    return dataclasses.replace(
        samples.precision(),
        explanation=f"The loss scale is too low for {EVIL}.",
        findings=(lost, over, samples.ADVICE),
        evidence=records.Evidence(
            dataclasses.replace(samples.CONFIGURATION, layers=layers),
            records.History(steps, "budget", 3.0),
            (traced, second),
            records.Reference(plain, rounded, plain, rounded),
        ),
        notes=(f"A note of {EVIL}.",),
        repair=repair(),
        sources=(
            records.SourceText("train.py", {n: f"line_{n} = '{EVIL}'" for n in range(1, 12)}),
        ),
    )
