"""One traced run of a training step, from the modes around it to the finished trace."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import keras
import torch

from floatline.backends.interface import Batch, LayerSource
from floatline.backends.torch.contexts import Contexts
from floatline.backends.torch.lanes import Tensor
from floatline.backends.torch.layers import Paths, Stack
from floatline.backends.torch.literals import Literals
from floatline.backends.torch.memory import ran_short
from floatline.backends.torch.observer import Observer
from floatline.backends.torch.provenance import Provenance
from floatline.backends.torch.recorder import Recorder
from floatline.backends.torch.recurrence import OpenRecurrence
from floatline.backends.torch.shadows import memory
from floatline.backends.torch.sites import Sites
from floatline.backends.torch.tracer import Tracer
from floatline.errors import FloatlineError
from floatline.headlines import headline
from floatline.records import GradientSite, Trace
from floatline.tracing.sites import Ledger


class TracedRun:
    """Everything that takes part in tracing one step.

    Args:
        root: The trained model, or None.
        modules: PyTorch modules by the name of their variable.
        names: Path of every known variable, by its memory.
        layer_source: Where layers were made.
        seed: What backward passes start at.
    """

    def __init__(
        self,
        root: Any,
        modules: Mapping[str, torch.nn.Module],
        names: Mapping[int, str],
        layer_source: LayerSource,
        seed: float = 1.0,
    ) -> None:
        self._root = root
        self._names = names
        self._ledger = Ledger()
        self._recorder = Recorder(self._ledger)
        self._stack = Stack()
        provenance = Provenance(Paths(root, modules), layer_source)
        self._sites = Sites(self._recorder, provenance, names)
        self._observer = Observer(self._sources, self._sources, seed=seed)
        self._contexts = Contexts(self._stack, self._observer)
        self._tracer = Tracer(self._sites, self._contexts)

    @property
    def low(self) -> torch.dtype | None:
        """The 16-bit float that the step computes in; None when it computes in none."""
        return self._sites.low

    def omit(self, what: str, reason: str) -> None:
        """Notes something about the step that the trace does not show."""
        self._sites.omissions.add(what, reason)

    def run(self, call: Callable[[Batch], Any], batch: Batch) -> Trace:
        """Runs the step once under the tracer."""
        try:
            return self._traced(call, batch)
        finally:
            # Not when the collector finds the time: on a GPU it never sees how much they hold.
            self._tracer.shadows.clear()

    def _traced(self, call: Callable[[Batch], Any], batch: Batch) -> Trace:
        self._enter_batch(batch)
        with contextlib.ExitStack() as stack:
            stack.enter_context(self._stack.kept())
            observed = stack.enter_context(self._observer)
            stack.enter_context(followed())
            stack.enter_context(settled())
            stack.enter_context(OpenRecurrence())
            stack.enter_context(Literals(self._tracer.literal))
            stack.enter_context(self._tracer)
            error = _error_of(lambda: call(batch))
        widening = self._tracer.widening
        losses = [sources for sources in observed.loss_notes if sources]
        return Trace(
            step=0,
            moment="first",
            sites=widening.marked(self._ledger.complete(self._recorder.statistics())),
            gradients=tuple(self._gradients(observed.handed_over)),
            losses=tuple(max(sources) for sources in losses),
            moved=self._sites.omissions.moved,
            not_traced=self._sites.omissions.listed(),
            notes=() if widening.note is None else (widening.note,),
            widened=widening.functions,
            raised=None if error is None else headline(error),
        )

    @torch.no_grad()  # type: ignore[untyped-decorator]  # PyTorch is not type-checked here
    def _enter_batch(self, batch: Batch) -> None:
        for number, leaf in enumerate(keras.tree.flatten(batch)):
            if isinstance(leaf, torch.Tensor):
                self._tracer.shadows.share(leaf, self._sites.input(leaf, f"batch[{number}]"))

    def _sources(self, tensor: Tensor) -> tuple[int, ...]:
        return self._tracer.sources(_plain(tensor))

    def _gradients(self, handed_over: Sequence[tuple[Any, Any]]) -> Iterator[GradientSite]:
        for variable, sources in handed_over:
            if sources:
                path = variable_path(variable, self._names)
                yield GradientSite(path, layer_path(path, self._root), max(sources))


def _error_of(run: Callable[[], Any]) -> Exception | None:
    """What a step raises; what it had computed until then is traced."""
    try:
        run()
    except FloatlineError:
        raise
    except Exception as error:
        if ran_short(error):
            raise
        return error
    return None


@contextlib.contextmanager
def followed() -> Iterator[None]:
    """While active, every operation runs where a mode can see it: here, and not compiled."""
    with contextlib.ExitStack() as stack:
        # On a GPU the backward pass runs in threads of its own, which modes do not reach.
        stack.enter_context(torch.autograd.set_multithreading_enabled(False))
        stack.enter_context(torch.compiler.set_stance("force_eager"))
        yield


@contextlib.contextmanager
def settled() -> Iterator[None]:
    """While active, Python's collector looks at new objects only.

    A trace keeps so many that it would search all that Keras and PyTorch have made, again and
    again, each time as long as some steps take.
    """
    if gc.get_freeze_count():  # The user has settled it.
        yield
        return
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def variable_path(variable: Any, names: Mapping[int, str]) -> str:
    """The path that Keras gives a variable, or the name that PyTorch's modules give it."""
    if isinstance(variable, keras.Variable):
        return str(variable.path)
    return names.get(memory(variable), f"weight{tuple(variable.shape)}")


def layer_path(path: str, root: Any) -> str | None:
    """Path of the layer that owns a variable, without the name of the trained model.

    Example:

    >>> layer_path("encoder/dense/kernel", None), layer_path("encoder.0.weight", None)
    ('encoder/dense', 'encoder.0')
    """
    owner = path.rpartition("/" if "/" in path else ".")[0]
    if root is not None:
        owner = owner.removeprefix(f"{root.name}/")
    return owner or None


def _plain(value: Any) -> Any:
    return value.value if isinstance(value, keras.Variable) else value
