"""What a step on JAX hands on to the next one: by returning it, or by writing it in place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from floatline.backends.jax.builder import StepJaxpr
from floatline.backends.jax.lanes import Array


class Written:
    """What a step has replaced in place, in the containers that it is given.

    Flax NNX writes to the model that a step is handed. Here the step is given a container of its
    own, filled anew each time, so the user's is never written to; what the step would have found
    in it is kept beside.
    """

    def __init__(self, values: Mapping[int, tuple[Array, Array]] | None = None) -> None:
        self._values = dict(values or {})
        self._given: list[Array] = []

    def copy(self) -> Written:
        """The same values, to be kept."""
        return Written(self._values)

    def put_into(self, arrays: Sequence[Array]) -> list[Array]:
        """What the step would be given, had it written to the user's containers."""
        self._given = list(arrays)
        return [
            self._values[n][1] if n in self._values and self._values[n][0] is array else array
            for n, array in enumerate(arrays)
        ]

    def follow(self, step: StepJaxpr, outputs: Sequence[Array]) -> None:
        """Notes what the step has replaced."""
        for number, output in zip(step.written, outputs[after_variables(step) :], strict=True):
            self._values[number] = (self._given[number], output)


class Threads:
    """Which inputs of a step are outputs of the step before, as a loop in JAX passes them on.

    A pure step is given its state and returns the next one. The loop that calls it hands the very
    arrays back, and so it shows which input continues which output.
    """

    def __init__(self) -> None:
        self._last: dict[int, tuple[int, Array]] = {}
        self._seen: dict[int, int] = {}
        self._count = 0
        self.fresh: frozenset[int] = frozenset()
        """Positions of what the last step was given and the step before it had returned."""

    def know(self, arrays: Sequence[Array]) -> bool:
        """Whether a loop has shown anything of a step that is given so many arrays."""
        return bool(self._seen) and len(arrays) == self._count

    def copy(self) -> Threads:
        """The same knowledge, for another run of the step."""
        threads = Threads()
        threads._seen, threads._count = dict(self._seen), self._count
        return threads

    def follow(self, arrays: Sequence[Array], returned: Sequence[Array]) -> bool:
        """Notes what a step was given besides its variables, and what it returned.

        Returns:
            Whether that has shown something new.
        """
        before, self._count = len(self._seen), len(arrays)
        returns = [self._last.get(id(array), (0, None)) for array in arrays]
        fresh = {n: number for n, (number, last) in enumerate(returns) if last is arrays[n]}
        self._seen |= fresh
        self.fresh = frozenset(fresh)
        self._last = {id(array): (number, array) for number, array in enumerate(returned)}
        return len(self._seen) > before

    def seen(self, step: StepJaxpr) -> dict[int, int]:
        """Output by input position: the variables', what is written, and what was seen else."""
        written = {step.variables + n for n in step.written}
        own = {n: o for n, o in step.continued.items() if n < step.variables or n in written}
        return own | {step.variables + n: output for n, output in self._seen.items()}

    def of(self, step: StepJaxpr) -> dict[int, int]:
        """Output by input position: what was seen, else what the step's structure suggests."""
        return self.seen(step) if self._seen else dict(step.continued)


def after_variables(step: StepJaxpr) -> int:
    """Position of the first output behind the new variables."""
    return step.returned + step.variables
