"""A training step's jaxpr, compiled anew: with its outcome, with its shadow, or in float32."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from floatline.backends.jax.builder import StepJaxpr
from floatline.backends.jax.harvest import Gradient, Harvest
from floatline.backends.jax.interpreter import Frame, Setting
from floatline.backends.jax.jaxprs import compiles_gradients, opened
from floatline.backends.jax.lanes import (
    COMPUTED,
    LOW,
    SHADOW,
    Array,
    Value,
    dtype_of,
    is_float,
    upcast,
)
from floatline.backends.jax.memory import on_host
from floatline.backends.jax.owners import named_after_parameters
from floatline.backends.jax.pieces import Chain, Whole, compiled
from floatline.backends.jax.provenance import Provenance
from floatline.backends.jax.recorder import Recorder
from floatline.backends.jax.selfcheck import KernelChoice
from floatline.backends.jax.state_layers import owners
from floatline.backends.memory import check_host
from floatline.records import GradientSite, Place, Site, Trace
from floatline.tracing.decoding import decode
from floatline.tracing.omissions import Omissions
from floatline.tracing.sites import Description, Ledger
from floatline.tracing.statistics import Pack, empty

WHOLE_NOTE = (
    "A traced step of this size is compiled in pieces. In pieces this one did not show what the "
    "step itself shows, so it was compiled as a whole: what XLA rewrites belongs to what is seen."
)


_ROUNDED = {"xla_allow_excess_precision": False}
"""Every 16-bit value is rounded where it is measured, and where the local lane reads it.

On a GPU, XLA drops a rounding to 16 bits in front of a cast to float32. Those casts are the
trace's own: the step has none there, and rounds.
"""


class Ran(NamedTuple):
    """What a run of the step gives.

    Attributes:
        outputs: What the step returns, flat, and the new variables.
        losses: The losses that were differentiated, as float32 scalars.
        finite: For each gradient, whether all its values are finite.
    """

    outputs: list[Array]
    losses: list[Array]
    finite: Array


class PlainProgram:
    """The step in its own precision or in float32, with losses and gradients looked at.

    Args:
        step: The step.
        lane: `"computed"` or `"shadow"`.
        eager: Run it operation by operation, without compiling it; but gradients that the user
            has compiled are what they are when they are compiled.
    """

    def __init__(self, step: StepJaxpr, lane: str = COMPUTED, *, eager: bool = False) -> None:
        self._step = step
        self._lane = lane
        eager = eager and not compiles_gradients(step.jaxpr)
        self._function = self._build if eager else jax.jit(self._build)
        self.paths: tuple[str, ...] = ()
        """Paths of the variables whose gradients `run` looks at."""
        self.scale: int | None = None
        """Position of the input that is a loss scale of the step's own, if it has one."""

    def run(self, inputs: Sequence[Array]) -> Ran:
        """Runs one step."""
        return Ran(*self._function(list(inputs)))

    def prepare(self, inputs: Sequence[Array]) -> None:
        """Finds the gradients without running the step."""
        jax.eval_shape(self._build, list(inputs))

    def _build(self, inputs: list[Array]) -> Ran:
        frame = Frame(Setting((self._lane,)), harvest=Harvest())
        outputs, losses, gradients, self.scale = _interpret(self._step, frame, inputs)
        self.paths = tuple(gradient.path for gradient in gradients)
        scalars = [jnp.mean(upcast(value.lead)).astype(jnp.float32) for value in losses]
        finite = [jnp.all(jnp.isfinite(gradient.value.lead)) for gradient in gradients]
        flags = jnp.stack(finite) if finite else jnp.zeros(0, bool)
        weak = [aval.weak_type for aval in self._step.jaxpr.out_avals]
        returned = [_as_weak(v.lead, w) for v, w in zip(outputs, weak, strict=True)]
        return Ran(returned, scalars, flags)


def _as_weak(array: Array, weak: bool) -> Array:
    """The array, its type as weak as the step's own: a strong one would make the next step another.

    A count that began as a number in the code stays one for JAX, which promotes it accordingly.
    """
    made = jnp.asarray(array)
    if not weak or made.weak_type:
        return made
    return lax.convert_element_type_p.bind(
        made, new_dtype=made.dtype, weak_type=True, sharding=None
    )


