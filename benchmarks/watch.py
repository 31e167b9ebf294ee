"""Cost of a watch per step, beside hooks that look more often, and into more.

All arms train on the same data, in turns in one process, each round beginning with another one, so
that what else the machine does meets all of them. Arms whose step is the same share one model: what
is compiled and tuned anew may differ by a percent by itself. A cost is the median of the rounds'
ratios to plain training, with the quartiles as its spread. A sample is rare, so its cost is
measured by itself, in an arm that takes many, and spread as the watch would. Prints Markdown.

    KERAS_BACKEND=jax python benchmarks/watch.py              sizes for the device that is there
    python benchmarks/watch.py --small                        sizes for a CPU
    python benchmarks/watch.py --model resnet                 only one of the models
    python benchmarks/watch.py --no-peers                     only the watch
    python benchmarks/watch.py --steady                       without what a fit begins with
    python benchmarks/watch.py --seconds 120                  no new round of a model after so long
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import loss_scaling
import numpy as np
from keras import ops

import floatline
from floatline.watch.pace import Pace, steps_between

BACKEND = keras.backend.backend()
OFTEN = 10
"""Steps between two samples in the arm that measures what a sample costs."""

SHORT = 5
"""With `--steady`, a fit of so many times fewer steps is taken off."""

PLAIN, READS, SAMPLES = "plain", "Watch, readings only", f"Watch, a sample every {OFTEN}"


class Size(NamedTuple):
    """How large the models are, and how long each arm runs in a round."""

    transformer: loss_scaling.Size
    image: int
    images: int
    steps: int
    rounds: int


SMALL = Size(loss_scaling.SMALL._replace(steps=100, width=128, tokens=64), 64, 8, 100, 5)
LARGE = Size(loss_scaling.LARGE._replace(steps=100), 224, 128, 100, 7)


class Arm(NamedTuple):
    """A way to train.

    Attributes:
        callbacks: Makes the callbacks.
        hook: Is active while the arm trains, and while its step is compiled.
        eager: Whether the step is not compiled.
    """

    callbacks: Callable[[str], list[Any]] = lambda _folder: []
    hook: Callable[[], contextlib.AbstractContextManager[Any]] = contextlib.nullcontext
    eager: bool = False

    @property
    def compiles(self) -> bool:
        """Whether its step is another one than that of plain training."""
        return self.eager or self.hook is not contextlib.nullcontext


def watches(every: int, read_every: int = 25) -> Arm:
    """Training under watch, with a sample and a reading every so many steps."""
    return Arm(lambda folder: [floatline.Watch(folder, every=every, read_every=read_every)])


class ReadsEveryWeight(keras.callbacks.Callback):
    """Looks at every weight after each step, as a debugging callback written by hand does."""

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Stops at the first weight that is not finite."""
        del batch, logs
        for variable in self.model.trainable_variables:
            if not np.isfinite(ops.convert_to_numpy(variable)).all():
                self.model.stop_training = True


@contextlib.contextmanager
def check_numerics() -> Iterator[None]:
    """TensorFlow's check of every operation."""
    import tensorflow as tf

    tf.debugging.enable_check_numerics()
    try:
        yield
    finally:
        tf.debugging.disable_check_numerics()


def detect_anomaly() -> contextlib.AbstractContextManager[Any]:
    """PyTorch's check of every gradient."""
    import torch

    return torch.autograd.detect_anomaly()


def debug_nans() -> contextlib.AbstractContextManager[Any]:
    """JAX' check of every compiled call."""
    import jax

    return jax.debug_nans(True)


CALLBACKS = {
    "TerminateOnNaN": Arm(lambda _: [keras.callbacks.TerminateOnNaN()]),
    "a callback that reads every weight": Arm(lambda _: [ReadsEveryWeight()]),
}
PEERS = {
    "tensorflow": {
        "tf.debugging.enable_check_numerics": Arm(hook=check_numerics),
        "run_eagerly": Arm(eager=True),
    },
    "jax": {"jax_debug_nans": Arm(hook=debug_nans), "run_eagerly": Arm(eager=True)},
    "torch": {"torch.autograd.detect_anomaly": Arm(hook=detect_anomaly)},
}


def transformer(size: Size) -> tuple[keras.Model, Any, Any, int]:
    """The transformer of the other benchmarks, its data, and the batch size."""
    return (*loss_scaling.transformer(size.transformer), size.transformer.batch)


def resnet(size: Size) -> tuple[keras.Model, Any, Any, int]:
    """ResNet-50 with data for one batch, which every step repeats."""
    shape = (size.image, size.image, 3)
    model = keras.applications.ResNet50(weights=None, input_shape=shape, classes=10)
    random = np.random.default_rng(0)
    x = np.tile(random.normal(size=(size.images, *shape)).astype("float32"), (size.steps, 1, 1, 1))
    return model, x, random.integers(0, 10, len(x)), size.images


MODELS = {"transformer": transformer, "resnet": resnet}


def optimizer(size: Size) -> Any:
    """Adam, with loss scaling where it is due."""
    inner = keras.optimizers.Adam(1e-4)
    half = size.transformer.policy == "mixed_float16"
    return floatline.LossScaleOptimizer(inner) if half else inner


def compiled(name: str, size: Size, arm: Arm) -> tuple[keras.Model, Any, Any, int]:
    """A model for an arm, its data, and the batch size."""
    model, x, y, batch = MODELS[name](size)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=name == "transformer")
    model.compile(optimizer(size), loss, auto_scale_loss=False, run_eagerly=arm.eager)
    return model, x, y, batch


