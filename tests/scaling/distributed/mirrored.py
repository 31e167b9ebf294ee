"""One bad value on each replica in turn, under MirroredStrategy on two logical CPUs; prints JSON."""

from __future__ import annotations

import json
import sys
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import floatline

CPU = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(CPU, [tf.config.LogicalDeviceConfiguration()] * 2)
CLASSES = {"keras": keras.optimizers.LossScaleOptimizer, "floatline": floatline.LossScaleOptimizer}


def train(make: Any, bad_row: int | None) -> dict[str, Any]:
    """One step on 8 rows of which the first half is the first replica's."""
    keras.utils.set_random_seed(0)
    with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
        inputs = keras.Input((4,))
        hidden = keras.layers.Dense(4, activation="relu", dtype="mixed_float16")(inputs)
        hidden = keras.layers.BatchNormalization(dtype="mixed_float16")(hidden)
        outputs = keras.layers.Dense(1, dtype="float32")(hidden)
        model = keras.Model(inputs, outputs)
        optimizer = make(keras.optimizers.SGD(0.01), initial_scale=8.0)
        model.compile(optimizer, "mse")
    x = np.ones((8, 4), "float32")
    if bad_row is not None:
        x[bad_row] = 1e30
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    rows = tf.data.Dataset.from_tensor_slices((x, x[:, :1] * 0)).batch(8).with_options(options)
    logs = model.fit(rows, verbose=0).history
    return {
        "applied": int(tf.convert_to_tensor(optimizer.iterations.value)),
        "scale": float(tf.convert_to_tensor(optimizer.dynamic_scale.value)),
        "weights": all(np.isfinite(w).all() for w in model.get_weights()),
        "trainable": all(np.isfinite(v.numpy()).all() for v in model.trainable_variables),
        "skipped": logs.get("skipped_steps", [None])[0],
    }


if __name__ == "__main__":
    made = CLASSES[sys.argv[1]]
    print(json.dumps([train(made, bad_row) for bad_row in (None, 1, 6)]))
