"""A user's training step on PyTorch: run as it is, snapshot, traced, or trained in float32."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
import torch

from floatline.backends.batches import shared_rows
from floatline.backends.interface import Batch, LayerSource, Outcome
from floatline.backends.shelf import Shelf
from floatline.backends.torch.float32 import Float32Replay
from floatline.backends.torch.lanes import Tensor
from floatline.backends.torch.memory import with_memory
from floatline.backends.torch.observer import Observer
from floatline.backends.torch.program import TracedRun, variable_path
from floatline.backends.torch.state import Keeper, State
from floatline.backends.torch.watching import note_finite, note_loss, outcome
from floatline.errors import TraceError
from floatline.records import Trace


class TorchStep:
    """One training step of the user's.

    Args:
        call: The step as a function of one batch.
        owner: The model that is trained, or None for a step function.
        roots: What the step's state is reached from.
        layer_source: Where a layer was made by the user's code.
        seed: What backward passes start at.
    """

    def __init__(
        self,
        call: Callable[[Batch], Any],
        *,
        owner: keras.Model | None,
        roots: Sequence[Any],
        layer_source: LayerSource,
        seed: float = 1.0,
    ) -> None:
        self._seed = seed
        self.keeper = Keeper(roots)
        self.low: torch.dtype | None = None
        self._call = call
        self._owner = owner
        self._layer_source = layer_source
        self._optimizers: list[Any] = []
        self._names: dict[int, str] = {}
        self._around: dict[str, torch.dtype] | None = None

    # The real step

    def prepare(self, batch: Batch) -> None:
        """Builds nothing: what the first step makes is remembered as it was when it was made."""
        del batch

    def run(self, batch: Batch) -> tuple[Any, Outcome]:
        """Runs the real step on the real variables; returns what it returned, and its outcome."""
        if self._around is None:
            self._around = autocast_regions()
        known = bool(self._optimizers)
        observer = Observer(note_loss, note_finite, has_optimizer=known, seed=self._seed)
        with self.keeper.noting_births(), inside(self._around), observer as observed:
            returned = enter_step(self._call, own(batch))
        self._optimizers = observed.optimizers
        self.keeper.add_roots([*observed.optimizers, *observed.scalers])
        return returned, outcome(observed, self._path)

    # State

    def remembered(self, batch: Batch) -> Batch:
        """The batch itself: the state of this step is in variables."""
        return batch

    def keep_states_on(self, shelf: Shelf) -> None:
        """Snapshots keep their large values there from now on, one after the other."""
        self.keeper.keep_on(shelf)

    def state_bytes(self) -> int:
        """Bytes that the values of a snapshot take."""
        return self.keeper.state_bytes()

    def snapshot(self) -> State:
        """Copies the values of every variable that the step can touch."""
        return self.keeper.snapshot()

    def restore(self, state: State) -> None:
        """Puts a snapshot back, bit for bit."""
        self.keeper.restore(state)

    # Looking inside

    def trace(self, state: State, batch: Batch) -> Trace:
        """Runs the step from `state` with a float32 shadow; the user's variables stay."""
        return with_memory(lambda: self._run_traced(state, batch)[0])

    def traced_state(self, state: State, batch: Batch) -> dict[str, Tensor]:
        """What the traced step gives each variable: for comparison with the step itself."""
        return self._run_traced(state, batch)[1]

    def _run_traced(self, state: State, batch: Batch) -> tuple[Trace, dict[str, Tensor]]:
        kept = self.keeper.snapshot()
        try:
            self.keeper.restore(state)
            reached = self.keeper.reached()
            names, source = self.keeper.names(), self._layer_source
            run = TracedRun(self._owner, reached.modules, names, source, self._seed)
            if reached.compiled or getattr(self._owner, "jit_compile", False):
                run.omit("torch.compile", "the step was traced uncompiled")
            data = own(batch) if self._owner is None else as_tensors(own(batch))
            with inside(self._around or {}):
                trace = run.run(lambda data: enter_step(self._call, data), data)
            check_begins_early_enough(trace)
            self.low = self.low or run.low
            return trace, self.keeper.named_values()
        finally:
            self.keeper.restore(kept)

    def rows(self, batch: Batch) -> int | None:
        """How many rows a batch has; None where its arrays share none."""
        data = filter(_is_data, keras.tree.flatten(batch))
        return shared_rows(tuple(leaf.shape) for leaf in data)

    def picked(self, batch: Batch, rows: Sequence[int]) -> Batch:
        """The batch with some of its rows."""

        def some(leaf: Any) -> Any:
            whole = not _is_data(leaf) or not leaf.shape or leaf.shape[0] == 1
            if whole or isinstance(leaf, np.ndarray):
                return leaf if whole else leaf[np.asarray(rows)]
            order = torch.as_tensor(list(rows), device=leaf.device)
            return leaf.detach().index_select(0, order).requires_grad_(leaf.requires_grad)

        return keras.tree.map_structure(some, batch)

    def seeded(self, seed: float) -> TorchStep:
        """The same step with the same variables, whose backward passes start at `seed`."""
        step = copy.copy(self)
        step._seed = seed  # noqa: SLF001 (its own)
        return step

    def float32(
        self, state: State, *, rounded: bool = False, rebuilt: bool = False
    ) -> Float32Replay:
        """Starts the same training in float32 from `state`."""
        return Float32Replay(self, state, rounded=rounded, rebuilt=rebuilt)

    def _path(self, variable: Any) -> str:
        if isinstance(variable, torch.Tensor) and id(variable) not in self._names:
            names = self.keeper.names()
            self._names[id(variable)] = variable_path(variable, names)
        return self._names.get(id(variable)) or variable_path(variable, {})


