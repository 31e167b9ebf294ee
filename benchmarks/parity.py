"""Does training in mixed_float16 end where float32 ends? Final losses from several seeds.

A seed decides the first weights and the data; both precisions start from the same. Float32's own
spread over the seeds is the yardstick. Prints Markdown.

    KERAS_BACKEND=jax python benchmarks/parity.py
    python benchmarks/parity.py --model lstm --seeds 3 --steps 100
"""

from __future__ import annotations

import argparse
import os
import statistics
from collections.abc import Callable
from typing import Any, NamedTuple

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import loss_scaling
import numpy as np
from keras import layers, ops

import floatline

TAIL = 50
"""Steps at the end whose mean loss is the final loss: the loss of one batch is mostly noise."""
CLASSES, SYMBOLS, TOKENS, IMAGE = 10, 64, 128, 64
POLICIES = ("float32", "mixed_float16")


class Task(NamedTuple):
    """What is learned.

    Attributes:
        build: Makes the model, which ends in logits.
        data: From a generator and a number, so many inputs and targets.
        batch: Examples in a step.
    """

    build: Callable[[], keras.Model]
    data: Callable[[np.random.Generator, int], tuple[Any, Any]]
    batch: int


def transformer() -> keras.Model:
    """The decoder of the other benchmarks, in four layers."""
    size = loss_scaling.LARGE._replace(layers=4, width=256, tokens=TOKENS)
    return loss_scaling.transformer(size._replace(batch=1, steps=1))[0]


def lstm() -> keras.Model:
    """Two LSTM layers that predict the next symbol."""
    symbols = keras.Input((TOKENS,), dtype="int32")
    x = layers.Embedding(SYMBOLS, 128)(symbols)
    x = layers.LSTM(256, return_sequences=True)(x)
    x = layers.LSTM(256, return_sequences=True)(x)
    return keras.Model(symbols, layers.Dense(SYMBOLS, dtype="float32")(x))


def resnet() -> keras.Model:
    """ResNet-50 for small images."""
    shape = (IMAGE, IMAGE, 3)
    body = keras.applications.ResNet50(weights=None, input_shape=shape, include_top=False)
    pooled = layers.GlobalAveragePooling2D()(body.output)
    return keras.Model(body.input, layers.Dense(CLASSES, dtype="float32")(pooled))


def text(random: np.random.Generator, count: int) -> tuple[Any, Any]:
    """Sequences in which a symbol follows from the two before it, save for one in ten."""
    table = random.integers(0, SYMBOLS, (SYMBOLS, SYMBOLS))
    symbols = random.integers(0, SYMBOLS, (count, TOKENS + 1))
    follows = random.random(symbols.shape) < 0.9
    for place in range(2, TOKENS + 1):
        rule = table[symbols[:, place - 2], symbols[:, place - 1]]
        symbols[:, place] = np.where(follows[:, place], rule, symbols[:, place])
    return symbols[:, :-1].astype("int32"), symbols[:, 1:].astype("int32")


def images(random: np.random.Generator, count: int) -> tuple[Any, Any]:
    """A faint pattern for each class under noise."""
    patterns = random.normal(size=(CLASSES, IMAGE, IMAGE, 3)).astype("float32")
    classes = random.integers(0, CLASSES, count).astype("int32")
    noise = random.standard_normal((count, IMAGE, IMAGE, 3), dtype="float32")
    return 0.1 * patterns[classes] + noise, classes


TASKS = {
    "transformer": Task(transformer, text, 32),
    "lstm": Task(lstm, text, 32),
    "resnet": Task(resnet, images, 32),
}


def final_losses(task: Task, policy: str, seeds: int, steps: int) -> list[float]:
    """The loss at the end of each training; the step is compiled once for all of them."""
    keras.config.set_dtype_policy(policy)
    model = task.build()
    inner = keras.optimizers.Adam(1e-3)
    optimizer = floatline.LossScaleOptimizer(inner) if policy == "mixed_float16" else inner
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss, auto_scale_loss=False)
    optimizer.build(model.trainable_variables)
    untrained = [ops.convert_to_numpy(variable) for variable in optimizer.variables]
    return [_trained(model, untrained, task, seed, steps) for seed in range(seeds)]


def _trained(model: Any, untrained: list[Any], task: Task, seed: int, steps: int) -> float:
    for variable, value in zip(model.optimizer.variables, untrained, strict=True):
        variable.assign(value)
    model.set_weights(_first_weights(task, seed))
    x, y = task.data(np.random.default_rng(seed), task.batch * (steps + TAIL))
    border = task.batch * steps
    fit = {"batch_size": task.batch, "shuffle": False, "verbose": 0}
    model.fit(x[:border], y[:border], **fit)
    loss = model.fit(x[border:], y[border:], **fit).history["loss"][-1]
    return float(ops.convert_to_numpy(loss))


def _first_weights(task: Task, seed: int) -> list[Any]:
    keras.utils.set_random_seed(seed)
    weights: list[Any] = task.build().get_weights()
    return weights


def line(name: str, found: dict[str, list[float]]) -> str:
    """Means, float32's spread, and whether the means lie within it."""
    full, half = (found[policy] for policy in POLICIES)
    spread = statistics.stdev(full)
    apart = statistics.mean(half) - statistics.mean(full)
    pairs = " ".join(f"{a:.4f}/{b:.4f}" for a, b in zip(full, half, strict=True))
    return (
        f"| {name} | {statistics.mean(full):.4f} | {spread:.4f} | {statistics.mean(half):.4f} "
        f"| {apart:+.4f} | {'yes' if abs(apart) <= spread else 'no'} | {pairs} |"
    )


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--model", choices=list(TASKS), help="only this model")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=300)
    asked = parser.parse_args()
    print(f"Backend {keras.backend.backend()}, Keras {keras.__version__}, {asked}\n")
    print(
        "| model | float32 | its spread | mixed_float16 | difference | within the spread "
        "| each seed, float32/mixed_float16 |\n|---|---|---|---|---|---|---|"
    )
    for name in [asked.model] if asked.model else TASKS:
        found = {p: final_losses(TASKS[name], p, asked.seeds, asked.steps) for p in POLICIES}
        print(line(name, found), flush=True)


if __name__ == "__main__":
    main()
