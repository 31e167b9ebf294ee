"""Takes over inside a running script at its first training call, to inspect the model."""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import keras

from floatline.layers import walk
from floatline.patches import wrapped
from floatline.precision.enabled import enabled
from floatline.precision.inspecting import look
from floatline.precision.inspection import Inspection
from floatline.precision.plan import Plan
from floatline.user_lines import LayerSources


class Unwind(BaseException):
    """Leaves the script once its model is inspected; no handler of the script's stops it."""


class InspectionTakeover:
    """Stands between a script and Keras until the script trains.

    Args:
        batch_size: Examples per batch that activations are counted for.
    """

    def __init__(self, batch_size: int) -> None:
        self._batch_size = batch_size
        self._sources = LayerSources()
        self._models: list[weakref.ref[Any]] = []
        self._look: Callable[[], tuple[Inspection, ...]] | None = None

    @contextlib.contextmanager
    def installed(self, precision: str | Plan | None) -> Iterator[None]:
        """While active, calls that train end the script; `precision` is turned on before.

        Args:
            precision: A dtype policy, a plan, or None to change nothing.
        """
        optimizer = keras.optimizers.Optimizer
        with contextlib.ExitStack() as stack:
            if precision is not None:
                stack.enter_context(enabled(precision))
            stack.enter_context(wrapped(keras.Model, "fit", self._on_training))
            stack.enter_context(wrapped(keras.Model, "train_on_batch", self._on_training))
            stack.enter_context(wrapped(optimizer, "apply", self._on_apply))
            stack.enter_context(
                wrapped(keras.optimizers.LossScaleOptimizer, "apply", self._on_apply)
            )
            stack.enter_context(wrapped(optimizer, "apply_gradients", self._on_apply))
            stack.enter_context(wrapped(keras.Layer, "__new__", self._on_new_layer))
            stack.enter_context(wrapped(keras.Operation, "__new__", self._on_new_operation))
            yield

    @property
    def done(self) -> bool:
        """Whether the script is being left."""
        return self._look is not None

    def conclude(self, error: BaseException | None) -> tuple[Inspection, ...]:
        """What was found, when the script has ended with `error` or by itself.

        Returns:
            The model that the script would train; every model that it made when it ended well
            without training; nothing when it failed.

        Raises:
            Exception: The model cannot be inspected.
        """
        if self._look is not None:
            return self._look()
        ended_well = error is None or (isinstance(error, SystemExit) and not error.code)
        return tuple(self._inspect(model) for model in self._outermost()) if ended_well else ()

    def _on_training(
        self,
        original: Callable[..., Any],  # noqa: ARG002 - what `wrapped` passes
        model: Any,
        x: Any = None,
        *_args: Any,
        **_kwargs: Any,
    ) -> Any:
        self._leave(lambda: (self._inspect(model, x),))

    def _on_apply(
        self,
        original: Callable[..., Any],  # noqa: ARG002
        optimizer: Any,
        *_args: Any,
        **_kwargs: Any,
    ) -> Any:
        """The script updates weights in a loop of its own: the models that it has made by then."""
        models = self._outermost()
        self._leave(lambda: tuple(self._inspect(model, applied=optimizer) for model in models))

    def _on_new_layer(
        self, original: Callable[..., Any], cls: type, *args: Any, **kwargs: Any
    ) -> Any:
        layer = original(cls, *args, **kwargs)
        if isinstance(layer, keras.Model):
            self._models.append(weakref.ref(layer))
        return layer

    def _on_new_operation(
        self, original: Callable[..., Any], cls: type, *args: Any, **kwargs: Any
    ) -> Any:
        operation = original(cls, *args, **kwargs)
        self._sources.record(operation)
        return operation

    def _leave(self, look: Callable[[], tuple[Inspection, ...]]) -> None:
        """Leaves first: within a step that is being compiled no variable has a value."""
        self._look = look
        raise Unwind

    def _inspect(self, model: Any, x: Any = None, applied: Any = None) -> Inspection:
        given = _plain(x)
        if given is not None and not model.built:
            with contextlib.suppress(Exception):  # The inspection says that it is not built.
                model(keras.tree.map_structure(lambda leaf: leaf[:1], given))
        return look(model, given, batch_size=self._batch_size, line=self._sources, applied=applied)

    def _outermost(self) -> list[Any]:
        """The models that are in no other one."""
        alive = [model for reference in self._models if (model := reference()) is not None]
        inner = {id(layer) for model in alive for _, layer in walk(model)}
        # The graph that a sequential model builds of itself.
        inner |= {id(getattr(model, "_functional", None)) for model in alive}
        return [model for model in alive if id(model) not in inner]


def _plain(x: Any) -> Any:
    """Arrays as they are; datasets and generators are left unread."""
    leaves = keras.tree.flatten(x)
    return x if leaves and all(hasattr(leaf, "shape") for leaf in leaves) else None
