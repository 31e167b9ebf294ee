"""One step measured: the user's own, with its update caught, and a forward pass, layer by layer."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
from keras import ops

from floatline.backends.interface import Batch
from floatline.backends.watch_interface import Scope, Tensor, WatchKernels
from floatline.formats import FORMATS
from floatline.layers import computes_on_floats, is_container, walk
from floatline.patches import definers, replaced, wrapped
from floatline.scaling.kernels import load_kernels

HALF = FORMATS["float16"]

MARGIN = 2
"""Powers of two between the largest gradient and the end of float16 at the larger loss scale:
gradients of activations may be larger than those of weights."""

BOOSTS = (4.0, 15.0)
"""Powers of two by which the loss scale is raised. Less than 4 shows little; float16's normal
numbers begin 14 below 1, so that nothing is looked for beyond 15."""


UNKNOWN = -1.0
"""A count that could not be made."""


@dataclass
class Caught:
    """What one run of the train step handed to its optimizers."""

    variables: list[Any] = field(default_factory=list)
    gradients: list[Tensor] = field(default_factory=list)
    scaled: bool = False

    def note(self, gradients: Sequence[Tensor], variables: Sequence[Any]) -> None:
        """Adds the gradients of one call, each with its variable."""
        for gradient, variable in zip(gradients, variables, strict=True):
            if gradient is not None:
                self.gradients.append(gradient)
                self.variables.append(variable)


class Measuring:
    """What is measured of a step; runs where the framework traces, and keeps the names of it all.

    Args:
        model: The model.
        kernels: Tells places in a traced function apart.
    """

    def __init__(self, model: Any, kernels: WatchKernels) -> None:
        self.variables: list[Any] = []
        self.layers: list[tuple[str, str]] = []
        self._model = model
        self._kernels = kernels
        self._magnitudes = load_kernels().magnitudes
        self._halves = any(
            layer.compute_dtype == HALF.name
            for _, layer in walk(model)
            if computes_on_floats(layer) and not is_container(layer)
        )

    def measure(self, train: Callable[[], Any], scope: Scope, batch: Batch) -> dict[str, Any]:
        """Tensors: `largest`, `nonzero`, `flushed` and `live` per gradient; `boost`; `outputs`.

        Args:
            train: Runs the train step.
            scope: The scope of a forward pass.
            batch: The batch.
        """
        plain = _caught(train, None)
        self.variables = plain.variables
        largest = self._magnitudes(plain.gradients)
        dense = [ops.convert_to_tensor(gradient) for gradient in plain.gradients]
        live = [ops.not_equal(gradient, 0) for gradient in dense]
        nonzero = ops.stack([_count(alive) for alive in live])
        boost, flushed = ops.ones(()), ops.full_like(nonzero, UNKNOWN)
        if self._halves:
            boost = _boost(largest)
            boosted = _caught(train, boost)
            if boosted.scaled:  # Otherwise nothing was raised: a loop that scales by itself.
                flushed = _flushed(dense, boosted.gradients)
        outputs = self._forward(scope, batch)
        return {
            "largest": largest,
            "nonzero": nonzero,
            "flushed": flushed,
            "boost": boost,
            "live": live,
            "outputs": outputs,
        }

    def _forward(self, scope: Scope, batch: Batch) -> Tensor:
        x, _, _ = keras.utils.unpack_x_y_sample_weight(batch)
        found: list[tuple[str, str, Tensor]] = []
        with scope(), _outputs(self._model, self._kernels.frame, found):
            if self._model._call_has_training_arg:  # noqa: SLF001 (as Keras' own train step asks)
                self._model(x, training=True)
            else:
                self._model(x)
        self.layers = [(path, dtype) for path, dtype, _ in found]
        return ops.stack([value for *_, value in found]) if found else ops.zeros((0,))


def compare(
    before: Sequence[Tensor], after: Sequence[Tensor], live: Sequence[Tensor]
) -> tuple[Tensor, Tensor, Tensor]:
    """Of each variable: sum |update|, sum |weight|, and elements that should have moved.

    Args:
        before: The variables before a step.
        after: The variables after it.
        live: For each element, whether its gradient is not 0.
    """
    pairs = list(zip(before, after, strict=True))
    update = [ops.sum(ops.abs(ops.cast(b, "float32") - ops.cast(a, "float32"))) for b, a in pairs]
    weight = [ops.sum(ops.abs(ops.cast(b, "float32"))) for b, _ in pairs]
    lost = [
        _count(ops.logical_and(ops.equal(b, a), alive))
        for (b, a), alive in zip(pairs, live, strict=True)
    ]
    return ops.stack(update), ops.stack(weight), ops.stack(lost)


def _count(flags: Tensor) -> Tensor:
    return ops.sum(ops.cast(flags, "float32"))


def _boost(largest: Tensor) -> Tensor:
    """The power of two by which a loss scale can grow and all gradients of weights still fit.

    Where they do not, the gradients that overflow are left out.
    """
    top = ops.max(ops.where(ops.isfinite(largest), largest, HALF.max_finite))
    room = HALF.max_exponent - MARGIN - ops.ceil(ops.log2(ops.maximum(top, 1e-30)))
    return ops.power(2.0, ops.clip(room, *BOOSTS))


def _flushed(plain: Sequence[Tensor], boosted: Sequence[Tensor]) -> Tensor:
    """Of each gradient: elements that are 0, and are not when the loss scale is larger.

    UNKNOWN for a gradient that overflows at the larger scale: what is not finite spreads.
    """
    counts = []
    for gradient, larger in zip(plain, map(ops.convert_to_tensor, boosted), strict=True):
        flushed = _count(ops.logical_and(ops.equal(gradient, 0), ops.not_equal(larger, 0)))
        counts.append(ops.where(ops.all(ops.isfinite(larger)), flushed, UNKNOWN))
    return ops.stack(counts)


def _caught(train: Callable[[], Any], boost: Tensor | None) -> Caught:
    """Runs the train step up to its updates.

    Args:
        train: Runs it.
        boost: What the scaled loss is multiplied by.
    """
    caught = Caught()

    def apply(_original: Callable[..., Any]) -> Callable[..., Any]:
        def noted(optimizer: Any, grads: Any, trainable_variables: Any = None) -> None:
            caught.note(grads, trainable_variables or optimizer._trainable_variables)  # noqa: SLF001 (what `apply` itself takes)

        return noted

    def stateless_apply(_original: Callable[..., Any]) -> Callable[..., Any]:
        def noted(optimizer: Any, state: Any, grads: Any, weights: Any) -> tuple[Any, Any]:
            caught.note(grads, optimizer._trainable_variables)  # noqa: SLF001 (as above)
            return list(weights), list(state)

        return noted

    def scale_loss(original: Callable[..., Any]) -> Callable[..., Any]:
        def scaled(optimizer: Any, loss: Any, *args: Any, **kwargs: Any) -> Any:
            loss = original(optimizer, loss, *args, **kwargs)
            if caught.scaled:  # An optimizer around an optimizer may ask that one, too.
                return loss
            caught.scaled = True
            return loss if boost is None else loss * ops.cast(boost, loss.dtype)

        return scaled

    replacements = {"apply": apply, "stateless_apply": stateless_apply, "scale_loss": scale_loss}
    with contextlib.ExitStack() as stack:
        for name, wrapper in replacements.items():
            for owner in definers(keras.optimizers.Optimizer, name):
                stack.enter_context(replaced(owner, name, wrapper))
        train()
    return caught


@contextlib.contextmanager
def _outputs(
    model: Any, frame: Callable[[], Any], found: list[tuple[str, str, Tensor]]
) -> Iterator[None]:
    """Notes the largest magnitude of what each layer returns, except inside of loops."""
    paths = {id(layer): path for path, layer in walk(model) if not is_container(layer)}
    here = frame()

    def on_call(original: Callable[..., Any], layer: Any, *args: Any, **kwargs: Any) -> Any:
        outputs = original(layer, *args, **kwargs)
        path = paths.get(id(layer))
        if path is not None and not isinstance(layer, keras.layers.InputLayer) and frame() == here:
            for leaf in keras.tree.flatten(outputs):
                dtype = _float_dtype(leaf)
                if dtype is not None:
                    found.append((path, dtype, _largest(leaf)))
        return outputs

    with wrapped(keras.Layer, "__call__", on_call):
        yield


def _float_dtype(leaf: Any) -> str | None:
    if not (hasattr(leaf, "dtype") and hasattr(leaf, "shape")):
        return None
    dtype = str(keras.backend.standardize_dtype(leaf.dtype))
    return dtype if dtype in FORMATS else None


def _largest(values: Tensor) -> Tensor:
    magnitudes = ops.abs(ops.cast(values, "float32"))
    return ops.max(ops.where(ops.isfinite(magnitudes), magnitudes, float("inf")))
