"""One bad value on each process in turn, under DistributedDataParallel with gloo; prints JSON."""

from __future__ import annotations

import json
import sys
from typing import Any

import keras
import numpy as np
import torch
from torch import distributed, multiprocessing

import floatline


def train(rank: int, bad_rank: int | None) -> dict[str, Any]:
    """One step on 4 rows in each of the processes."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((4,))
    hidden = keras.layers.Dense(4, activation="relu", dtype="mixed_float16")(inputs)
    model = keras.Model(inputs, keras.layers.Dense(1, dtype="float32")(hidden))
    variables = model.trainable_variables
    optimizer = floatline.LossScaleOptimizer(keras.optimizers.SGD(0.01), 8.0)
    optimizer.build(variables)
    parallel = torch.nn.parallel.DistributedDataParallel(model)
    x = torch.full((4, 4), float(rank + 1))
    if rank == bad_rank:
        x[1] = 1e30
    loss = parallel(x).square().mean()
    optimizer.scale_loss(loss).backward()
    optimizer.apply([v.value.grad for v in variables], variables)
    return {
        "applied": int(optimizer.iterations.value),
        "scale": float(optimizer.dynamic_scale.value),
        "weights": [float(v.value.detach().sum()) for v in variables],
    }


def work(rank: int, file: str, results: Any) -> None:
    """What one process does."""
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{file}", rank=rank, world_size=2)
    results[rank] = [train(rank, bad_rank) for bad_rank in (None, 0, 1)]
    distributed.destroy_process_group()


if __name__ == "__main__":
    with multiprocessing.Manager() as manager:
        found = manager.dict()
        multiprocessing.spawn(work, (sys.argv[1], found), nprocs=2)
        assert np.array_equal(sorted(found), [0, 1])
        print(json.dumps([found[0], found[1]]))
