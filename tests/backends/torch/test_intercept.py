"""`fit` and `train_on_batch` hand every batch to the watch, and are the model's own afterwards."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import torch

from floatline.backends.torch import TorchBackend
from tests.contract.samples import policy

X = np.random.default_rng(0).normal(size=(32, 3)).astype("float32")
Y = X.sum(axis=1, keepdims=True)


def model() -> keras.Model:
    with policy("float32"):
        network = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
        network.compile("sgd", "mse")
    return network


def test_fit_hands_over_every_batch() -> None:
    network, seen = model(), list[Any]()

    def advance(batch: Any) -> dict[str, float]:
        seen.append(batch)
        return {"loss": 0.5}

    with TorchBackend().intercept(network, advance):
        network.fit(X, Y, batch_size=8, epochs=2, shuffle=False, verbose=0)
        network.train_on_batch(X[:4], Y[:4])
    assert len(seen) == 9
    assert np.array_equal(seen[0][0].numpy(), X[:8])
    assert seen[-1][0].shape == (4, 3)


def test_the_models_own_function_is_back() -> None:
    network = model()
    with TorchBackend().intercept(network, lambda batch: {"loss": 0.0}):
        network.fit(X, Y, verbose=0)
    before = network.trainable_variables[0].value.detach().clone()
    network.fit(X, Y, verbose=0)
    assert not torch.equal(network.trainable_variables[0].value, before)
    assert "make_train_function" not in vars(network)


def test_a_real_step_is_the_users_own() -> None:
    ours, theirs = model(), model()
    for own, other in zip(ours.variables, theirs.variables, strict=True):
        other.assign(own.value)
    step = TorchBackend().keras_step(ours, lambda layer: None)
    batch = (torch.tensor(X), torch.tensor(Y))
    for _ in range(3):
        loss = step.run(batch)[1].loss
        assert loss == theirs.train_on_batch(X, Y)
    for own, other in zip(ours.variables, theirs.variables, strict=True):
        assert torch.equal(own.value, other.value)


def test_random_state_is_preserved() -> None:
    with TorchBackend().preserve_random_state():
        first = torch.rand(3)
    assert torch.equal(torch.rand(3), first)
