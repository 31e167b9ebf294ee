"""Every layer class of Keras: how a small one is made and fed, or why it is not looked at."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import keras
from keras import layers

Shape = tuple[int, ...]


def alone(layer: Any, inputs: list[Any]) -> Any:
    """Calls a layer on its inputs, one argument each."""
    return layer(*inputs)


def together(layer: Any, inputs: list[Any]) -> Any:
    """Calls a layer on a list."""
    return layer(inputs)


@dataclass(frozen=True)
class Case:
    """One layer at a small size.

    Attributes:
        name: Class name.
        make: Makes the layer, given its name.
        shapes: Shapes of its inputs, without the batch.
        call: Calls it on its inputs.
        draws: Whether it draws random numbers, which are other ones in another format.
        classes: The input is a class number below this, or 0 for floats.
        writes: Whether it changes its weights itself, so that a step shows no gradient of them.
    """

    name: str
    make: Callable[[str], Any]
    shapes: tuple[Shape, ...]
    call: Callable[[Any, list[Any]], Any] = alone
    draws: bool = False
    classes: int = 0
    writes: bool = False


def inside(layer: Any, inputs: list[Any]) -> Any:
    """Calls a layer from within another.

    As a node of a model Keras gives some image layers the very tensor that they read as their
    result, and calls that a cycle.
    """
    return Inside(layer, name=f"inside_{layer.name}")(*inputs)


def coloured(layer: Any, inputs: list[Any]) -> Any:
    """Calls a layer on colours between 0 and 1, a tensor of its own.

    RandomBrightness adds to its very input on PyTorch, so no other layer may need that.
    """
    return inside(layer, [0.5 + 0.4 * inputs[0]])


class Inside(layers.Layer):  # type: ignore[misc]  # (Keras carries no types)
    """Calls the layer that it holds."""

    def __init__(self, layer: Any, **given: Any) -> None:
        super().__init__(**given)
        self.layer = layer

    def call(self, inputs: Any, training: bool = False) -> Any:
        return self.layer(inputs, training=training)


LINE, IMAGE, VOLUME = (6, 4), (6, 6, 3), (4, 4, 4, 2)
SPACE = {1: LINE, 2: IMAGE, 3: VOLUME}


def _case(name: str, *shapes: Shape, call: Any = alone, draws: bool = False, **given: Any) -> Case:
    return Case(name, lambda n: getattr(layers, name)(**given, name=n), shapes, call, draws)


def _simple() -> Iterator[Case]:
    yield _case("Activation", LINE, activation="gelu")
    yield _case("Dense", LINE, units=3, activation="tanh")
    yield _case("EinsumDense", LINE, equation="abc,cd->abd", output_shape=(6, 5))
    yield _case("ELU", LINE)
    yield _case("LeakyReLU", LINE)
    yield _case("PReLU", LINE, alpha_initializer="ones")
    yield _case("ReLU", LINE)
    yield _case("Softmax", LINE)
    yield _case("ActivityRegularization", LINE, l1=0.01, l2=0.01)
    yield Case("Lambda", lambda n: layers.Lambda(keras.ops.sin, name=n), (LINE,))
    yield Case("Embedding", lambda n: layers.Embedding(7, 4, name=n), ((5,),), classes=7)
    yield Case(
        "ReversibleEmbedding",
        lambda n: layers.ReversibleEmbedding(7, 4, name=n),
        ((5,),),
        lambda layer, inputs: layer(layer(inputs[0]), reverse=True),
        classes=7,
    )
    yield _case("Rescaling", LINE, scale=0.3, offset=0.1)
    yield _case("Normalization", LINE, mean=0.2, variance=0.7)


def _attention() -> Iterator[Case]:
    yield _case("AdditiveAttention", LINE, LINE, call=together)
    yield _case("Attention", LINE, LINE, call=together, use_scale=True)
    yield _case("MultiHeadAttention", LINE, LINE, num_heads=2, key_dim=3)
    yield Case(
        "GroupedQueryAttention",
        lambda n: layers.GroupQueryAttention(3, 4, 2, name=n),
        (LINE, LINE),
    )


def _normalization() -> Iterator[Case]:
    yield _case("BatchNormalization", LINE)
    yield _case("LayerNormalization", LINE)
    yield _case("RMSNormalization", LINE)
    yield _case("GroupNormalization", LINE, groups=2)
    yield _case("UnitNormalization", LINE)


def _spectral() -> Iterator[Case]:
    yield Case(
        "SpectralNormalization",
        lambda n: layers.SpectralNormalization(layers.Dense(3), name=n),
        (LINE,),
        lambda layer, inputs: layer(*inputs, training=True),
        writes=True,
    )


def _convolutions() -> Iterator[Case]:
    for n, shape in SPACE.items():
        yield _case(f"Conv{n}D", shape, filters=2, kernel_size=3, padding="same")
        yield _case(f"Conv{n}DTranspose", shape, filters=2, kernel_size=3, strides=2)
        yield _case(f"ConvLSTM{n}D", (2, *shape), filters=2, kernel_size=2)
    for n in (1, 2):
        yield _case(f"DepthwiseConv{n}D", SPACE[n], kernel_size=3)
        yield _case(f"SeparableConv{n}D", SPACE[n], filters=2, kernel_size=3)


def _pooling() -> Iterator[Case]:
    for n, shape in SPACE.items():
        for kind in ("Average", "Max"):
            yield _case(f"{kind}Pooling{n}D", shape, pool_size=2)
            yield _case(f"Adaptive{kind}Pooling{n}D", shape, output_size=2)
            yield _case(f"Global{kind}Pooling{n}D", shape)


def _merging() -> Iterator[Case]:
    for name in ("Add", "Average", "Concatenate", "Maximum", "Minimum", "Multiply", "Subtract"):
        yield _case(name, LINE, LINE, call=together)
    yield _case("Dot", LINE, LINE, call=together, axes=2, normalize=True)


def _moving() -> Iterator[Case]:
    for n, shape in SPACE.items():
        yield _case(f"Cropping{n}D", shape, cropping=1)
        yield _case(f"UpSampling{n}D", shape, size=2)
        yield _case(f"ZeroPadding{n}D", shape, padding=1)
    yield _case("Flatten", LINE)
    yield _case("Identity", LINE)
    yield _case("Masking", LINE)
    yield _case("Permute", LINE, dims=(2, 1))
    yield _case("RepeatVector", (4,), n=3)
    yield _case("Reshape", LINE, target_shape=(4, 6))


def _recurrent() -> Iterator[Case]:
    for name in ("LSTM", "GRU", "SimpleRNN"):
        yield _case(name, LINE, units=3)
    yield Case("LSTMCell", lambda n: layers.LSTMCell(3, name=n), ((4,), (3,), (3,)), _cell)
    yield Case("GRUCell", lambda n: layers.GRUCell(3, name=n), ((4,), (3,)), _cell)
    yield Case("SimpleRNNCell", lambda n: layers.SimpleRNNCell(3, name=n), ((4,), (3,)), _cell)
    yield Case("RNN", lambda n: layers.RNN(layers.GRUCell(3), name=n), (LINE,))
    yield Case(
        "StackedRNNCells",
        lambda n: layers.RNN(
            layers.StackedRNNCells([layers.GRUCell(3), layers.SimpleRNNCell(2)]), name=n
        ),
        (LINE,),
    )
    yield Case("Bidirectional", lambda n: layers.Bidirectional(layers.GRU(2), name=n), (LINE,))
    yield Case(
        "TimeDistributed", lambda n: layers.TimeDistributed(layers.Dense(2), name=n), (LINE,)
    )


def _cell(layer: Any, inputs: list[Any]) -> Any:
    return layer(inputs[0], inputs[1:])[0]


def _images() -> Iterator[Case]:
    yield _case("CenterCrop", IMAGE, call=inside, height=4, width=4)
    yield _case("Resizing", IMAGE, call=inside, height=4, width=5)
    yield _case("AutoContrast", IMAGE, call=inside, value_range=(-1, 1))
    yield _case("Solarization", IMAGE, call=inside, value_range=(-1, 1))
    yield _case("Equalization", IMAGE, call=inside, value_range=(-1, 1))
    yield _case(
        "ContrastLimitedAdaptiveHistogramEqualization", IMAGE, call=inside, value_range=(-1, 1)
    )


def _augmentations() -> Iterator[Case]:
    """Layers that change images at random, set to one strength wherever that settles the change."""
    placed: dict[str, Any] = {"call": inside, "seed": 1}
    given = placed | {"value_range": (-1, 1)}
    yield _case("RandomColorDegeneration", IMAGE, **given, factor=(0.3, 0.3))
    yield _case("RandomContrast", IMAGE, **given, draws=True, factor=0.3)
    yield _case("RandomErasing", IMAGE, **given, draws=True, factor=(1, 1), fill_value=0.2)
    yield _case("RandomGaussianBlur", IMAGE, **given, factor=(1, 1), sigma=(0.8, 0.8))
    yield _case("RandomInvert", IMAGE, **given, factor=(1, 1))
    yield _case("RandomPosterization", IMAGE, **given, factor=(3, 3))
    yield _case("RandomSharpness", IMAGE, **given, factor=(0.3, 0.3))
    colours = given | {"call": coloured, "value_range": (0, 1)}
    yield _case("RandomBrightness", IMAGE, **colours, factor=(0.1, 0.1))
    yield _case("RandomHue", IMAGE, **colours, draws=True, factor=(0.2, 0.2))
    yield _case("RandomSaturation", IMAGE, **colours, factor=(0.4, 0.4))
    jitter: dict[str, Any] = {"brightness_factor": (0.1, 0.1), "saturation_factor": (0.4, 0.4)}
    yield _case("RandomColorJitter", IMAGE, **colours, **jitter)
    yield _case("RandomGrayscale", IMAGE, **placed, factor=1.0)
    yield _case("RandomCrop", IMAGE, **placed, draws=True, height=4, width=5)
    yield _case("RandomFlip", IMAGE, **placed, draws=True)
    yield _case("RandomPerspective", IMAGE, **placed, draws=True, factor=(1, 1), scale=0.3)
    yield _case("RandomRotation", IMAGE, **placed, factor=(0.1, 0.1))
    yield _case("RandomShear", IMAGE, **placed, draws=True, x_factor=(0.25, 0.25))
    shares: dict[str, Any] = {"height_factor": (0.2, 0.2), "width_factor": (0.1, 0.1)}
    yield _case("RandomTranslation", IMAGE, **placed, **shares)
    yield _case("RandomZoom", IMAGE, **placed, **shares)


def _random() -> Iterator[Case]:
    for name in ("Dropout", "AlphaDropout", "GaussianDropout"):
        yield _case(name, LINE, draws=True, rate=0.4, seed=1)
    yield _case("GaussianNoise", LINE, draws=True, stddev=0.1, seed=1)
    for n, shape in SPACE.items():
        yield _case(f"SpatialDropout{n}D", shape, draws=True, rate=0.4, seed=1)


def _sound() -> Iterator[Case]:
    yield _case("STFTSpectrogram", (48, 1), frame_length=16, frame_step=8, fft_length=16)
    yield _case("MelSpectrogram", (48,), fft_length=16, sequence_stride=8, num_mel_bins=4)


GROUPS: dict[str, tuple[Case, ...]] = {
    make.__name__.strip("_"): tuple(make())
    for make in (
        _simple,
        _attention,
        _normalization,
        _spectral,
        _convolutions,
        _pooling,
        _merging,
        _moving,
        _recurrent,
        _images,
        _augmentations,
        _random,
        _sound,
    )
}
"""Layers that are examined in one model, side by side."""

IMPOSSIBLE = {
    "jax": {
        "MultiHeadAttention": "F16_F16_F32",
        "GroupedQueryAttention": "F16_F16_F32",
    },
    "tensorflow": {
        "ActivityRegularization": "Cannot convert a list containing a tensor of dtype",
        "AdaptiveAveragePooling3D": "No OpKernel was registered to support Op 'AvgPool3D'",
        "AdaptiveMaxPooling3D": "No OpKernel was registered to support Op 'MaxPool3D'",
        "AveragePooling3D": "No OpKernel was registered to support Op 'AvgPool3D'",
        "MaxPooling3D": "No OpKernel was registered to support Op 'MaxPool3D'",
        "RandomErasing": "Unsupported dtype19 for .*Range",
        "RandomGaussianBlur": "Unsupported dtype19 for .*Range",
    },
    "torch": {
        "AveragePooling3D": "avg_pool3d_out_frame",
    },
}
"""Layers that Keras itself cannot train under mixed_float16 on a backend's CPU, with its error.

