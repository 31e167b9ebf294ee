"""Cost of loss scaling per step, and steps skipped until the scale is right.

The arms (no loss scaling, a constant factor, Keras', Floatline's) train the same model from the
same weights on the same data, in turns in one process, so that what else the machine does meets all
of them; the median of the ratios of neighbours in time is the cost. With a factor, gradients are
not flushed to 0, which has a price of its own on some devices: what Floatline adds to that is its
own part. Prints Markdown.

    python benchmarks/loss_scaling.py --backend jax    sizes for the device that is there
    python benchmarks/loss_scaling.py --small          sizes for a CPU, in bfloat16, because not
                                                       every CPU kernel knows float16
    python benchmarks/loss_scaling.py --costs          only the costs
    python benchmarks/loss_scaling.py --skips          only the skipped steps

What takes long to compile is measured in parts:

    python benchmarks/loss_scaling.py --backend tensorflow --costs --models transformer --layers 4 \
        --arms none Floatline
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
if "--backend" in sys.argv:  # Keras chooses when it is imported.
    os.environ["KERAS_BACKEND"] = sys.argv[sys.argv.index("--backend") + 1]

import keras
import numpy as np
from keras import layers, ops

import floatline


class Size(NamedTuple):
    """How large the models are, and how long each arm runs."""

    layers: int
    width: int
    tokens: int
    batch: int
    mlp_layers: int
    mlp_width: int
    mlp_batch: int
    steps: int
    rounds: int
    policy: str = "mixed_float16"


SMALL = Size(1, 32, 16, 4, 24, 32, 32, steps=10, rounds=5, policy="mixed_bfloat16")
LARGE = Size(12, 1024, 512, 16, 24, 2048, 2048, steps=30, rounds=7)
VOCABULARY, SEEDS = 1000, (11, 1, 2, 3, 4)

Make = Callable[[], keras.optimizers.Optimizer]
ARMS: dict[str, Make] = {
    "none": lambda: keras.optimizers.Adam(1e-4),
    "factor": lambda: keras.optimizers.Adam(1e-4, loss_scale_factor=4096.0),
    "Keras": lambda: keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(1e-4)),
    "Floatline": lambda: floatline.LossScaleOptimizer(keras.optimizers.Adam(1e-4)),
}


def transformer(size: Size) -> tuple[keras.Model, Any, Any]:
    """A decoder that predicts the next token, with data for the steps of one round."""
    tokens = keras.Input((size.tokens,), dtype="int32")
    x = layers.Embedding(VOCABULARY, size.width)(tokens)
    for _ in range(size.layers):
        normal = layers.LayerNormalization()(x)
        heads = max(1, size.width // 64)
        attended = layers.MultiHeadAttention(heads, size.width // heads)(
            normal, normal, use_causal_mask=True
        )
        x = layers.Add()([x, attended])
        hidden = layers.Dense(4 * size.width, "gelu")(layers.LayerNormalization()(x))
        x = layers.Add()([x, layers.Dense(size.width)(hidden)])
    logits = layers.Dense(VOCABULARY, dtype="float32")(layers.LayerNormalization()(x))
    random = np.random.default_rng(0)
    x, y = random.integers(0, VOCABULARY, (2, size.batch * size.steps, size.tokens), "int32")
    return keras.Model(tokens, logits), x, y


def mlp(size: Size) -> tuple[keras.Model, Any, Any]:
    """Dense layers: small work per step, many variables."""
    inputs = x = keras.Input((size.mlp_width,))
    for _ in range(size.mlp_layers):
        x = layers.Dense(size.mlp_width, "relu")(x)
    random = np.random.default_rng(0)
    x_data = random.normal(size=(size.mlp_batch * size.steps, size.mlp_width)).astype("float32")
    y_data = random.integers(0, VOCABULARY, size.mlp_batch * size.steps)
    return keras.Model(inputs, layers.Dense(VOCABULARY, dtype="float32")(x)), x_data, y_data


Build = Callable[[Size], tuple[keras.Model, Any, Any]]
MODELS: dict[str, Build] = {"transformer": transformer, "mlp": mlp}


def step_times_ms(build: Build, size: Size, batch: int, arms: list[str]) -> dict[str, list[float]]:
    """Milliseconds per step of each arm in each round."""
    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy(size.policy)
    models, weights = {}, None
    for name in arms:
        model, x, y = build(size)
        weights = weights or model.get_weights()
        model.set_weights(weights)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(ARMS[name](), loss, auto_scale_loss=False)
        models[name] = model
    x, y = ops.convert_to_tensor(x), ops.convert_to_tensor(y)
    times: dict[str, list[float]] = {name: [] for name in arms}
    for turn in range(size.rounds + 1):
        for name, model in models.items():
            begin = time.perf_counter()
            model.fit(x, y, batch_size=batch, shuffle=False, verbose=0)  # Ends by reading the loss.
            if turn:  # The first one compiles.
                times[name].append(1000 * (time.perf_counter() - begin) / size.steps)
    return times


def cost_table(size: Size, models: list[str], arms: list[str]) -> str:
    """Medians, and their ratios to training without loss scaling and with a constant factor."""
    lines = [
        "| model | loss scaling | ms per step | fastest round | cost | over the factor |",
        "|---|---|---|---|---|---|",
    ]
    for model in models:
        batch = size.batch if model == "transformer" else size.mlp_batch
        times = step_times_ms(MODELS[model], size, batch, arms)
        for name, values in times.items():
            against = [_cost(values, times.get(base)) for base in ("none", "factor")]
            lines.append(
                f"| {model} | {name} | {statistics.median(values):.2f} | {min(values):.2f} "
                f"| {against[0]} | {against[1]} |"
            )
    return "\n".join(lines)


def _cost(values: list[float], base: list[float] | None) -> str:
    """Rounds of one turn are neighbours in time: their ratios are what drift leaves alone."""
    if base is None or base is values:
        return ""
    ratios = [value / other for value, other in zip(values, base, strict=True)]
    return f"{100 * (statistics.median(ratios) - 1):+.1f} %"


class RowNormalizedDense(layers.Layer):
    """The layer of examples/row_sum_division.py on any backend."""

    def __init__(self, units: int) -> None:
        super().__init__()
        self.units = units

    def build(self, input_shape: tuple[int, ...]) -> None:
        """Makes the matrix."""
        self.kernel = self.add_weight(shape=(input_shape[-1], self.units), name="kernel")

    def call(self, inputs: Any) -> Any:
        """Divides every row by its sum; the gradient of that overflows."""
        product = ops.matmul(inputs, self.kernel)
        return product / ops.sum(product, axis=-1, keepdims=True)


def division_model(make: Make) -> keras.Model:
    """10 numbers in, 32 of them divided by their sum, a yes or a no out."""
    output = layers.Dense(1, activation="sigmoid")
    model = keras.Sequential([keras.Input((10,)), RowNormalizedDense(32), output])
    model.compile(make(), "binary_crossentropy", auto_scale_loss=False)
    return model


def skipped_steps(make: Make, seed: int) -> tuple[int, int, float]:
    """Steps of 40 that were skipped, those that a scale of 1 would not skip, the scale at last."""
    keras.utils.set_random_seed(seed)
    keras.config.set_dtype_policy("mixed_float16")
    random = np.random.default_rng(seed)
    x = random.random((100, 10)).astype("float32")
    y = random.integers(0, 2, (100, 1))
    model, probe = division_model(make), division_model(one)
    skipped = avoidable = 0
    for step in range(40):
        rows = random.choice(100, 28 if step % 4 == 3 else 32, replace=False)
        before = _applied(model)
        model.train_on_batch(x[rows], y[rows])
        if _applied(model) == before:
            skipped += 1
            probe.set_weights(model.get_weights())
            before = _applied(probe)
            probe.train_on_batch(x[rows], y[rows])
            avoidable += _applied(probe) > before
    return skipped, avoidable, float(model.optimizer.dynamic_scale.value)


def one() -> keras.optimizers.Optimizer:
    """A loss scale that is always 1."""
    return floatline.LossScaleOptimizer(keras.optimizers.Adam(), scale=floatline.FixedScale(1.0))


def _applied(model: keras.Model) -> int:
    optimizer = model.optimizer
    return int(ops.convert_to_numpy(optimizer.iterations.value)) if optimizer.built else 0


def skip_table() -> str:
    """Skipped steps on the division model, and how many of them a better scale had avoided."""
    scaled: dict[str, Make] = {
        "Keras": lambda: keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(1e-3)),
        "Floatline": lambda: floatline.LossScaleOptimizer(keras.optimizers.Adam(1e-3)),
    }
    lines = ["| seed | " + " | ".join(scaled) + " |", "|---" * (len(scaled) + 1) + "|"]
    for seed in SEEDS:
        cells = [
            f"{skipped} of 40, {avoidable} avoidable (scale {scale:g})"
            for skipped, avoidable, scale in (skipped_steps(make, seed) for make in scaled.values())
        ]
        lines.append(f"| {seed} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def has_gpu() -> bool:
    """Whether the framework under Keras computes on a GPU."""
    where = str(getattr(ops.zeros(1), "device", "")).lower()
    return "gpu" in where or "cuda" in where


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backend", choices=("tensorflow", "jax", "torch"))
    parser.add_argument("--small", action="store_true", help="sizes for a CPU")
    parser.add_argument("--costs", action="store_true", help="only the costs")
    parser.add_argument("--skips", action="store_true", help="only the skipped steps")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--layers", type=int, help="of each model, instead of its usual number")
    parser.add_argument("--rounds", type=int, help="instead of the usual number")
    options = parser.parse_args()
    size = SMALL if options.small or not has_gpu() else LARGE
    depth = options.layers and {"layers": options.layers, "mlp_layers": options.layers}
    size = size._replace(**depth or {}, rounds=options.rounds or size.rounds)
    print(f"Backend {keras.backend.backend()}, Keras {keras.__version__}, {size}\n")
    if not options.skips:
        print(cost_table(size, options.models, options.arms), "\n", flush=True)
    if not options.costs:
        print(skip_table())


if __name__ == "__main__":
    main()
