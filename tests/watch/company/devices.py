"""One training without and with a watch, and one that fails, in company; prints JSON.

The argument is `steps` (several per execution), `mirrored` (TensorFlow's strategy on two CPUs) or
`data` (Keras' DataParallel on the two host devices of JAX).
"""

from __future__ import annotations

import contextlib
import functools
import json
import sys
import tempfile
from typing import Any

import keras
import numpy as np
from keras import layers

import floatline

SPOILED = 5


@functools.cache
def strategy() -> Any:
    """Two replicas on a CPU; their collective operations want one strategy in a process."""
    import tensorflow as tf

    cpu = tf.config.list_physical_devices("CPU")[0]
    devices = [tf.config.LogicalDeviceConfiguration()] * 2
    tf.config.set_logical_device_configuration(cpu, devices)
    return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])


def trained(
    mode: str, watch: floatline.Watch | None, spoiled: int | None = None
) -> tuple[list[Any], Any]:
    """All variables after three epochs of ten batches, and the history."""
    keras.utils.set_random_seed(3)
    with strategy().scope() if mode == "mirrored" else contextlib.nullcontext():
        inputs = keras.Input((8,))
        x = layers.Dense(16, activation="relu", dtype="mixed_float16")(inputs)
        x = layers.Dropout(0.25)(layers.BatchNormalization(dtype="mixed_float16")(x))
        model = keras.Model(inputs, layers.Dense(1)(x))
        optimizer = keras.optimizers.Adam(1e-2)
        if spoiled is None:
            optimizer = floatline.LossScaleOptimizer(optimizer)
        steps = 3 if mode == "steps" else 1
        model.compile(optimizer, "mse", auto_scale_loss=False, steps_per_execution=steps)
    rows = np.random.default_rng(7).normal(size=(160, 8)).astype("float32")
    if spoiled is not None:
        rows[spoiled * 16] = np.nan
    given = [] if watch is None else [watch]
    fitted = model.fit(
        rows, rows[:, 1:2], batch_size=16, epochs=3, shuffle=False, verbose=0, callbacks=given
    )
    variables = [*model.variables, *model.optimizer.variables]
    return [np.array(keras.ops.convert_to_numpy(v.value)) for v in variables], fitted.history


def watched(folder: str, told: list[str]) -> floatline.Watch:
    """A watch that samples every few steps and tells nobody else."""
    watch = floatline.Watch(folder, every=7, read_every=3, diagnose=False)
    watch.tell = told.append
    return watch


def main(mode: str) -> None:
    """Trains three times."""
    if mode == "data":
        keras.distribution.set_distribution(keras.distribution.DataParallel())
    with tempfile.TemporaryDirectory() as folder:
        healthy: list[str] = []
        failing: list[str] = []
        plain, before = trained(mode, None)
        values, after = trained(mode, watched(folder, healthy))
        watch = watched(folder, failing)
        trained(mode, watch, SPOILED)
        kept = [json.loads((path / "failure.json").read_text()) for path in watch.failures]
    same = all(a.tobytes() == b.tobytes() for a, b in zip(plain, values, strict=True))
    print(
        json.dumps(
            {
                "same": same and {name: after[name] for name in before} == before,
                "sampled": "update_ratio" in after,
                "healthy": healthy,
                "failing": failing,
                "kept": [record["state_step"] for record in kept],
            }
        )
    )


if __name__ == "__main__":
    main(sys.argv[1])
