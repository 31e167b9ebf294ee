"""Small models and steps of every kind, for the laws that hold for all of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import numpy as np
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

RANDOM = np.random.default_rng(0)
ROWS = torch.tensor(RANDOM.normal(size=(8, 6)), dtype=torch.float32)
TARGETS = torch.tensor(RANDOM.normal(size=(8, 2)), dtype=torch.float32)
SEQUENCES = torch.tensor(RANDOM.normal(size=(8, 5, 6)), dtype=torch.float32)
IMAGES = torch.tensor(RANDOM.normal(size=(8, 8, 8, 3)), dtype=torch.float32)
TOKENS = torch.tensor(RANDOM.integers(0, 20, (8, 3)), dtype=torch.int64)

# Keras


def network(inputs: Any, *layers: Any) -> keras.Model:
    return keras.Sequential([keras.Input(tuple(inputs.shape[1:])), *layers, keras.layers.Dense(2)])


L = keras.layers
KERAS: dict[str, tuple[Callable[[], list[Any]], Any]] = {
    "dense": (lambda: [L.Dense(8, "relu"), L.Dense(8, "gelu")], ROWS),
    "dropout": (lambda: [L.Dense(8), L.Dropout(0.5, seed=1), L.GaussianNoise(0.1, seed=2)], ROWS),
    "batch norm": (lambda: [L.Dense(8), L.BatchNormalization()], ROWS),
    "layer norm": (lambda: [L.Dense(8), L.LayerNormalization(), L.Activation("swish")], ROWS),
    "convolution": (lambda: [L.Conv2D(4, 3), L.MaxPooling2D(), L.Flatten()], IMAGES),
    "depthwise": (lambda: [L.SeparableConv2D(4, 3), L.GlobalAveragePooling2D()], IMAGES),
    "lstm": (lambda: [L.LSTM(4)], SEQUENCES),
    "gru": (lambda: [L.GRU(4, return_sequences=True), L.Flatten()], SEQUENCES),
    "embedding": (lambda: [L.Embedding(20, 4), L.Flatten()], TOKENS),
    "softmax": (lambda: [L.Dense(8, "softmax")], ROWS),
}


def keras_model(name: str) -> tuple[keras.Model, Any]:
    """The compiled model and a batch, built under the policy in force."""
    layers, inputs = KERAS[name]
    model = network(inputs, *layers())
    model.compile(keras.optimizers.Adam(1e-2), "mse")
    return model, (inputs, TARGETS)


def attention_model() -> tuple[keras.Model, Any]:
    """The compiled model and a batch, built under the policy in force."""
    inputs = keras.Input(tuple(SEQUENCES.shape[1:]))
    attended = L.MultiHeadAttention(2, 3, dropout=0.0)(inputs, inputs)
    model = keras.Model(inputs, L.Dense(2)(L.GlobalAveragePooling1D()(attended)))
    model.compile(keras.optimizers.SGD(1e-2, momentum=0.9), "mse")
    return model, (SEQUENCES, TARGETS)


# PyTorch


class Sample(NamedTuple):
    """A step, a batch, and everything that the step changes."""

    step: Callable[..., Any]
    batch: tuple[Any, ...]
    owners: tuple[Any, ...]


class Recurrent(nn.Module):  # type: ignore[misc]  # PyTorch is not type-checked here
    def __init__(self, kind: Any) -> None:
        super().__init__()
        self.cell = kind(6, 4, batch_first=True)
        self.out = nn.Linear(4, 2)

    def forward(self, inputs: Any) -> Any:
        return self.out(self.cell(inputs)[0][:, -1])


class Attention(nn.Module):  # type: ignore[misc]  # PyTorch is not type-checked here
    def __init__(self) -> None:
        super().__init__()
        self.block = nn.TransformerEncoderLayer(6, 2, 8, dropout=0.1, batch_first=True)
        self.out = nn.Linear(6, 2)

    def forward(self, inputs: Any) -> Any:
        return self.out(self.block(inputs).mean(1))


class Square(torch.autograd.Function):  # type: ignore[misc]  # PyTorch is not type-checked here
    @staticmethod
    def forward(context: Any, values: Any) -> Any:
        context.save_for_backward(values)
        return values * values

    @staticmethod
    def backward(context: Any, upstream: Any) -> Any:
        (values,) = context.saved_tensors
        return upstream * 2 * values


class Recomputed(nn.Module):  # type: ignore[misc]  # PyTorch is not type-checked here
    def __init__(self, *, reentrant: bool) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Dropout(0.2))
        self.out = nn.Linear(8, 2)
        self.reentrant = reentrant

    def forward(self, inputs: Any) -> Any:
        inputs = inputs.detach().requires_grad_()
        return self.out(checkpoint(self.body, inputs, use_reentrant=self.reentrant))


def autocast(
    model: nn.Module,
    inputs: Any = ROWS,
    *,
    optimizer: Callable[[Any], Any] = lambda weights: torch.optim.Adam(weights, 1e-2),
    dtype: torch.dtype = torch.float16,
    scaled: bool = True,
) -> Sample:
    """The usual step of mixed precision: autocast, and a gradient scaler for float16."""
    updates = optimizer(model.parameters())
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, enabled=scaled)

    def step(inputs: Any, targets: Any) -> Any:
        updates.zero_grad()
        with torch.autocast("cpu", dtype):
            loss = nn.functional.mse_loss(model(inputs).float(), targets)
        scaler.scale(loss).backward()
        scaler.step(updates)
        scaler.update()
        return loss.detach()

    return Sample(step, (inputs, TARGETS), (model, updates, scaler))


def pure_half() -> Sample:
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 2)).half()
    updates = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)

    def step(inputs: Any, targets: Any) -> None:
        updates.zero_grad(set_to_none=False)
        (model(inputs) - targets).square().mean().backward()
        updates.step()

    return Sample(step, (ROWS.half(), TARGETS.half()), (model, updates))


def half_recurrent() -> Sample:
    model = Recurrent(nn.LSTM).half()
    updates = torch.optim.SGD(model.parameters(), 0.1)

    def step(inputs: Any, targets: Any) -> None:
        updates.zero_grad()
        (model(inputs).float() - targets).square().mean().backward()
        updates.step()

    return Sample(step, (SEQUENCES.half(), TARGETS), (model, updates))


def custom_gradient() -> Sample:
    model = nn.Linear(6, 2)
    updates = torch.optim.SGD(model.parameters(), 0.01)

    def step(inputs: Any, targets: Any) -> None:
        updates.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            loss = (Square.apply(model(inputs)).float() - targets).abs().mean()
        loss.backward()
        updates.step()

    return Sample(step, (ROWS, TARGETS), (model, updates))


def by_hand() -> Sample:
    weight = torch.linspace(-1, 1, 12).reshape(6, 2).requires_grad_()

    def step(inputs: Any, targets: Any) -> None:
        loss = ((inputs.half() @ weight.half()).float() - targets).square().mean()
        (gradient,) = torch.autograd.grad(loss, [weight])
        with torch.no_grad():
            weight.sub_(0.1 * gradient)

    return Sample(step, (ROWS, TARGETS), (weight,))


def accumulated() -> Sample:
    model = nn.Linear(6, 2)
    updates = torch.optim.AdamW(model.parameters(), 0.01)
    calls = [0]

    def step(inputs: Any, targets: Any) -> None:
        with torch.autocast("cpu", torch.bfloat16):
            loss = (model(inputs) - targets).square().mean()
        loss.backward()
        calls[0] += 1
        if calls[0] % 2 == 0:
            updates.step()
            updates.zero_grad()

    return Sample(step, (ROWS, TARGETS), (model, updates))


def compiled() -> Sample:
    model = nn.Linear(6, 2)
    fast = torch.compile(model, backend="eager")
    updates = torch.optim.SGD(model.parameters(), 0.01)

    def step(inputs: Any, targets: Any) -> None:
        updates.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            loss = (fast(inputs).float() - targets).abs().mean()
        loss.backward()
        updates.step()

    return Sample(step, (ROWS, TARGETS), (model, updates))


def perceptron(*layers: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Linear(6, 8), *layers, nn.Linear(8, 2))


STEPS: dict[str, Callable[[], Sample]] = {
    "scaled": lambda: autocast(perceptron(nn.ReLU(), nn.Dropout(0.2))),
    "norms": lambda: autocast(
        perceptron(nn.BatchNorm1d(8), nn.LayerNorm(8)), dtype=torch.bfloat16, scaled=False
    ),
    "gru": lambda: autocast(Recurrent(nn.GRU), SEQUENCES),
    "attention": lambda: autocast(Attention(), SEQUENCES),
    "convolution": lambda: autocast(
        nn.Sequential(nn.Conv2d(8, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(24, 2)), IMAGES
    ),
    "embedding": lambda: autocast(
        nn.Sequential(nn.Embedding(20, 4), nn.Flatten(), nn.Linear(12, 2)), TOKENS
    ),
    "sparse": lambda: autocast(
        nn.Sequential(nn.Embedding(20, 4, sparse=True), nn.Flatten(), nn.Linear(12, 2)),
        TOKENS,
        optimizer=lambda weights: torch.optim.SGD(weights, 0.1),
    ),
    "foreach": lambda: autocast(
        perceptron(nn.ReLU()),
        optimizer=lambda weights: torch.optim.SGD(weights, 0.1, momentum=0.9, foreach=True),
    ),
    "fused": lambda: autocast(
        perceptron(nn.ReLU()), optimizer=lambda weights: torch.optim.AdamW(weights, fused=True)
    ),
    "recomputed": lambda: autocast(Recomputed(reentrant=False), dtype=torch.bfloat16),
    "recomputed again": lambda: autocast(Recomputed(reentrant=True), dtype=torch.bfloat16),
    "half": pure_half,
    "half lstm": half_recurrent,
    "custom gradient": custom_gradient,
    "by hand": by_hand,
    "accumulated": accumulated,
    "compiled": compiled,
}