One with weights stands last in its group: the values of a weight depend on the layers before it.
"""

UNCOMPILED = {"jax": ("RandomCrop",), "tensorflow": (), "torch": ()}
"""Layers that a backend cannot compile: Keras runs their steps uncompiled, operation by operation,
and what JAX does not compile it cannot hand to a trace."""

OTHERWISE = {
    "jax": {},
    "tensorflow": {},
    "torch": {
        "SpectralNormalization": "under autocast Keras writes its new kernel to a copy in 16 bits",
    },
}
"""Layers of which Keras computes another thing under mixed_float16 than in float32."""

IN_PIECES = {"jax": ("convolutions",), "tensorflow": (), "torch": ()}
"""Groups whose traced step is so large that a backend compiles it in pieces, as it does networks.

Then XLA does not see a sum of halves together with what it adds up, and rounds on the way.
"""

UNLIKE: dict[str, dict[str, str]] = {
    "jax": {},
    "tensorflow": {},
    "torch": {
        "ContrastLimitedAdaptiveHistogramEqualization": (
            "Keras counts in integers there, which rounds the limit of a histogram to 0, and its "
            "symmetric padding repeats the edge"
        ),
    },
}
"""Layers of which Keras computes another thing on a backend than on the others."""

LEFT_OUT = {
    "Layer": "the base class",
    "Wrapper": "the base class of layers around a layer",
    "InputLayer": "computes nothing",
    "Pipeline": "calls other layers",
    "AugMix": "calls other layers, chosen by Python's own generator whenever a step is built",
    "RandAugment": "calls other layers, each of which is examined",
    "RandomElasticTransform": "draws without its seed on PyTorch, and JAX cannot compile it",
    "FlaxLayer": "wraps a module of Flax",
    "JaxLayer": "wraps a function of JAX",
    "TFSMLayer": "wraps a model that TensorFlow saved",
    "TorchModuleWrapper": "wraps a module of PyTorch",
    "CategoryEncoding": "reads integers",
    "Discretization": "gives integers",
    "HashedCrossing": "reads integers or text",
    "Hashing": "reads integers or text",
    "IntegerLookup": "reads integers",
    "StringLookup": "reads text",
    "TextVectorization": "reads text",
    "MaxNumBoundingBoxes": "pads boxes while data is loaded",
    "MixUp": "mixes images with labels while data is loaded",
    "CutMix": "mixes images with labels while data is loaded",
}
"""Why a layer class is not examined."""


def layer_classes() -> set[str]:
    """Names of every public layer class of Keras, each once."""
    found = (getattr(layers, name) for name in dir(layers))
    return {c.__name__ for c in found if isinstance(c, type) and issubclass(c, keras.Layer)}
