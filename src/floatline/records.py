"""The frozen records that travel from stage to stage; plain numbers and text, no tensors.

Order of travel: `Configuration` and `History` (capture), `Trace` (tracing), `Evidence` (all three
together), `Finding` (findings), `Diagnosis` (the whole answer, read by the reports).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from floatline.repairs import Repair

Phase = Literal["configuration", "forward", "backward", "update"]
Role = Literal["input", "constant", "parameter", "value"]
Moment = Literal["first", "symptom", "last symptom", "last"]
Severity = Literal["failure", "advice"]
RuleVerdict = Literal["found", "clear", "cannot tell"]
Verdict = Literal["healthy", "precision", "not-precision", "undecided"]
Number = int | float | str | bool | None


@dataclass(frozen=True, slots=True)
class SourceLine:
    """A line of a source file; `file` is the path as Python knows it, `line` counts from 1."""

    file: str
    line: int


@dataclass(frozen=True, slots=True)
class Place:
    """Where an operation stands: in the model, in the step and in the source text.

    Attributes:
        layer: Path of the layer below the model, `"encoder/attention"`; the model's own name for
            operations in the model's `call`; None outside every layer (loss, optimizer).
        operation: The framework's name of the operation type, `"MatMul"`.
        name: The framework's unique name of this one operation.
        phase: `"forward"`, `"backward"` or `"update"`.
        source: The user's line: where a raw operation is written, else where its layer was made;
            None when no line of the user's is known.
        library: The library's line, when it differs from `source`.
        layer_class: Class name of the innermost layer, `"Dense"`, or None.
    """

    layer: str | None
    operation: str
    name: str
    phase: Phase
    source: SourceLine | None = None
    library: SourceLine | None = None
    layer_class: str | None = None


@dataclass(frozen=True, slots=True)
class Statistics:
    """What one operation's output was in its own precision and in the float32 shadow.

    Counts are elements, summed over loop iterations. "Computed" is the value of the real step,
    "shadow" the float32 value that the step would have had, "local" the float32 result of this
    operation alone on its computed inputs.

    Attributes:
        count: Elements.
        zero: Computed values that are 0.
        subnormal: Computed values below the format's smallest normal number, without zeros.
        inf: Computed values that are +-inf.
        nan: Computed values that are NaN.
        shadow_zero: Shadow values that are 0.
        shadow_inf: Shadow values that are +-inf.
        shadow_nan: Shadow values that are NaN.
        saturated: Shadow finite, computed +-inf: overflow.
        flushed: Shadow nonzero and finite, computed 0: underflow.
        poisoned: Shadow finite, computed NaN.
        local_saturated: Local result finite, computed +-inf: this operation overflowed.
        local_flushed: Local result nonzero and finite, computed 0: this operation underflowed.
        local_nonfinite: Local result non-finite too: float32 would not help this operation.
        mismatched: For integer and boolean outputs, elements where computed and shadow differ.
        max_abs: Largest finite shadow magnitude; 0.0 when there is none.
        min_abs_nonzero: Smallest nonzero shadow magnitude; 0.0 when there is none.
        computed_max_abs: Largest finite computed magnitude.
        local_error: Sum |computed - local| / sum |local| over finite elements: the relative
            error that this operation added itself.
        error: Sum |computed - shadow| / sum |shadow|: relative error since the step began.
        exponents: Shadow elements per power of two: `{e: n}` counts 2**e <= |value| < 2**(e+1).
    """

    count: int
    zero: int = 0
    subnormal: int = 0
    inf: int = 0
    nan: int = 0
    shadow_zero: int = 0
    shadow_inf: int = 0
    shadow_nan: int = 0
    saturated: int = 0
    flushed: int = 0
    poisoned: int = 0
    local_saturated: int = 0
    local_flushed: int = 0
    local_nonfinite: int = 0
    mismatched: int = 0
    max_abs: float = 0.0
    min_abs_nonzero: float = 0.0
    computed_max_abs: float = 0.0
    local_error: float = 0.0
    error: float = 0.0
    exponents: Mapping[int, int] = field(default_factory=dict)

    @property
    def nonfinite(self) -> int:
        """Computed values that are +-inf or NaN."""
        return self.inf + self.nan

    @property
    def shadow_nonfinite(self) -> int:
        """Shadow values that are +-inf or NaN."""
        return self.shadow_inf + self.shadow_nan

    @property
    def shadow_nonzero(self) -> int:
        """Finite shadow values other than 0: what could be flushed."""
        return self.count - self.shadow_zero - self.shadow_nonfinite

    @property
    def flushed_share(self) -> float:
        """Share of the shadow's nonzero values that were computed as 0."""
        return self.flushed / self.shadow_nonzero if self.shadow_nonzero else 0.0


