"""One step of a group of layers: traced in mixed precision, and run by Keras alone in float32."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import keras
import numpy as np
from keras import ops

from floatline.capture.state import value_of
from floatline.findings.operations import kind
from floatline.pipeline import load_backend
from floatline.records import Site, Statistics, Trace
from tests.contract.layer_cases import GROUPS, IMPOSSIBLE, UNCOMPILED, Case
from tests.contract.layer_models import RATE, SHARE, build, wave
from tests.contract.samples import policy

Values = dict[str, np.ndarray]


@dataclass(frozen=True)
class Traced:
    """One step in mixed precision, looked into and run.

    Attributes:
        trace: The trace.
        untouched: Whether tracing left every bit as it was.
        before: Variables before the step.
        real: Variables after the untraced step.
        traced: Variables after the traced step.
    """

    trace: Trace
    untouched: bool
    before: Values
    real: Values
    traced: Values

    def output(self, name: str) -> Site:
        """The output of a layer, weighed for the loss."""
        place = f"weighed_{name}"
        (site,) = (
            site
            for site in self.trace.sites
            if site.place.layer == place
            and site.place.phase == "forward"
            and kind(site.place.operation) == "multiply"
        )
        return site

    def gradients(self, name: str) -> dict[str, Site]:
        """The gradients of the weights of a layer."""
        return {
            gradient.variable: self.trace.sites[gradient.site]
            for gradient in self.trace.gradients
            if name in gradient.variable.split("/")
        }


@dataclass(frozen=True)
class Reference:
    """The same step in float32, without Floatline: weighed outputs by layer, and gradients."""

    outputs: Values
    gradients: Values


def possible(group: str) -> tuple[Case, ...]:
    """The layers of a group that Keras can train on this backend."""
    backend = keras.backend.backend()
    impossible = {*IMPOSSIBLE[backend], *UNCOMPILED[backend]}
    return tuple(case for case in GROUPS[group] if case.name not in impossible)


@cache
def traced(group: str) -> Traced:
    """Traces and runs one step of a group."""
    with policy("mixed_float16"):
        model, _, batch = build(possible(group))
    step: Any = load_backend().keras_step(model, lambda layer: None)
    step.prepare(batch)
    state, before, kept = step.snapshot(), values(model.variables), bits(model)
    trace = step.trace(state, batch)
    after = step.traced_state(state, batch)
    untouched = bits(model) == kept
    step.run(batch)
    found = {path: np.array(ops.convert_to_numpy(value)) for path, value in after.items()}
    return Traced(trace, untouched, before, values(model.variables), found)


@cache
def reference(group: str) -> Reference:
    """Runs one step of a group in float32."""
    cases = possible(group)
    with policy("float32"):
        model, outputs, (inputs, target) = build(cases, reference=True)
    before = values(model.variables)
    found = outputs(inputs, training=True)
    found = found if isinstance(found, (list, tuple)) else [found]
    made = {
        case.name: np.array(ops.convert_to_numpy(ops.cast(output, "float32")))
        for case, output in zip(cases, found, strict=True)
    }
    for variable in model.variables:  # Layers that draw are to draw the same again.
        variable.assign(before[variable.path])
    model.train_on_batch(inputs, target)
    after = values(model.trainable_variables)
    gradients = {path: (before[path] - value) / RATE for path, value in after.items()}
    return Reference({name: weighed(output) for name, output in made.items()}, gradients)


def weighed(output: np.ndarray) -> np.ndarray:
    """What the loss makes of an output."""
    rows = output.reshape(len(output), -1)
    return rows * (SHARE * wave(*rows.shape))


def values(variables: Sequence[Any]) -> Values:
    """Values of variables by path."""
    return {variable.path: value_of(variable) for variable in variables}


def bits(model: keras.Model) -> bytes:
    """Every bit of a model and its optimizer."""
    return b"".join(value_of(v).tobytes() for v in [*model.variables, *model.optimizer.variables])


def differences(found: Statistics, truth: np.ndarray, tolerance: float) -> list[str]:
    """How statistics contradict the values they are to tell of.

    Every magnitude may be off by `tolerance` times the largest; at each power of two as many
    values must reach it as then can.
    """
    sizes = np.abs(truth.astype("float64")).ravel()
    near = tolerance * max(float(sizes.max(initial=0.0)), 1e-3)
    said = []
    if found.count != sizes.size:
        said.append(f"{found.count} elements, not {sizes.size}")
    if abs(found.max_abs - sizes.max(initial=0.0)) > near:
        said.append(f"the largest is {found.max_abs}, not {sizes.max()}")
    for exponent in range(-20, 12):
        edge = 2.0**exponent
        least, most = int((sizes >= edge + near).sum()), int((sizes >= edge - near).sum())
        reach = sum(n for e, n in found.exponents.items() if e >= exponent)
        if edge > near and not least <= reach <= most:
            said.append(f"{reach} reach 2**{exponent}, not {least} to {most}")
    return said
