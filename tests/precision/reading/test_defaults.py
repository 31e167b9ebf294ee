"""Keras' own layers, as they are by default, are nowhere said to be wrong."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import keras
import pytest

from floatline.findings.configured.setup import Setup
from floatline.findings.configured.table import configuration_notes
from floatline.formats import LOW_FORMATS
from floatline.precision.forward import Forward
from floatline.precision.reading.layer import layer_setup
from floatline.precision.reading.model import no_line

ARGUMENTS: Mapping[str, Any] = MappingProxyType(
    {
        "activation": "relu",
        "output_size": 2,
        "rate": 0.1,
        "pool_size": 2,
        "height": 4,
        "width": 4,
        "filters": 4,
        "kernel_size": 3,
        "axes": 1,
        "equation": "ab,bc->ac",
        "output_shape": 4,
        "input_dim": 8,
        "output_dim": 4,
        "units": 4,
        "stddev": 0.1,
        "head_dim": 4,
        "num_query_heads": 2,
        "num_key_value_heads": 2,
        "num_bins": 4,
        "function": abs,
        "max_number": 4,
        "num_heads": 2,
        "key_dim": 4,
        "dims": (1,),
        "factor": 0.1,
        "height_factor": 0.1,
        "width_factor": 0.1,
        "n": 2,
        "scale": 1 / 255,
        "target_shape": (4,),
    }
)
"""What classes ask for that have no default of their own, by the name of the argument."""

NEEDED: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "CategoryEncoding": {"num_tokens": 4},
        "Discretization": {"bin_boundaries": (0.0, 1.0)},
        "Hashing": {"output_mode": "multi_hot"},
        "RandomPosterization": {"factor": 4},
    }
)
"""What single classes need so that they take a float dtype."""

INSIDE = {
    "RNN": ("cell", keras.layers.LSTMCell),
    "StackedRNNCells": ("cells", None),
    "Bidirectional": ("layer", keras.layers.LSTM),
    "TimeDistributed": ("layer", keras.layers.Dense),
    "SpectralNormalization": ("layer", keras.layers.Dense),
    "Wrapper": ("layer", keras.layers.Dense),
}

FOREIGN = ("FlaxLayer", "JaxLayer", "TFSMLayer", "TorchModuleWrapper", "InputLayer", "Pipeline")
"""Around code that is not Keras', or no layer that computes or takes a dtype."""

NAMES = sorted(
    name
    for name, cls in vars(keras.layers).items()
    if isinstance(cls, type) and issubclass(cls, keras.Layer) and name not in FOREIGN
)


def made(name: str, dtype: str) -> Any:
    cls = getattr(keras.layers, name)
    if name in INSIDE:
        argument, inner = INSIDE[name]
        given = inner(4, dtype=dtype) if inner else [keras.layers.LSTMCell(4, dtype=dtype)]
        return cls(**{argument: given}, dtype=dtype)
    parameters = inspect.signature(cls.__init__).parameters
    asked = [p.name for p in parameters.values() if p.default is p.empty and p.name in ARGUMENTS]
    options = {word: ARGUMENTS[word] for word in asked} | dict(NEEDED.get(name, {}))
    return cls(**options, dtype=dtype)


@pytest.mark.parametrize("dtype", ["mixed_float16", "float16"])
@pytest.mark.parametrize("name", NAMES)
def test_a_layer_by_default_is_not_wrong(name: str, dtype: str) -> None:
    layer = made(name, dtype)
    read = layer_setup(layer, name, Forward(), no_line)
    found = configuration_notes(Setup(keras.backend.backend(), "float32", (read,)))
    assert [note for note in found if note.grade == "wrong"] == []
    if name != "UnitNormalization":
        assert found == ()


def test_the_law_reads_layers_in_half_precision() -> None:
    low = [name for name in NAMES if made(name, "mixed_float16").compute_dtype in LOW_FORMATS]
    assert len(low) > len(NAMES) / 2
    assert {"BatchNormalization", "LayerNormalization", "UnitNormalization", "Masking"} <= set(low)


def test_the_law_can_fail() -> None:
    layer = keras.layers.Rescaling(1e-9, dtype="mixed_float16")
    read = layer_setup(layer, "rescaling", Forward(), no_line)
    (note,) = configuration_notes(Setup(keras.backend.backend(), "float32", (read,)))
    assert note.grade == "wrong"