class TracedProgram:
    """The step with a float32 shadow beside every operation; built once, run often.

    Args:
        step: The step.
        whole: Compile it as a whole if that is affordable, and say so in the trace.
    """

    def __init__(self, step: StepJaxpr, *, whole: bool = False) -> None:
        self._step = step
        self._whole = whole
        self._ledger = Ledger()
        self._omissions = Omissions()
        self._rows: list[int] = []
        self._gradients: list[GradientSite] = []
        self._losses: tuple[int, ...] = ()
        self._function: Whole | Chain | None = None
        self._structure: Any = None
        self._kernel = KernelChoice([])

    @property
    def in_pieces(self) -> bool:
        """Whether XLA saw only a piece at a time when it compiled what has run."""
        return isinstance(self._function, Chain)

    def run(self, inputs: Sequence[Array]) -> tuple[Trace, list[Array]]:
        """Traces one step; returns the trace and what the step computed."""
        if self._function is None:
            self._kernel = KernelChoice(inputs)
            closed, shapes = jax.make_jaxpr(self._build, return_shape=True)(list(inputs))
            self._structure = jax.tree.structure(shapes)
            options = {**_quickly_compiled(), **_ROUNDED}
            self._function = compiled(closed, inputs, options, whole=self._whole)
        if on_host():
            check_host(self._function.least_bytes)
        pack, outputs = jax.tree.unflatten(self._structure, self._function(inputs))
        sites, gradients = self._sites(Pack(*map(np.asarray, pack))), tuple(self._gradients)
        if not self._step.observed.layers:
            sites, gradients = named_after_parameters(sites, gradients, owners(self._step))
        as_whole = (WHOLE_NOTE,) if self._whole and not self.in_pieces else ()
        trace = Trace(
            step=0,
            moment="first",
            sites=sites,
            gradients=gradients,
            losses=self._losses,
            moved=self._omissions.moved,
            not_traced=self._omissions.listed(),
            notes=(*as_whole, *self._kernel.notes),
        )
        return trace, outputs

    def _sites(self, pack: Pack) -> tuple[Site, ...]:
        measured = decode(pack)
        order = np.argsort(self._rows)
        return self._ledger.complete([measured[row] for row in order])

    def _build(self, inputs: list[Array]) -> tuple[Pack, list[Array]]:
        step, ledger = self._step, self._ledger
        layers = owners(step)
        provenance = Provenance(step.observed.layers, step.layer_source, step.root, layers)
        setting = Setting((COMPUTED, SHADOW), provenance, self._omissions)
        recorder = Recorder(ledger, kernel=self._kernel.used)
        frame = Frame(setting, recorder, Harvest(), updated=_updated(step))
        outputs, losses, gradients, _ = _interpret(step, frame, inputs)
        self._losses = tuple(
            _site(recorder, v, Place(None, "Loss", "loss", "forward")) for v in losses
        )
        self._gradients = [
            GradientSite(path, layer, _site(recorder, v, _gradient_place(layer)))
            for path, v in gradients
            for layer in [layers.get(path)]
        ]
        self._rows, pack = recorder.finish()
        return (pack or empty(0)), [jnp.asarray(value.lead) for value in outputs]


def _quickly_compiled() -> dict[str, Any]:
    """A traced step is large and runs only a few times: compiling it takes longest.

    LLVM's optimisations are left out on a CPU, and the search for the fastest product on a GPU;
    XLA's own optimisations, which decide what is rounded, are the same.
    """
    if jax.default_backend() == "cpu":
        return {"xla_backend_optimization_level": "0", "xla_llvm_disable_expensive_passes": True}
    if jax.default_backend() == "gpu":
        return {"xla_gpu_autotune_level": 0, "xla_gpu_enable_triton_gemm": False}
    return {}


def _gradient_place(layer: str | None) -> Place:
    return Place(layer, "Gradient", "gradient", "backward")


def _site(recorder: Recorder, value: Value, place: Place) -> int:
    """The site of a value: where it was computed, or one of its own.

    It needs one when it was put together from several, or is what a loop has left.
    """
    if len(value.sources) == 1 and value.sources[0] >= 0:
        return value.sources[0]
    dtype, shape = dtype_of(value.lead).name, np.shape(value.lead)
    description = Description(place, "value", dtype, shape, value.sources)
    return recorder.measure(description, value.lead, value.lanes[-1], upcast(value.lead))


def _updated(step: StepJaxpr) -> dict[Any, str]:
    """Path of the variable that each output is the new value of."""
    outputs = opened(step.jaxpr)[0].outvars
    return {
        outputs[after]: step.paths[before]
        for before, after in step.continued.items()
        if not hasattr(outputs[after], "val")
    }


def _interpret(
    step: StepJaxpr, frame: Frame, inputs: Sequence[Array]
) -> tuple[list[Value], list[Value], list[Gradient], int | None]:
    """Runs the step's jaxpr; returns what it gives, its losses, gradients and loss scale."""
    values = [_input(step, frame, position, array) for position, array in enumerate(inputs)]
    outputs = frame.run(step.jaxpr, values)
    harvest = frame.harvest
    assert harvest is not None
    parameters = {
        path: np.shape(value.lead)
        for path, value in zip(step.paths, values, strict=True)
        if harvest.differentiated(value)
    }
    updates = {after: step.paths[before] for before, after in step.continued.items()}
    returned = [value for number, value in enumerate(outputs) if number not in updates]
    gradients = harvest.gradients(outputs, updates, parameters)
    return outputs, harvest.losses(returned), gradients, harvest.scale(values)


def _input(step: StepJaxpr, frame: Frame, position: int, array: Array) -> Value:
    """An input as a value; measured as a site when it holds floats."""
    value = frame.taken(array)
    dtype = dtype_of(array)
    provenance = frame.setting.provenance
    if frame.recorder is None or provenance is None or not isinstance(dtype, np.dtype):
        return value
    if not is_float(dtype):
        return value
    path = step.paths[position]
    parameter = position in step.continued
    description = Description(
        place=provenance.parameter(path) if parameter else Place(None, "Input", path, "forward"),
        role="parameter" if parameter else "input",
        dtype=dtype.name,
        shape=np.shape(array),
        variable=path if parameter else None,
    )
    shadow = value.lanes[-1]
    return value._replace(sources=(frame.recorder.measure(description, array, shadow, shadow),))


def raised_state(arrays: Sequence[Array]) -> list[Array]:
    """Variables or a batch as the float32 step takes them; shapes alone stay what they are."""
    return [
        upcast(array)
        if dtype_of(array) in LOW and not isinstance(array, jax.ShapeDtypeStruct)
        else array
        for array in arrays
    ]
