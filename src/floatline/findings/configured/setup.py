"""A model's configuration as it was read: frozen records, plain numbers and text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from floatline.formats import FORMATS, LOW_FORMATS, Format
from floatline.records import SourceLine

Role = Literal[
    "added",
    "root",
    "factor",
    "divisor",
    "selected",
    "lower bound",
    "upper bound",
    "epsilon",
    "mask value",
    "scale",
    "offset",
    "mean",
    "length",
]
"""What a number does: the first seven are told from code, the others from what layers document. One
in a root is added to what the root is taken of, where something else is added to that root."""


@dataclass(frozen=True, slots=True)
class NumberUse:
    """A number that meets values in the compute dtype of a layer.

    Attributes:
        name: How the code or the layer calls it: `"1e-8"`, `"self.eps"`, `"mask_value"`.
        value: As it is written.
        role: What it does there.
        source: The user's line that uses it, where it is known.
        certain: Whether it surely meets values in that dtype; else something may be float32.
        rounded: Whether it is rounded to the format before it is used. PyTorch multiplies and
            divides by numbers of Python in float32.
        spread: Of a mean, the standard deviation of what it is the mean of.
    """

    name: str
    value: float
    role: Role
    source: SourceLine | None = None
    certain: bool = True
    rounded: bool = True
    spread: float | None = None


@dataclass(frozen=True, slots=True)
class IdUse:
    """Numbers of rows, or of classes, that are read from floats.

    Attributes:
        dtype: Float dtype that they have been through.
        rows: How many rows or classes there are.
        given: Whether they are the very input that was cast, and not a part of it.
        source: The user's line that makes integers of them, where it is known.
    """

    dtype: str
    rows: int
    given: bool
    source: SourceLine | None = None


@dataclass(frozen=True, slots=True)
class LayerSetup:
    """One layer as it is set up.

    Attributes:
        path: Its path below the model.
        layer_class: Name of its class.
        compute_dtype: What it computes in.
        source: The user's line that made it, where it is known.
        weight_dtype: What its own trained weights are kept in; None when it has none.
        weights: Number of their elements.
        typical_weight: Median of their magnitudes; None when they are not in half precision.
        numbers: Numbers that meet values in its compute dtype.
        ids: Row numbers that it reads from floats, or None.
        work: Multiplications of one forward pass, of matrix products and convolutions alone.
        sides: Sides of the matrix that it multiplies by.
        inputs_from: Compute dtypes of the layers whose outputs it takes.
        outputs_to: Compute dtypes of the layers that take its outputs.
    """

    path: str
    layer_class: str
    compute_dtype: str
    source: SourceLine | None = None
    weight_dtype: str | None = None
    weights: int = 0
    typical_weight: float | None = None
    numbers: tuple[NumberUse, ...] = ()
    ids: IdUse | None = None
    work: int = 0
    sides: tuple[int, ...] = ()
    inputs_from: tuple[str, ...] = ()
    outputs_to: tuple[str, ...] = ()

    @property
    def low(self) -> Format | None:
        """The half-precision format that it computes in, or None."""
        return FORMATS[self.compute_dtype] if self.compute_dtype in LOW_FORMATS else None


@dataclass(frozen=True, slots=True)
class OutputSetup:
    """An output of the model beside the loss that takes it.

    Attributes:
        layer: Path of the layer that returns it.
        dtype: What that layer computes in.
        activation: Name of the activation at its end, or None.
        loss: Name of the loss, where it is known.
        loss_dtype: What the loss computes in, where it is known.
        takes_logarithm: Whether the loss takes the logarithm of what it is given.
        source: The user's line that made the layer, where it is known.
    """

    layer: str
    dtype: str
    activation: str | None = None
    loss: str | None = None
    loss_dtype: str | None = None
    takes_logarithm: bool = False
    source: SourceLine | None = None


@dataclass(frozen=True, slots=True)
class OptimizerSetup:
    """The optimizer as it is set up.

    Attributes:
        name: Class name of the innermost one.
        loss_scaling: Whether a loss-scale optimizer is around it.
        by_hand: Whether a loop of the user's applies it, which may scale its loss by itself.
        learning_rate: None when it follows a schedule.
        epsilons: What it adds to divisors, by name.
        beta_2: Of those whose update vanishes when 1 - beta_2 does; else None.
        normalises: Whether the first updates of each weight are of the size of the learning rate.
    """

    name: str
    loss_scaling: bool = False
    by_hand: bool = False
    learning_rate: float | None = None
    epsilons: tuple[tuple[str, float], ...] = ()
    beta_2: float | None = None
    normalises: bool = False


@dataclass(frozen=True, slots=True)
class Setup:
    """A model as it is set up.

    Attributes:
        backend: Name of the framework.
        global_policy: Name of Keras' global dtype policy.
        layers: Every layer that computes on floats, in model order.
        model_policy: Name of the model's own policy, which Keras looks at to attach loss scaling.
        optimizer: None when the model is not compiled.
        outputs: What is known of the outputs and their losses.
    """

    backend: str
    global_policy: str
    layers: tuple[LayerSetup, ...]
    model_policy: str = "float32"
    optimizer: OptimizerSetup | None = None
    outputs: tuple[OutputSetup, ...] = ()

    @property
    def low_layers(self) -> tuple[LayerSetup, ...]:
        """The layers that compute in half precision."""
        return tuple(layer for layer in self.layers if layer.low is not None)
