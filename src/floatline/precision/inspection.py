"""What `floatline.inspect` finds, as frozen records; also as JSON and as a DataFrame."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from floatline.errors import InputError
from floatline.findings.configured.note import ConfigurationNote

if TYPE_CHECKING:
    import pandas

SCHEMA_VERSION = 1
"""Grows when a key of the JSON form goes or changes its meaning."""


@dataclass(frozen=True, slots=True)
class Dimension:
    """A side of a matrix product that misses the tensor cores.

    Attributes:
        name: Which side: `"inputs"` (summed over), `"outputs"` or `"units"`.
        size: Its present size.
        good_size: The next size that suits.
    """

    name: str
    size: int
    good_size: int


@dataclass(frozen=True, slots=True)
class LayerInspection:
    """One layer as it really computes.

    Attributes:
        path: Its path below the model; the model's own name for the model itself.
        layer_class: Name of its class.
        policy: Name of its dtype policy.
        variable_dtype: Dtype that its weights are kept in; None when it has none of its own.
        compute_dtype: Dtype that its inputs and weights are cast to.
        input_dtypes: Dtypes of what it was given; empty when it was not run.
        output_dtypes: Dtypes of what it returned; empty when it was not run.
        parameters: Number of its own weights' elements, without its sublayers'.
        castable_parameters: Those among them that a mixed policy casts.
        parameter_bytes: Bytes of all, as they are kept.
        copy_bytes: Bytes of the casts of its weights that each forward pass makes.
        activation_bytes: Bytes of its outputs; 0 for layers whose outputs are their sublayers'.
        activations: Elements of those outputs, of float dtypes only.
        input_casts: Float inputs that were cast.
        weight_casts: Weights that were cast.
        keeps_float32: Why something stays float32 in it although it is asked for less, or why
            the layer is float32 altogether; None when neither is so.
        misfits: Dimensions that miss the tensor cores.
    """

    path: str
    layer_class: str
    policy: str
    variable_dtype: str | None
    compute_dtype: str
    input_dtypes: tuple[str, ...] = ()
    output_dtypes: tuple[str, ...] = ()
    parameters: int = 0
    castable_parameters: int = 0
    parameter_bytes: int = 0
    copy_bytes: int = 0
    activation_bytes: int = 0
    activations: int = 0
    input_casts: int = 0
    weight_casts: int = 0
    keeps_float32: str | None = None
    misfits: tuple[Dimension, ...] = ()


@dataclass(frozen=True, slots=True)
class PolicyBytes:
    """Memory if every layer had the same policy.

    Attributes:
        policy: Its name.
        parameter_bytes: Weights as they are kept.
        copy_bytes: Casts of the weights that each forward pass makes.
        activation_bytes: Outputs of all layers for one batch.
    """

    policy: str
    parameter_bytes: int
    copy_bytes: int
    activation_bytes: int


@dataclass(frozen=True, slots=True)
class Inspection:
    """A model as it really computes.

    Attributes:
        model: The model's name.
        batch_size: Examples per batch that activations are counted for.
        layers: Every layer that computes on floats, in model order.
        policies: The same model under each policy.
        optimizer: Class name of the innermost optimizer, or None.
        loss_scaling: The loss scale in words, or None.
        notes: What a reader must know to judge the figures.
        configuration: Root causes that are found without a run, what is wrong first.
    """

    model: str
    batch_size: int
    layers: tuple[LayerInspection, ...]
    policies: tuple[PolicyBytes, ...]
    optimizer: str | None = None
    loss_scaling: str | None = None
    notes: tuple[str, ...] = ()
    configuration: tuple[ConfigurationNote, ...] = ()

    @property
    def parameter_bytes(self) -> int:
        """Bytes of all weights as they are kept."""
        return sum(layer.parameter_bytes for layer in self.layers)

    @property
    def copy_bytes(self) -> int:
        """Bytes of all casts of weights that one forward pass makes."""
        return sum(layer.copy_bytes for layer in self.layers)

    @property
    def activation_bytes(self) -> int:
        """Bytes of all outputs of layers for one batch."""
        return sum(layer.activation_bytes for layer in self.layers)

    @property
    def casts(self) -> int:
        """Number of casts, of inputs and of weights, in one forward pass."""
        return sum(layer.input_casts + layer.weight_casts for layer in self.layers)

    def to_dict(self) -> dict[str, Any]:
        """The inspection as plain values, totals included."""
        totals = ("parameter_bytes", "copy_bytes", "activation_bytes", "casts")
        return {
            "schema_version": SCHEMA_VERSION,
            **dataclasses.asdict(self),
            **{name: getattr(self, name) for name in totals},
        }

    def to_json(self) -> str:
        """`to_dict` as JSON text with a newline at its end."""
        return json.dumps(self.to_dict(), indent=1, allow_nan=False, ensure_ascii=False) + "\n"

    def _repr_html_(self) -> str:
        """The headline and a table of the layers, for a notebook."""
        from floatline.report.html.cards import inspection_card

        return inspection_card(self)

    def to_dataframe(self) -> pandas.DataFrame:
        """A pandas DataFrame with a row per layer; `notes` has the rules of its configuration.

        Raises:
            InputError: pandas is not installed.
        """
        said: dict[str | None, list[str]] = {}
        for note in self.configuration:
            said.setdefault(note.layer, []).append(f"{note.grade} {note.rule}")
        return _pandas().DataFrame(
            [
                {**dataclasses.asdict(layer), "notes": ", ".join(said.get(layer.path, ()))}
                for layer in self.layers
            ]
        )

    def notes_to_dataframe(self) -> pandas.DataFrame:
        """A pandas DataFrame with a row per configuration note.

        Raises:
            InputError: pandas is not installed.
        """
        columns = [field.name for field in dataclasses.fields(ConfigurationNote)]
        rows = [dataclasses.asdict(note) for note in self.configuration]
        return _pandas().DataFrame(rows, columns=columns)


def _pandas() -> Any:
    try:
        import pandas
    except ModuleNotFoundError as error:
        raise InputError(
            "A DataFrame needs pandas, which is not installed.",
            "Run `pip install pandas`, or use to_dict or to_json.",
        ) from error
    return pandas
