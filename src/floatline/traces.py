"""The frozen records of one traced step: places, measurements, and the graph of its values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Phase = Literal["configuration", "forward", "backward", "update"]
Role = Literal["input", "constant", "parameter", "value"]
Moment = Literal["first", "symptom", "last symptom", "last"]


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
        dtype_elsewhere: The 16-bit dtype in which a GPU holds this value, where this device keeps
            it in float32 inside of a `Widened` function; None where there is no difference.
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
    dtype_elsewhere: str | None = None


@dataclass(frozen=True, slots=True)
class Widened:
    """A function that this device runs in float32, and a GPU in 16 bits.

    Attributes:
        function: Its name, `"matmul"`.
        dtype: The 16-bit dtype of what it is given and gives.
        count: How often it runs in a step, forward and backward.
    """

    function: str
    dtype: str
    count: int


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
class Summary:
    """Sites that have layer, phase, role, dtype and source line in common, measured together.

    Attributes:
        layer: As in `Place`.
        layer_class: As in `Place`.
        phase: As in `Place`.
        role: As in `Site`.
        dtype: As in `Site`.
        source: As in `Place`.
        sites: How many sites.
        statistics: Of all their elements; of the two errors the largest.
    """

    layer: str | None
    layer_class: str | None
    phase: Phase
    role: Role
    dtype: str
    source: SourceLine | None
    sites: int
    statistics: Statistics


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
        widened: What this device computes in float32 although the step asks for 16 bits.
        summaries: All sites in groups, for a trace that was made smaller to be kept in a file;
            empty for a trace that has all its sites.
        left_out: How many sites such a trace no longer has.
        raised: The error that ended the traced step, in one line; what came before is traced.
        rows: Which rows of the batch were traced, `"rows 0 to 31 of 64"`, where the whole did not
            fit into memory; None where all were.
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
    widened: tuple[Widened, ...] = ()
    summaries: tuple[Summary, ...] = ()
    left_out: int = 0
    raised: str | None = None
    rows: str | None = None