def step_times_ms(
    name: str, size: Size, arms: dict[str, Arm], seconds: float, *, steady: bool
) -> dict[str, list[float]]:
    """Milliseconds per step of each arm in each round; no round begins after so many seconds."""
    # No `keras.utils.set_random_seed`: it imports TensorFlow wherever that is installed.
    keras.config.set_dtype_policy(size.transformer.policy)
    shared, x, y, batch = compiled(name, size, arms[PLAIN])
    models = {
        title: compiled(name, size, arm)[0] if arm.compiles else shared
        for title, arm in arms.items()
    }

    def fit_ms(title: str, steps: int, folder: str) -> float:
        rows = slice(steps * batch)
        begin = time.perf_counter()
        callbacks = arms[title].callbacks(folder)
        models[title].fit(
            x[rows], y[rows], batch_size=batch, shuffle=False, verbose=0, callbacks=callbacks
        )
        return 1000 * (time.perf_counter() - begin)

    taken_off = size.steps // SHORT if steady else 0
    times: dict[str, list[float]] = {title: [] for title in arms}
    deadline = time.perf_counter() + seconds
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(size.rounds + 1):
            if turn > 1 and time.perf_counter() > deadline:
                break
            for title in rotated(list(arms), turn):
                with arms[title].hook():
                    short = fit_ms(title, taken_off, folder) if steady else 0.0
                    spent = fit_ms(title, size.steps, folder) - short
                if turn:  # The first one compiles.
                    times[title].append(spent / (size.steps - taken_off))
    return times


def rotated(titles: list[str], turn: int) -> list[str]:
    """The same titles, beginning with another one each turn."""
    first = turn % len(titles)
    return titles[first:] + titles[:first]


def spread(values: list[float]) -> tuple[float, float, float]:
    """Lower quartile, median and upper quartile."""
    low, middle, high = np.quantile(values, (0.25, 0.5, 0.75))
    return float(low), float(middle), float(high)


def table(name: str, times: dict[str, list[float]]) -> str:
    """Medians, and their ratio to plain training."""
    rounds = len(times[PLAIN])
    lines = [
        f"| model | training | ms per step | fastest round | cost (quartiles of {rounds} rounds) |",
        "|---|---|---|---|---|",
    ]
    for title, values in times.items():
        ratios = [value / plain for value, plain in zip(values, times[PLAIN], strict=True)]
        low, middle, high = (100 * (ratio - 1) for ratio in spread(ratios))
        lines.append(
            f"| {name} | {title} | {statistics.median(values):.2f} | {min(values):.2f} "
            f"| {middle:+.1f} % ({low:+.1f} to {high:+.1f}) |"
        )
    return "\n".join(lines)


def summary(size: Size, times: dict[str, list[float]], *, steady: bool) -> str:
    """What the watch costs by default: readings as they are, samples spread out."""
    between = OFTEN if steady else size.steps / ((size.steps - 1) // OFTEN)
    rounds = list(zip(times[PLAIN], times[READS], times[SAMPLES], strict=True))
    # In steps, from rounds of one turn: what drifts between turns cancels.
    samples = spread([(o - w) / p * between for p, w, o in rounds])
    readings = spread([100 * (w / p - 1) for p, w, _ in rounds])
    apart = steps_between(Pace((1.0,), (1.0 + max(samples[1], 0.0),)))
    total = readings[1] + 100 * samples[1] / apart
    return (
        f"A sample costs {samples[1]:.1f} steps ({samples[0]:.1f} to {samples[2]:.1f}), so by "
        f"default there is one in {apart} steps. Readings cost {readings[1]:+.2f} % "
        f"({readings[0]:+.2f} to {readings[2]:+.2f}), both together {total:+.2f} %."
    )


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="sizes for a CPU")
    parser.add_argument("--model", choices=list(MODELS), help="only this model")
    parser.add_argument("--rounds", type=int, help="rounds of all arms")
    parser.add_argument("--steps", type=int, help="steps of each arm in a round")
    parser.add_argument(
        "--seconds", type=float, default=float("inf"), help="no new round after this, per model"
    )
    parser.add_argument("--steady", action="store_true", help="the cost per step of a long fit")
    parser.add_argument("--no-peers", action="store_true", help="only the watch")
    options = parser.parse_args()
    size = SMALL if options.small or not loss_scaling.has_gpu() else LARGE
    steps = options.steps or size.steps
    size = size._replace(
        rounds=options.rounds or size.rounds,
        steps=steps,
        transformer=size.transformer._replace(steps=steps),
    )
    arms = {
        PLAIN: Arm(),
        "Watch, one reading at the end": watches(0, read_every=10**9),
        READS: watches(0),
        SAMPLES: watches(OFTEN),
    }
    arms |= {} if options.no_peers else CALLBACKS | PEERS[BACKEND]
    print(f"Backend {BACKEND}, Keras {keras.__version__}, device {ops.zeros(1).device}, {size}\n")
    for name in [options.model] if options.model else MODELS:
        times = step_times_ms(name, size, arms, options.seconds, steady=options.steady)
        told = summary(size, times, steady=options.steady)
        print(table(name, times), "\n\n", told, "\n", sep="", flush=True)


if __name__ == "__main__":
    main()
