"""Loops outside of every function, or with an optimizer that they are given, get a loss scale."""

from __future__ import annotations

from pathlib import Path

from tests.remedies.scripts import proposed

TORCH = """
import torch

model = torch.nn.Linear(4, 1)
optimizer = torch.optim.Adam(model.parameters())
for x, y in batches:
    with torch.autocast("cuda"):
        loss = criterion(model(x), y)  # HERE
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
"""
TENSORFLOW = """
import keras
import tensorflow as tf

optimizer = keras.optimizers.Adam()
for x, y in batches:
    with tf.GradientTape() as tape:
        loss = criterion(y, model(x))  # HERE
    grads = tape.gradient(loss, model.trainable_weights)
    optimizer.apply(grads, model.trainable_weights)
"""


def scaled(folder: Path, script: str) -> str | None:
    texts = [text for _, text in proposed(folder, script, "FL201", "backward")]
    return texts[0] if texts else None


def test_on_pytorch(tmp_path: Path) -> None:
    made = "torch.optim.Adam(model.parameters())"
    assert scaled(tmp_path, TORCH) == (
        TORCH.replace(made, f'{made}\nscaler = torch.amp.GradScaler("cuda")')
        .replace("loss.backward()", "scaler.scale(loss).backward()")
        .replace("optimizer.step()", "scaler.step(optimizer)\n    scaler.update()")
    )


def test_on_tensorflow(tmp_path: Path) -> None:
    assert scaled(tmp_path, TENSORFLOW) == (
        TENSORFLOW.replace(
            "keras.optimizers.Adam()",
            "keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam())",
        )
        .replace("# HERE\n", "# HERE\n        scaled_loss = optimizer.scale_loss(loss)\n")
        .replace("gradient(loss", "gradient(scaled_loss")
    )


def test_the_loop_around_the_line_is_meant(tmp_path: Path) -> None:
    loop = TORCH.partition("for x")[2]
    indented = loop.replace("\n", "\n    ").replace("# HERE", "")
    other = f"\ndef train():\n    for x{indented.rstrip()}\n"
    after = scaled(tmp_path, TORCH + other)
    assert after is not None
    assert after.endswith(other)
    assert "scaler.scale" in after


GIVEN = """
import torch

def train(model, batches, optimizer):
    for x, y in batches:
        with torch.autocast("cuda"):
            loss = criterion(model(x), y)  # HERE
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
"""


def test_for_an_optimizer_that_is_handed_over_the_scaler_is_made_at_the_top(tmp_path: Path) -> None:
    assert scaled(tmp_path, GIVEN) == (
        GIVEN.replace("import torch\n", 'import torch\nscaler = torch.amp.GradScaler("cuda")\n')
        .replace("loss.backward()", "scaler.scale(loss).backward()")
        .replace("optimizer.step()", "scaler.step(optimizer)\n        scaler.update()")
    )


def test_what_may_be_no_optimizer_is_left_alone(tmp_path: Path) -> None:
    after = scaled(tmp_path, GIVEN.replace("        optimizer.zero_grad()\n", ""))
    assert "scaler" not in (after or "")