@dataclass(frozen=True, slots=True)
class Site:
    """One output of one operation of the step, with its statistics.

    Attributes:
        index: Position in `Trace.sites`, which is execution order.
        place: Where it stands.
        role: `"input"` for a batch tensor, `"parameter"` for a variable as it is read,
            `"constant"` for a literal in the code, `"value"` for everything computed.
        dtype: Computed dtype by name, `"float16"`.
        shape: Static shape; None for an unknown dimension.
        inputs: Indices of the sites whose values this operation read (through operations that
            only move values).
        statistics: The measurements.
        constant: For a scalar literal, its value before it was rounded to `dtype`.
        variable: Path of the variable that is read or updated here, or None.
    """

    index: int
    place: Place
    role: Role
    dtype: str
    shape: tuple[int | None, ...]
    inputs: tuple[int, ...]
    statistics: Statistics
    constant: float | None = None
    variable: str | None = None


@dataclass(frozen=True, slots=True)
class GradientSite:
    """The gradient handed to the optimizer for one variable: `site` indexes `Trace.sites`."""

    variable: str
    layer: str | None
    site: int


@dataclass(frozen=True, slots=True)
class NotTraced:
    """Operations that ran but could not be shadowed, with the reason in words."""

    operation: str
    count: int
    reason: str


@dataclass(frozen=True, slots=True)
class Trace:
    """One training step seen from inside.

    Attributes:
        step: Index of the traced step, from 0.
        moment: Why this step was chosen.
        sites: Every measured operation output, in execution order.
        gradients: One entry per variable and optimizer call, in the optimizer's order.
        losses: Indices of the sites that were differentiated (after loss scaling).
        loss_scale: The loss scale in force, or None when the step scales nothing.
        moved: Operations that only move values and therefore carry no statistics of their own.
        not_traced: Operations that could not be shadowed.
        agrees: Whether the untraced, compiled step showed the same symptoms (finite loss, finite
            gradients) from the same state and batch; None when it was not compared.
        disagreement: What differed, in words, when `agrees` is False.
        notes: What a reader must know of how the step is computed on this device.
    """

    step: int
    moment: Moment
    sites: tuple[Site, ...]
    gradients: tuple[GradientSite, ...] = ()
    losses: tuple[int, ...] = ()
    loss_scale: float | None = None
    moved: int = 0
    not_traced: tuple[NotTraced, ...] = ()
    agrees: bool | None = None
    disagreement: str | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StepRecord:
    """What the light watch saw of one training step.

    Attributes:
        step: Index from 0.
        loss: The unscaled loss, or None when the step does not differentiate a scalar.
        finite_gradients: Whether every gradient handed to the optimizer was finite.
        nonfinite_variables: Paths of the variables whose gradient was not.
        skipped: Whether a loss-scale optimizer skipped the update.
        loss_scale: The scale used in this step, or None.
    """

    step: int
    loss: float | None
    finite_gradients: bool = True
    nonfinite_variables: tuple[str, ...] = ()
    skipped: bool = False
    loss_scale: float | None = None


StopReason = Literal["budget", "symptom", "end of training", "interrupted"]


