"""Traces the user's step into jaxprs, watched by an observer, and remembers what was seen."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any

import jax
import keras

from floatline.backends.interface import Batch, LayerSource
from floatline.backends.jax.jaxprs import every_equation
from floatline.backends.jax.lanes import LOW, Array
from floatline.backends.jax.leaves import Leaves, aval, handed_on, objects_in
from floatline.backends.jax.memory import starting_at
from floatline.backends.jax.observer import Observed, observing
from floatline.backends.jax.purity import ImpureError, leaves_objects_alone, same_program
from floatline.backends.policies import in_float32
from floatline.errors import TraceError

PureStep = Callable[[Sequence[Array], Batch], tuple[Any, Sequence[Array]]]
"""A step without side effects: variables and a batch to what it returns and the new variables."""


@dataclass(frozen=True, slots=True)
class StepJaxpr:
    """A user's training step as a jaxpr, with all that is known of it.

    Attributes:
        jaxpr: The closed jaxpr: variables and leaves of the batch in; what the step returns and
            the new variables out.
        observed: What was seen while it was traced.
        paths: Path of each input, the variables' first.
        variables: How many inputs are variables.
        structure: The structure of what the step returns.
        returned: How many outputs are what the step returns; the new variables follow.
        written: Positions, among the inputs that are no variables, of what the step replaces in
            place; their new values are its last outputs.
        continued: Position of the output that is the next value of an input, by the position of
            the input: the variables', and those of a state that the step hands on to itself.
        root: The trained model, or None.
        layer_source: Where layers were made.
    """

    jaxpr: Any
    observed: Observed
    paths: tuple[str, ...]
    variables: int
    structure: Any
    returned: int
    written: tuple[int, ...]
    continued: Mapping[int, int]
    root: Any
    layer_source: LayerSource

    @property
    def low_dtype(self) -> Any | None:
        """The 16-bit float that the step computes in; None when it computes in none."""
        for equation in every_equation(self.jaxpr):
            for atom in equation.outvars:
                if getattr(atom.aval, "dtype", None) in LOW:
                    return atom.aval.dtype
        return None


class Builder:
    """The user's step as jaxprs, one per shape of batch.

    Args:
        call: The step.
        paths: Paths of the variables, asked for when a jaxpr is made.
        owner: The model that is trained, or None for a step function.
        layer_source: Where a layer was made by the user's code.
        arguments: What the elements of a batch that is a tuple are called.
        numbers: Whether whole numbers in a batch are data, as far as the step stands it.
        static: Positions in a batch that is a tuple of what is no data in any case.
        around: Entered while a jaxpr is traced.
        seed: What backward passes start at.
        pure: Whether Python runs only when a jaxpr is made. Else the step is made sure to be a
            function of what it is given: it is traced again when a jaxpr first serves again.
    """

    def __init__(
        self,
        call: PureStep,
        *,
        paths: Callable[[], Sequence[str]],
        owner: keras.Model | None,
        layer_source: LayerSource,
        arguments: Sequence[str] = (),
        numbers: bool = False,
        static: frozenset[int] = frozenset(),
        around: Callable[[], AbstractContextManager[None]] = contextlib.nullcontext,
        pure: bool = True,
        seed: float = 1.0,
    ) -> None:
        self._seed = seed
        self._call = call
        self._paths = paths
        self._owner = owner
        self._layer_source = layer_source
        self._arguments = tuple(arguments)
        self._numbers = numbers
        self._static = static
        self._around = around
        self._pure = pure
        self._unsure: set[Any] = set()
        self._changes = False
        self._steps: dict[Any, StepJaxpr] = {}

    @property
    def observations(self) -> list[Observed]:
        """What was seen of every jaxpr that the step was traced into."""
        return [step.observed for step in self._steps.values()]

    def jaxpr_for(self, state: Sequence[Array], batch: Batch) -> tuple[StepJaxpr, list[Array]]:
        """The step's jaxpr for a batch, and the batch's arrays in the order of its inputs.

        Raises:
            TraceError: The step does something that only Python can do.
        """
        leaves = self.leaves(batch)
        key = (leaves.key, tuple(map(aval, state)))
        if key not in self._steps or key in self._unsure:
            try:
                self._take(key, self._trace(state, leaves))
            except Exception as error:
                if self._numbers and not isinstance(
                    error, ImpureError
                ):  # One of them is a setting, as of `static_argnums`.
                    self._numbers = False
                    return self.jaxpr_for(state, batch)
                raise TraceError(
                    f"JAX cannot trace the training step: {_first_line(error)}",
                    "Take Python side effects such as float(...) or np.asarray(...) out of the "
                    "step; `jax.jit` must be able to compile it.",
                ) from error
        return self._steps[key], leaves.arrays

    def _take(self, key: Any, step: StepJaxpr) -> None:
        """Keeps a jaxpr, or finds the one that is kept still true."""
        known = self._steps.setdefault(key, step)
        if known is step:
            self._unsure |= set() if self._pure else {key}
        elif self._changes or not same_program(known.jaxpr, step.jaxpr):
            self._changes = True  # Put back, they may be once more what they were.
            raise ImpureError("it reads numbers that it is not given, and that change.")
        else:
            self._unsure.remove(key)

    def leaves(self, batch: Batch) -> Leaves:
        """A batch taken apart as the step takes it."""
        return Leaves.of(batch, self._arguments, numbers=self._numbers, static=self._static)

    def correct(self, step: StepJaxpr, continued: Mapping[int, int]) -> bool:
        """Replaces what a step's structure suggested of its state by what was seen."""
        keys = [key for key, known in self._steps.items() if known is step]
        if step.continued == continued:
            return False
        self._steps |= dict.fromkeys(keys, replace(step, continued=continued))
        return bool(keys)

    def _trace(self, state: Sequence[Array], leaves: Leaves) -> StepJaxpr:
        structure: list[Any] = []

        def flat_step(variables: Sequence[Array], arrays: Sequence[Array]) -> list[Array]:
            batch = leaves.filled(arrays)
            before = objects_in(batch)
            returned, after = self._call(variables, batch)
            flat, tree = jax.tree.flatten(returned)
            replaced = leaves.replaced(before, objects_in(batch))
            structure[:] = [tree, len(flat), tuple(replaced)]
            return [*flat, *after, *replaced.values()]

        objects = [leaf for leaf in leaves.fixed if hasattr(leaf, "__dict__")]
        with (
            leaves_objects_alone(objects),
            self._around(),
            starting_at(self._seed),
            observing() as observed,
        ):
            jaxpr = jax.make_jaxpr(flat_step)(list(state), leaves.arrays)
        tree, returned, written = structure
        count = len(state)
        in_place = {count + n: returned + count + k for k, n in enumerate(written)}
        own = {n: returned + n for n in range(count)}
        handed = handed_on(leaves, jaxpr.in_avals[count:], tree, jaxpr.out_avals[:returned])
        return StepJaxpr(
            jaxpr=jaxpr,
            observed=observed,
            paths=(*self._paths(), *leaves.names),
            variables=count,
            structure=tree,
            returned=returned,
            written=written,
            continued=own | {count + n: output for n, output in handed.items()} | in_place,
            root=self._owner,
            layer_source=self._layer_source,
        )

    def rebuilt_in_float32(self) -> Builder:
        """A builder of the same step with every layer computing in float32.

        Raises:
            TraceError: No layer takes part in the step.
        """
        seen = [layer for observed in self.observations for layer in observed.layers]
        layers = list({id(layer): layer for layer in seen}.values())
        if not layers:
            raise TraceError(
                "The step names its dtypes itself, so it cannot be built anew in float32.",
                "Nothing is to be done: the step was raised to float32 as it stands.",
            )
        return Builder(
            self._call,
            paths=self._paths,
            owner=self._owner,
            layer_source=self._layer_source,
            arguments=self._arguments,
            numbers=self._numbers,
            static=self._static,
            pure=self._pure,
            around=lambda: in_float32(layers),
            seed=self._seed,
        )


def _first_line(error: BaseException) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
