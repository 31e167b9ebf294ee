"""One bad value in each worker in turn, under MultiWorkerMirroredStrategy; prints JSON."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from typing import Any


def train(strategy: Any, bad_worker: int | None, worker: int) -> dict[str, Any]:
    """One step on 4 rows in each of the workers."""
    import keras
    import numpy as np
    import tensorflow as tf

    import floatline

    keras.utils.set_random_seed(0)
    with strategy.scope():
        inputs = keras.Input((4,))
        hidden = keras.layers.Dense(4, activation="relu", dtype="mixed_float16")(inputs)
        model = keras.Model(inputs, keras.layers.Dense(1, dtype="float32")(hidden))
        optimizer = floatline.LossScaleOptimizer(keras.optimizers.SGD(0.01), 8.0)
        optimizer.build(model.trainable_variables)
    x = np.ones((4, 4), "float32")
    if worker == bad_worker:
        x[1] = 1e30

    @tf.function  # type: ignore[untyped-decorator]  # (TensorFlow carries no types here)
    def step(x: Any) -> None:
        def replica(x: Any) -> None:
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean(tf.square(model(x, training=True)))
                scaled = optimizer.scale_loss(loss)
            gradients = tape.gradient(scaled, model.trainable_variables)
            optimizer.apply(gradients, model.trainable_variables)

        strategy.run(replica, args=(x,))

    step(tf.constant(x))
    return {
        "applied": int(tf.convert_to_tensor(optimizer.iterations.value)),
        "scale": float(tf.convert_to_tensor(optimizer.dynamic_scale.value)),
        "weights": all(np.isfinite(w).all() for w in model.get_weights()),
    }


def work(worker: int) -> None:
    """What one worker does; it prints a line of JSON."""
    import tensorflow as tf

    options = tf.distribute.experimental.CommunicationOptions(
        implementation=tf.distribute.experimental.CommunicationImplementation.RING
    )
    strategy = tf.distribute.MultiWorkerMirroredStrategy(communication_options=options)
    print(json.dumps([train(strategy, bad_worker, worker) for bad_worker in (None, 0, 1)]))


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on."""
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("localhost", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def main() -> None:
    """Starts both workers and prints what they found."""
    workers = [f"localhost:{port}" for port in free_ports(2)]
    processes = []
    for index in range(2):
        task = {"type": "worker", "index": index}
        config = json.dumps({"cluster": {"worker": workers}, "task": task})
        command = [sys.executable, "-W", "ignore", __file__, str(index)]
        environment = {**os.environ, "TF_CONFIG": config}
        processes.append(
            subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
        )
    outputs = [process.communicate(timeout=240)[0] for process in processes]
    print(json.dumps([json.loads(output.splitlines()[-1]) for output in outputs]))


if __name__ == "__main__":
    main() if len(sys.argv) == 1 else work(int(sys.argv[1]))
