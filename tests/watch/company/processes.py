"""Two processes under DistributedDataParallel with gloo, in one of them a bad batch; prints JSON.

Each has a watch; printed is what either said and returned.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import keras
import numpy as np
import torch
from torch import distributed, multiprocessing

import floatline


class Together(keras.Model):  # type: ignore[misc]  # (Keras carries no types)
    """A model whose gradients are averaged over the processes."""

    def train_step(self, data: Any) -> Any:
        """Keras' own, through the parallel module."""
        x, y, _ = keras.utils.unpack_x_y_sample_weight(data)
        self.zero_grad()
        loss = self.compute_loss(x=x, y=y, y_pred=self.parallel(x))
        self._loss_tracker.update_state(loss)
        loss.backward()
        weights = self.trainable_weights
        with torch.no_grad():
            self.optimizer.apply([w.value.grad for w in weights], weights)
        return self.get_metrics_result()


def train(rank: int, folder: str, spoiled: int | None) -> dict[str, Any]:
    """Ten steps; the first process has no bad batch."""
    keras.utils.set_random_seed(3)
    inputs = keras.Input((8,))
    hidden = keras.layers.Dense(16, activation="relu")(inputs)
    model = Together(inputs, keras.layers.Dense(1)(hidden))
    inner = torch.nn.parallel.DistributedDataParallel(keras.Model(model.inputs, model.outputs))
    object.__setattr__(model, "parallel", inner)
    model.compile("adam", "mse")
    rows = np.random.default_rng(rank).normal(size=(160, 8)).astype("float32")
    if spoiled is not None and rank == 1:
        rows[spoiled * 16] = np.nan
    told: list[str] = []
    watch = floatline.Watch(folder, every=7, read_every=3, log=f"{folder}/{rank}.jsonl")
    watch.tell = told.append
    model.fit(rows, rows[:, :1], batch_size=16, shuffle=False, verbose=0, callbacks=[watch])
    return {
        "told": told,
        "kept": len(watch.failures),
        "failed": watch.failed,
        "steps": int(model.optimizer.iterations.value),
    }


def work(rank: int, folder: str, results: Any) -> None:
    """What one process does."""
    torch.set_num_threads(1)
    address = f"file://{folder}/rendezvous"
    distributed.init_process_group("gloo", init_method=address, rank=rank, world_size=2)
    results[rank] = [train(rank, folder, spoiled) for spoiled in (None, 5)]
    distributed.barrier()
    distributed.destroy_process_group()


if __name__ == "__main__":
    with multiprocessing.Manager() as manager:
        found = manager.dict()
        multiprocessing.spawn(work, (sys.argv[1], found), nprocs=2)
        print(json.dumps([found[0], found[1]]))