@dataclass(frozen=True, slots=True)
class History:
    """A training under watch: its steps, and why it was stopped."""

    steps: tuple[StepRecord, ...]
    stopped: StopReason = "end of training"
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Reference:
    """The same steps from the same state on the same batches in float32.

    Attributes:
        steps: The float32 training.
        perturbed: Float32 again, from initial weights rounded through the low format: the
            spread between the two is float32's own noise. Empty when it was not run.
        rebuilt: The step built anew with every layer in float32, as if the script had asked for
            it: other operations, literals and tables that were never rounded, but also other
            random draws. Empty when it was not run or cannot be built.
    """

    steps: tuple[StepRecord, ...]
    perturbed: tuple[StepRecord, ...] = ()
    rebuilt: tuple[StepRecord, ...] = ()


@dataclass(frozen=True, slots=True)
class LayerRecord:
    """Precision of one layer of the model."""

    path: str
    layer_class: str
    compute_dtype: str
    variable_dtype: str
    source: SourceLine | None = None


@dataclass(frozen=True, slots=True)
class Configuration:
    """What is known of the training without running it.

    Attributes:
        global_policy: Name of Keras' global dtype policy when training began.
        layers: Every layer that computes on floats, in model order.
        optimizer: Class name of the innermost optimizer, or None.
        loss_scaling: Whether a loss-scale optimizer drives the step.
        initial_scale: Its initial scale, or None.
        entry: What was captured: `"fit"`, `"train_on_batch"` or `"step function"`.
        source: The user's line that started training.
        epochs: Epochs asked of `fit`, or None.
        compiled: `"graph"`, `"xla"` or `"eager"`.
    """

    global_policy: str
    layers: tuple[LayerRecord, ...] = ()
    optimizer: str | None = None
    loss_scaling: bool = False
    initial_scale: float | None = None
    entry: str = "fit"
    source: SourceLine | None = None
    epochs: int | None = None
    compiled: str = "graph"


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything the rules read.

    Attributes:
        configuration: The training as it is set up.
        history: The watched training in its own precision.
        traces: The traced steps, first step first.
        reference: The float32 training, or None when nothing called for it.
    """

    configuration: Configuration
    history: History
    traces: tuple[Trace, ...] = ()
    reference: Reference | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """One root cause that was found, or one piece of advice.

    Attributes:
        rule: Rule id, `"FL201"`.
        cause: Name of the root cause, `"missing-loss-scaling"`.
        phase: The phase in which it arises.
        summary: One sentence with the place and the decisive number.
        evidence: Numbers by name, units in the name.
        remedies: Suggested changes, in words, best first.
        place: Where it arises; None for faults of configuration.
        severity: `"failure"`, or `"advice"` for what is worth knowing but harms nothing.
        verdict: Always `"found"` in a diagnosis's findings.
        propagation: How many later sites only pass this fault on.
    """

    rule: str
    cause: str
    phase: Phase
    summary: str
    evidence: Mapping[str, Number]
    remedies: tuple[str, ...]
    place: Place | None = None
    severity: Severity = "failure"
    verdict: RuleVerdict = "found"
    propagation: int = 0


@dataclass(frozen=True, slots=True)
class Check:
    """What one rule said: found, clear, or cannot tell and which measurement is missing."""

    rule: str
    verdict: RuleVerdict
    missing: str | None = None


@dataclass(frozen=True, slots=True)
class Environment:
    """Versions and device under which the numbers were measured."""

    floatline: str
    python: str
    keras: str
    backend: str
    framework: str
    device: str


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """The whole answer: a verdict, why, and everything it rests on.

    Attributes:
        verdict: `"healthy"`, `"precision"` (float32 trains and this precision does not, or is at
            real risk), `"not-precision"` (float32 fails in the same way) or `"undecided"`.
        explanation: The verdict in one or two sentences.
        findings: Most likely root cause first, advice last.
        checks: What every rule said.
        evidence: What the rules read.
        environment: Versions and device.
        notes: What a reader must know to judge the result (callbacks not run, data not replayed).
        command: The command that reproduces the diagnosis, or None.
        script: Path of the diagnosed script, or None.
        repair: What trials of remedies came to; None when none were asked for.
    """

    verdict: Verdict
    explanation: str
    findings: tuple[Finding, ...]
    checks: tuple[Check, ...]
    evidence: Evidence
    environment: Environment
    notes: tuple[str, ...] = ()
    command: str | None = None
    script: str | None = None
    repair: Repair | None = None
