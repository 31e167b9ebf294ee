"""What applying a plan changed, as frozen records, and the handle that takes it back."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from types import TracebackType

from floatline.precision.plan import Plan


@dataclass(frozen=True, slots=True)
class LayerChange:
    """A layer whose dtype policy changed.

    Attributes:
        path: Its path below the model; the model's own name for the model itself.
        layer_class: Name of its class.
        before: Name of the policy that it had.
        after: Name of the policy that it has.
        reason: Why, from the rule that holds.
    """

    path: str
    layer_class: str
    before: str
    after: str
    reason: str


@dataclass(frozen=True, slots=True)
class EpsilonChange:
    """A layer that was given another epsilon."""

    path: str
    before: float
    after: float


@dataclass(frozen=True, slots=True)
class VariableChange:
    """A variable of the model or of its optimizer that is kept in another dtype now."""

    path: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Changes:
    """Everything that applying a plan changed.

    Attributes:
        layers: In model order.
        variables: Those that were cast; under mixed policies all stay in float32.
        loss_scaling: What happened to the loss scaling, in words, or None.
        notes: What the user should know besides.
        epsilons: Layers with another epsilon, in model order.
    """

    layers: tuple[LayerChange, ...] = ()
    variables: tuple[VariableChange, ...] = ()
    loss_scaling: str | None = None
    notes: tuple[str, ...] = ()
    epsilons: tuple[EpsilonChange, ...] = ()

    @property
    def any(self) -> bool:
        """Whether the model is another than before, so that its training step is built anew."""
        return bool(self.layers or self.variables or self.loss_scaling or self.epsilons)


class Application:
    """A plan that holds for a model, until it is undone.

    As a context manager it is undone at the end of the block. Several applications to one model
    are undone in the reverse order.

    Attributes:
        plan: The plan.
        changes: What it changed.
    """

    def __init__(self, plan: Plan, changes: Changes, undoing: contextlib.ExitStack) -> None:
        self.plan = plan
        self.changes = changes
        self._undoing = undoing

    def undo(self) -> None:
        """Puts policies, epsilons, loss scaling, optimizer back; once undone it does nothing.

        Weights that training has changed meanwhile keep their values; a variable that was cast
        and not changed since comes back bit for bit.
        """
        self._undoing.close()

    def __enter__(self) -> Application:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.undo()

    def __repr__(self) -> str:
        layers, variables = len(self.changes.layers), len(self.changes.variables)
        return f"<Application: {layers} layers changed, {variables} variables cast>"