def check_begins_early_enough(trace: Trace) -> None:
    """Whether a step computes what it differentiates, and can thus be run again.

    Raises:
        TraceError: It differentiates what was computed before it began.
    """
    if trace.raised is not None and "through the graph a second time" in trace.raised:
        raise TraceError(
            "The training step differentiates what was computed before it began, so it cannot be "
            f"run again: {trace.raised}",
            "Put `@floatline.training_step` above a function that computes the loss as well.",
        )


def enter_step(call: Callable[[Batch], Any], batch: Batch) -> Any:
    """Calls the user's step; what stands above this function in a stack is not the step's."""
    return call(batch)


def autocast_regions() -> dict[str, torch.dtype]:
    """The autocast regions that are open here, each device with its dtype."""
    devices = ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",)
    return {d: torch.get_autocast_dtype(d) for d in devices if torch.is_autocast_enabled(d)}


@contextlib.contextmanager
def inside(regions: dict[str, torch.dtype]) -> Iterator[None]:
    """While active, what was open around the user's step is open again: the script has left it."""
    with contextlib.ExitStack() as stack:
        for device, dtype in regions.items():
            if not torch.is_autocast_enabled(device):
                stack.enter_context(torch.autocast(device, dtype))
        yield


def as_tensors(batch: Batch) -> Batch:
    """A batch for a Keras model as its layers would take it: arrays as tensors."""

    def converted(leaf: Any) -> Any:
        return keras.ops.convert_to_tensor(leaf) if isinstance(leaf, np.ndarray) else leaf

    return keras.tree.map_structure(converted, batch)


def _is_data(leaf: Any) -> bool:
    """Whether a leaf of a batch holds rows: an array, and no weight."""
    weight = isinstance(leaf, torch.nn.Parameter)
    return isinstance(leaf, (np.ndarray, torch.Tensor)) and not weight


def own(batch: Batch) -> Batch:
    """A copy of a batch: a step may write to its batch, which will be needed again."""

    def copied(leaf: Any) -> Any:
        if not isinstance(leaf, torch.Tensor):
            return leaf
        return leaf.detach().clone().requires_grad_(leaf.requires_grad)

    return keras.tree.map_structure(copied, batch)
