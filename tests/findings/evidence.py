"""Short ways to write down traces, histories and configurations as plain numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from floatline.findings.case import study
from floatline.findings.judge import Judgement, judge
from floatline.findings.rule import Result
from floatline.findings.table import rule_named
from floatline.records import (
    Configuration,
    Evidence,
    GradientSite,
    History,
    LayerRecord,
    Moment,
    Phase,
    Place,
    Reference,
    Role,
    Site,
    SourceLine,
    Statistics,
    StepRecord,
    Trace,
)

Build = Callable[[], Evidence]
Numbers = dict[str, Any]

COUNT = 100
INF = float("inf")
NAN = float("nan")


class Sketch:
    """A trace in the making: every `add` appends a site and returns its index."""

    def __init__(self) -> None:
        self.sites: list[Site] = []
        self.losses: list[int] = []
        self.gradients: list[GradientSite] = []

    def add(
        self,
        operation: str,
        *inputs: int,
        role: Role = "value",
        phase: Phase = "forward",
        layer: str | None = "block",
        dtype: str = "float16",
        constant: float | None = None,
        variable: str | None = None,
        layer_class: str | None = None,
        count: int = COUNT,
        shape: tuple[int | None, ...] | None = None,
        **numbers: Any,
    ) -> int:
        """Appends a site; `numbers` are fields of `Statistics`, its maximum is 1 by default."""
        index = len(self.sites)
        source = SourceLine("/home/me/train.py", 10 + index)
        name = f"{layer}/{operation}_{index}"
        place = Place(layer, operation, name, phase, source, None, layer_class)
        statistics = Statistics(count, **{"max_abs": 1.0, "computed_max_abs": 1.0, **numbers})
        size = (count,) if shape is None else shape
        site = Site(index, place, role, dtype, size, inputs, statistics, constant, variable)
        self.sites.append(site)
        return index

    def literal(self, value: float, **numbers: Any) -> int:
        """A literal that the format holds, unless `numbers` say otherwise."""
        own: Numbers = {"max_abs": abs(value), "computed_max_abs": abs(value), **numbers}
        return self.add("Const", role="constant", constant=value, count=1, **own)

    def overflow(self, operation: str, *inputs: int, n: int = 2, **numbers: Any) -> int:
        """An operation that overflows by itself in `n` elements."""
        own: Numbers = {"inf": n, "saturated": n, "local_saturated": n, "max_abs": 98304.0}
        return self.add(operation, *inputs, **{**own, **numbers})

    def passes(self, operation: str, *inputs: int, n: int = 2, **numbers: Any) -> int:
        """An operation that passes non-finite values on as NaN."""
        return self.add(
            operation, *inputs, **{"nan": n, "poisoned": n, "local_nonfinite": n, **numbers}
        )

    def breaks(self, operation: str, *inputs: int, n: int = 2, **numbers: Any) -> int:
        """An operation that is non-finite at finite inputs, in this precision only."""
        return self.passes(operation, *inputs, n=n, **numbers)

    def loss(self, *inputs: int, **numbers: Any) -> int:
        """The scalar that is differentiated, in float32."""
        options: Numbers = {"layer": None, "dtype": "float32", "count": 1, **numbers}
        self.losses.append(self.add("Mean", *inputs, **options))
        return self.losses[-1]

    def gradient(self, layer: str, *inputs: int, **numbers: Any) -> int:
        """The gradient of a layer's kernel, as it is handed to the optimizer."""
        options: Numbers = {"phase": "backward", "layer": layer, "dtype": "float32", **numbers}
        index = self.add("Cast", *inputs, **options)
        self.gradients.append(GradientSite(f"{layer}/kernel", layer, index))
        return index

    def trace(
        self,
        step: int = 0,
        moment: Moment = "first",
        scale: float | None = None,
        *,
        agrees: bool | None = True,
    ) -> Trace:
        """The finished trace."""
        sites, gradients = tuple(self.sites), tuple(self.gradients)
        losses = tuple(self.losses)
        return Trace(step, moment, sites, gradients, losses, scale, agrees=agrees)


def curve(start: float, end: float, steps: int = 40) -> list[float]:
    """Losses that fall (or rise) geometrically."""
    return [start * (end / start) ** (i / (steps - 1)) for i in range(steps)]


def steps(
    losses: Iterable[float | None],
    skipped: Iterable[int] = (),
    scale: float | None = None,
    bad: Iterable[int] = (),
) -> tuple[StepRecord, ...]:
    """Step records; the scale halves at every skipped step."""
    skips, spoilt, records = set(skipped), set(bad), []
    for i, loss in enumerate(losses):
        finite = i not in skips and i not in spoilt
        records.append(StepRecord(i, loss, finite, (), i in skips, scale))
        if scale is not None and i in skips:
            scale /= 2
    return tuple(records)


def configuration(
    policy: str = "mixed_float16",
    compute: str = "float16",
    variables: str = "float32",
    *,
    scaling: bool = True,
) -> Configuration:
    """A model of two layers."""
    layers = tuple(LayerRecord(name, "Dense", compute, variables) for name in ("block", "head"))
    return Configuration(policy, layers, "Adam", scaling, 2.0**15 if scaling else None)


def evidence(
    traces: Sequence[Trace] = (),
    history: Sequence[StepRecord] | None = None,
    reference: Sequence[StepRecord] | None = None,
    perturbed: Sequence[StepRecord] = (),
    config: Configuration | None = None,
    rebuilt: Sequence[StepRecord] = (),
) -> Evidence:
    """Evidence; by default the history of a training that learns."""
    own = tuple(steps(curve(1.0, 0.1)) if history is None else history)
    other = None
    if reference is not None:
        other = Reference(tuple(reference), tuple(perturbed), tuple(rebuilt))
    return Evidence(config or configuration(), History(own), tuple(traces), other)


def learns() -> tuple[StepRecord, ...]:
    """A float32 training that learns."""
    return steps(curve(1.0, 0.1))


def stalls() -> tuple[StepRecord, ...]:
    """A training that does not learn."""
    return steps(curve(1.0, 0.95))


def collapses(loss: float = NAN, count: int = 40) -> tuple[StepRecord, ...]:
    """A scaled training whose steps are all skipped."""
    return steps([loss] * count, range(count), 2.0**15)


def check(rule: str, case: Evidence) -> Result:
    """What one rule says."""
    return rule_named(rule).check(study(case))


def rules_found(case: Evidence) -> list[str]:
    """Ids of the findings, in their order."""
    return [finding.rule for finding in conclude(case).findings]


def conclude(case: Evidence) -> Judgement:
    """The judgement."""
    return judge(case)


def broken(sketch: Sketch, origin: int, scale: float | None = 2.0**15) -> Evidence:
    """The origin's values spoil the loss and a gradient, in every step."""
    spoilt = sketch.passes("MatMul", origin, layer="head")
    loss = sketch.loss(spoilt, nan=1, poisoned=1, local_nonfinite=1)
    back = sketch.passes("MatMul", loss, spoilt, phase="backward")
    sketch.gradient("block", back, nan=2, poisoned=2)
    return evidence([sketch.trace(0, "first", scale)], collapses(), learns())


def lagging(sketch: Sketch, origin: int) -> Evidence:
    """The origin leaves everything finite, the gradients wrong and the loss too high."""
    wrong = sketch.add("MatMul", origin, layer="head", error=0.8)
    loss = sketch.loss(wrong, error=0.3)
    sketch.gradient("block", loss, error=0.9)
    return evidence([sketch.trace(0, "first", 2.0**15)], stalls(), learns())
