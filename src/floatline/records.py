"""The frozen records that travel from stage to stage; plain numbers and text, no tensors.

Order of travel: `Configuration` and `History` (capture), `Trace` (tracing), `Evidence` (all three
together), `Finding` (findings), `Diagnosis` (the whole answer, read by the reports).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from floatline.repairs import Repair
from floatline.traces import GradientSite as GradientSite
from floatline.traces import Moment as Moment
from floatline.traces import NotTraced as NotTraced
from floatline.traces import Phase as Phase
from floatline.traces import Place as Place
from floatline.traces import Role as Role
from floatline.traces import Site as Site
from floatline.traces import SourceLine as SourceLine
from floatline.traces import Statistics as Statistics
from floatline.traces import Summary as Summary
from floatline.traces import Trace as Trace
from floatline.traces import Widened as Widened

Severity = Literal["failure", "advice"]
RuleVerdict = Literal["found", "clear", "cannot tell"]
Verdict = Literal["healthy", "precision", "not-precision", "undecided"]
Number = int | float | str | bool | None


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
        raised: The error that ended the step, in one line: its loss is lost, and stands as NaN.
    """

    step: int
    loss: float | None
    finite_gradients: bool = True
    nonfinite_variables: tuple[str, ...] = ()
    skipped: bool = False
    loss_scale: float | None = None
    raised: str | None = None


StopReason = Literal["budget", "symptom", "end of training", "interrupted", "error"]


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
        repeated: `steps` once more, where that gave something else: the training is not
            deterministic, and the distance is noise, too. Empty for a deterministic one.
        dealt_out: `steps` again, with targets that belong to other inputs, dealt out anew each
            time: what is learned without the pairs. Empty when nobody asked, or there are none.
        short: Why one of these ended early or is missing: memory had no room for it. None where it
            had.
    """

    steps: tuple[StepRecord, ...]
    perturbed: tuple[StepRecord, ...] = ()
    rebuilt: tuple[StepRecord, ...] = ()
    repeated: tuple[StepRecord, ...] = ()
    dealt_out: tuple[tuple[StepRecord, ...], ...] = ()
    short: str | None = None


@dataclass(frozen=True, slots=True)
class LayerRecord:
    """Precision of one layer of the model.

    Attributes:
        path: Its path below the model.
        layer_class: Name of its class.
        compute_dtype: What it computes in.
        variable_dtype: What its weights are kept in.
        source: The user's line that made it.
        epsilon: The number in its attribute `epsilon` or `eps`, or None.
    """

    path: str
    layer_class: str
    compute_dtype: str
    variable_dtype: str
    source: SourceLine | None = None
    epsilon: float | None = None


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
        learning_rate: The optimizer's; None when it follows a schedule or is not known.
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
    learning_rate: float | None = None


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
class SourceText:
    """Lines of one of the user's files, as they were when the diagnosis was made.

    Attributes:
        file: Its path, as in `SourceLine`.
        lines: Text of each known line, by its number.
    """

    file: str
    lines: Mapping[int, str]


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
        sources: The user's code that the places above point to.
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
    sources: tuple[SourceText, ...] = ()

    def save(self, file: str | Path) -> None:
        """Writes the diagnosis to a file, whole or not at all.

        Args:
            file: Its suffix tells the form: `.html` for people, `.json` for programs and for
                `floatline.load`.

        Raises:
            InputError: The suffix is another one, or the file cannot be written.
        """
        from floatline.report.files import save

        save(self, file)

    def _repr_html_(self) -> str:
        """The verdict and its findings, for a notebook."""
        from floatline.report.html.cards import diagnosis_card

        return diagnosis_card(self)
