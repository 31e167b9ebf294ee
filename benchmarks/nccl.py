"""One bad value on each of two GPUs in turn, under DistributedDataParallel; prints JSON.

The step must be skipped on both, whichever overflows, and the weights must stay the same on both.

    KERAS_BACKEND=torch python benchmarks/nccl.py    NCCL on two GPUs; gloo where there are none
"""

from __future__ import annotations

import json
import os
import tempfile
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "torch")

import torch
from torch import distributed, multiprocessing

WORLD = 2


def train(rank: int, bad_rank: int | None) -> dict[str, Any]:
    """Three steps, of which the second overflows on one of the ranks."""
    import keras

    import floatline

    keras.utils.set_random_seed(0)
    inputs = keras.Input((64,))
    hidden = keras.layers.Dense(64, activation="relu", dtype="mixed_float16")(inputs)
    model = keras.Model(inputs, keras.layers.Dense(1, dtype="float32")(hidden))
    variables = model.trainable_variables
    optimizer = floatline.LossScaleOptimizer(keras.optimizers.Adam(1e-3))
    optimizer.build(variables)
    device = variables[0].value.device
    parallel = torch.nn.parallel.DistributedDataParallel(model)
    for step in range(3):
        x = torch.full((16, 64), float(rank + 1), device=device)
        if rank == bad_rank and step == 1:
            x[1] = 1e30
        model.zero_grad()
        optimizer.scale_loss(parallel(x).square().mean()).backward()
        optimizer.apply([v.value.grad for v in variables], variables)
    return {
        "bad": bad_rank,
        "applied": int(optimizer.iterations.value),
        "skipped": optimizer.report().skipped,
        "scale": float(optimizer.dynamic_scale.value),
        "weights": [float(v.value.detach().double().sum()) for v in variables],
    }


def work(rank: int, file: str, backend: str) -> None:
    """What one process does."""
    if backend == "nccl":
        torch.cuda.set_device(rank)
    method = f"file://{file}"
    distributed.init_process_group(backend, init_method=method, rank=rank, world_size=WORLD)
    found = [train(rank, bad_rank) for bad_rank in (None, *range(WORLD))]
    gathered: list[Any] = [None] * WORLD
    distributed.all_gather_object(gathered, found)
    if rank == 0:
        print(json.dumps({"backend": backend, "same": gathered[0] == gathered[1], "steps": found}))
    distributed.destroy_process_group()


def main() -> None:
    """Starts both processes."""
    backend = "nccl" if torch.cuda.device_count() >= WORLD else "gloo"
    with tempfile.TemporaryDirectory() as folder:
        multiprocessing.spawn(work, (f"{folder}/rendezvous", backend), nprocs=WORLD)


if __name__ == "__main__":
    main()
