"""One bad value on each device in turn, on two host devices; prints JSON.

With the argument `model` the weights are sharded, too, and not only the batch.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import keras
import numpy as np

import floatline


def distribution() -> Any:
    """How the devices share the work."""
    if sys.argv[1:] != ["model"]:
        return keras.distribution.DataParallel()
    devices = keras.distribution.list_devices()
    mesh = keras.distribution.DeviceMesh((1, len(devices)), ["batch", "model"], devices)
    layouts = keras.distribution.LayoutMap(mesh)
    layouts["dense.*kernel"] = (None, "model")
    layouts["dense.*bias"] = ("model",)
    return keras.distribution.ModelParallel(layout_map=layouts, batch_dim_name="batch")


def train(bad_row: int | None) -> dict[str, Any]:
    """One step on 8 rows of which the first half is the first device's."""
    keras.utils.set_random_seed(0)
    keras.distribution.set_distribution(distribution())
    inputs = keras.Input((4,))
    hidden = keras.layers.Dense(4, activation="relu", dtype="mixed_float16")(inputs)
    hidden = keras.layers.BatchNormalization(dtype="mixed_float16")(hidden)
    model = keras.Model(inputs, keras.layers.Dense(2, dtype="float32")(hidden))
    model.compile(floatline.LossScaleOptimizer(keras.optimizers.SGD(0.01), 8.0), "mse")
    x = np.ones((8, 4), "float32")
    if bad_row is not None:
        x[bad_row] = 1e30
    logs = model.fit(x, x[:, :2] * 0, batch_size=8, shuffle=False, verbose=0).history
    return {
        "devices": len(model.trainable_variables[0].value.sharding.device_set),
        "applied": int(model.optimizer.iterations.value),
        "scale": float(model.optimizer.dynamic_scale.value),
        "weights": all(np.isfinite(w).all() for w in model.get_weights()),
        "skipped": logs["skipped_steps"][0],
    }


if __name__ == "__main__":
    print(json.dumps([train(bad_row) for bad_row in (None, 1, 6)]))
