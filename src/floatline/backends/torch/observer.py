"""Notes what one training step differentiates and hands to its optimizers.

Used around the user's own step, which stays as it is, and around the traced one. What is kept of
a tensor is the caller's to say: a finite flag, or the sites that its values come from.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import torch
from torch.optim.optimizer import (
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)
from torch.utils._python_dispatch import _disable_current_modes

from floatline.backends.torch.lanes import Tensor
from floatline.patches import definers, replaced

Note = Callable[[Tensor], Any]
"""What is to be kept of a tensor."""


@dataclass(slots=True)
class Observed:
    """What an `Observer` saw of one step.

    Attributes:
        losses: Notes of what `backward` was called on.
        asked: Notes of what `torch.autograd.grad` differentiated by weights.
        inner: The same where its gradients are differentiated again: of a penalty on gradients, of
            a network that solves a differential equation, of a step within a step.
        unscaled: Notes of losses before they were multiplied by a loss scale.
        gradients: `(variable, note)` of what was handed to optimizers, still scaled.
        taken: `(variable, note)` of gradients that were computed, for steps without optimizer.
        scales: The loss scales that were used, as tensors or numbers.
        optimizers: The outermost optimizers that were applied.
        scalers: The gradient scalers that were used.
        differentiated: Whether a gradient was computed.
    """

    losses: list[Any] = field(default_factory=list)
    asked: list[Any] = field(default_factory=list)
    inner: list[Any] = field(default_factory=list)
    unscaled: list[Any] = field(default_factory=list)
    gradients: list[tuple[Any, Any]] = field(default_factory=list)
    taken: list[tuple[Any, Any]] = field(default_factory=list)
    scales: list[Any] = field(default_factory=list)
    optimizers: list[Any] = field(default_factory=list)
    scalers: list[Any] = field(default_factory=list)
    differentiated: bool = False

    @property
    def handed_over(self) -> list[tuple[Any, Any]]:
        """The gradients that move the weights, with their variables."""
        return self.gradients or self.taken

    @property
    def loss_notes(self) -> list[Any]:
        """Notes of the loss before loss scaling, where it is known."""
        return self.unscaled or self.losses or self.asked or self.inner


class Observer:
    """Records into an `Observed` while active.

    Args:
        note_loss: What to keep of a loss.
        note_gradient: What to keep of a gradient.
        has_optimizer: Whether the step is known to apply one, so that its gradients are seen there.
        seed: What the backward passes of the step start at.

    Example:

    >>> weight = torch.nn.Parameter(torch.ones(2))
    >>> with Observer(torch.Tensor.tolist, torch.Tensor.tolist) as observed:
    ...     (3 * weight).sum().backward()
    >>> observed.losses, [gradient for _, gradient in observed.handed_over]
    ([6.0], [[3.0, 3.0]])
    """

    def __init__(
        self,
        note_loss: Note,
        note_gradient: Note,
        *,
        has_optimizer: bool = False,
        seed: float = 1.0,
    ) -> None:
        self._seed = seed
        self._has_optimizer = has_optimizer
        self._note_loss = note_loss
        self._note_gradient = note_gradient
        self._stack = contextlib.ExitStack()
        self._observed = Observed()
        self._updating = 0
        self._scaling_depth = 0

    def __enter__(self) -> Observed:
        enter = self._stack.enter_context
        enter(replaced(torch.autograd, "_engine_run_backward", self._differentiating))
        for owner in definers(keras.optimizers.Optimizer, "apply"):
            enter(replaced(owner, "apply", self._applying))
        for owner in definers(keras.optimizers.LossScaleOptimizer, "scale_loss"):
            enter(replaced(owner, "scale_loss", self._scaling_loss))
        scaler = torch.amp.GradScaler
        enter(replaced(scaler, "scale", self._scaling))
        for name in ("unscale_", "step", "update"):
            enter(replaced(scaler, name, self._using_scaler))
        for hook in (
            register_optimizer_step_pre_hook(self._stepping),
            register_optimizer_step_post_hook(self._stepped),
        ):
            self._stack.callback(hook.remove)
        return self._observed

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    @property
    def updating(self) -> bool:
        """Whether an optimizer is changing weights now."""
        return self._updating > 0

    @property
    def observed(self) -> Observed:
        """What was seen so far."""
        return self._observed

    # Gradients

    def _differentiating(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def run(tensors: Sequence[Any], *args: Any, **kwargs: Any) -> Any:
            roots = [root for root in tensors if isinstance(root, torch.Tensor)]
            # `torch.autograd.grad` returns the gradients of its inputs, `backward` keeps them.
            fills = kwargs.get("accumulate_grad", True)
            targets = [] if fills else list(args[3])
            if fills or any(map(_is_weight, targets)):
                self._losses(fills=fills, again=args[2]).extend(map(self._note_loss, roots))
            if fills and not self._has_optimizer:
                targets = _leaves_of(roots)
            if self._seed != 1.0 and not args[2]:  # What is differentiated again is no gradient.
                args = (_times(self._seed, args[0]), *args[1:])
            result = original(tensors, *args, **kwargs)
            self._observed.differentiated = True
            self._take(targets, [weight.grad for weight in targets] if fills else result)
            return result

        return run

    def _losses(self, *, fills: bool, again: bool) -> list[Any]:
        """Where to note a root. A batch that gradients are asked of is a leaf as a weight is."""
        if fills:
            return self._observed.losses
        return self._observed.inner if again else self._observed.asked

    def _take(self, weights: Sequence[Any], gradients: Sequence[Any]) -> None:
        for weight, gradient in zip(weights, gradients, strict=False):
            if gradient is not None and _is_weight(weight):
                self._observed.taken.append((weight, self._note_gradient(gradient)))

    # Keras

    def _applying(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def apply(optimizer: Any, grads: Any, trainable_variables: Any = None) -> Any:
            if not self._updating:
                variables = trainable_variables
                if variables is None:
                    variables = optimizer._trainable_variables  # noqa: SLF001 (Keras' own default for the argument)
                grads, variables = list(grads), list(variables)
                self._note_dividing(optimizer)
                self._hand_over(optimizer, variables, grads)
                trainable_variables = variables if trainable_variables is not None else None
            with self._update():
                return original(optimizer, grads, trainable_variables)

        return apply

    def _scaling_loss(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def scale_loss(optimizer: Any, loss: Any, *args: Any, **kwargs: Any) -> Any:
            if not self._scaling_depth:  # A subclass may call its parent's.
                self._note_scaling(optimizer, loss)
            self._scaling_depth += 1
            try:
                return original(optimizer, loss, *args, **kwargs)
            finally:
                self._scaling_depth -= 1

        return scale_loss

    def _note_scaling(self, optimizer: Any, loss: Any) -> None:
        self._observed.unscaled.append(self._note_loss(loss))
        if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
            scale = optimizer.dynamic_scale if optimizer.built else optimizer.initial_scale
            self._observed.scales.append(_kept(scale))

    def _note_dividing(self, optimizer: Any) -> None:
        """The scale that gradients are divided by, where no loss was multiplied by it."""
        scaling = isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
        if scaling and optimizer.built and not self._observed.scales:
            self._observed.scales.append(_kept(optimizer.dynamic_scale))

    # PyTorch

    def _scaling(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def scale(scaler: Any, outputs: Any) -> Any:
            if scaler not in self._observed.scalers:
                self._observed.scalers.append(scaler)
            if isinstance(outputs, torch.Tensor) and scaler.is_enabled():
                self._observed.unscaled.append(self._note_loss(outputs))
                # A scaled one is the scale, and nobody has to wait for its value.
                one = torch.ones((), dtype=torch.float32, device=outputs.device)
                self._observed.scales.append(original(scaler, one))
            return original(scaler, outputs)

        return scale

    def _using_scaler(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def use(scaler: Any, *args: Any, **kwargs: Any) -> Any:
            if args and isinstance(args[0], torch.optim.Optimizer):
                self._note_groups(args[0])
            with self._update():
                return original(scaler, *args, **kwargs)

        return use

    def _stepping(self, optimizer: Any, args: Any, kwargs: Any) -> Any:
        """Returns other arguments where a closure computes the loss within the optimizer's step."""
        self._updating += 1
        closure = _closure(args, kwargs)
        if closure is None:
            self._note_groups(optimizer)
            return None

        def differentiate() -> Any:
            self._updating -= 1
            try:
                return closure()
            finally:
                self._updating += 1

        if "closure" in kwargs:
            return args, {**kwargs, "closure": differentiate}
        return (args[0], differentiate, *args[2:]), kwargs

    def _stepped(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        self._updating -= 1
        if _closure(args, kwargs) is not None:  # Before it ran, gradients were those of before.
            self._note_groups(optimizer)

    def _note_groups(self, optimizer: Any) -> None:
        if optimizer in self._observed.optimizers:
            return
        weights = [weight for group in optimizer.param_groups for weight in group["params"]]
        self._hand_over(optimizer, weights, [weight.grad for weight in weights])

    # Both

    def _hand_over(self, optimizer: Any, variables: Sequence[Any], grads: Sequence[Any]) -> None:
        if optimizer not in self._observed.optimizers:
            self._observed.optimizers.append(optimizer)
        for variable, gradient in zip(variables, grads, strict=False):
            if gradient is not None:
                self._observed.gradients.append((variable, self._note_gradient(gradient)))

    @contextlib.contextmanager
    def _update(self) -> Any:
        self._updating += 1
        try:
            yield
        finally:
            self._updating -= 1


def _times(seed: float, starts: Sequence[Tensor | None]) -> tuple[Tensor | None, ...]:
    """What backward passes start at, times a number; a tracer does not see it, nor takes it."""
    with _disable_current_modes():
        return tuple(None if start is None else start * seed for start in starts)


def _kept(scale: Any) -> Any:
    return scale.value.detach().clone() if isinstance(scale, keras.Variable) else scale


def _closure(args: Sequence[Any], kwargs: dict[str, Any]) -> Callable[[], Any] | None:
    """What an optimizer's step is given to compute the loss with."""
    closure: Callable[[], Any] | None = kwargs.get("closure", args[1] if len(args) > 1 else None)
    return closure


def _is_weight(tensor: Any) -> bool:
    return isinstance(tensor, torch.Tensor) and tensor.is_leaf and tensor.requires_grad


def _leaves_of(roots: Sequence[Tensor]) -> list[Tensor]:
    """The weights that the roots depend on, in the order in which they are met."""
    found: dict[int, Tensor] = {}
    waiting = [root.grad_fn for root in roots if root.grad_fn is not None]
    seen = set(waiting)
    while waiting:
        node = waiting.pop()
        variable = getattr(node, "variable", None)
        if variable is not None:
            found.setdefault(id(variable), variable)
        for following, _ in node.next_functions:
            if following is not None and following not in seen:
                seen.add(following)
                waiting.append(following)
    return list(found.values())
