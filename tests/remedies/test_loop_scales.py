"""Loss scales that are written into loops: only where nothing else is meant, and all of them."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.remedies.scripts import proposed


def scaled(folder: Path, script: str) -> str | None:
    """What a script reads with the loss scale that is proposed for its line HERE; None without."""
    changed = proposed(folder, script, "FL201", "backward")
    texts = [
        text for _, text in changed if "cal" in text and text.count("scal") > script.count("scal")
    ]
    for text in texts:
        ast.parse(text)
    return texts[0] if texts else None


TORCH = """
import torch
from torch import nn, optim

model = nn.Linear(3, 1)
optimizer = optim.SGD(model.parameters(), 0.1)


def step(x, y):
    optimizer.zero_grad()
    with torch.autocast("cuda", torch.float16):
        loss = nn.functional.mse_loss(model(x), y)  # HERE
    loss.backward()
    optimizer.step()
    return loss
"""


def test_a_torch_loop_gets_a_scaler(tmp_path: Path) -> None:
    expected = (
        TORCH.replace("0.1)\n", '0.1)\nscaler = torch.amp.GradScaler("cuda")\n')
        .replace("loss.backward()", "scaler.scale(loss).backward()")
        .replace("optimizer.step()", "scaler.step(optimizer)\n    scaler.update()")
    )
    assert scaled(tmp_path, TORCH) == expected
    assert scaled(tmp_path, expected) is None


def test_clipping_sees_unscaled_gradients(tmp_path: Path) -> None:
    clip = "    nn.utils.clip_grad_norm_(model.parameters(), 1.0)\n"
    after = scaled(tmp_path, TORCH.replace("    optimizer.step", f"{clip}    optimizer.step"))
    assert after is not None
    assert f"    scaler.unscale_(optimizer)\n{clip}    scaler.step(optimizer)\n" in after


@pytest.mark.parametrize(
    ("now", "then", "found"),
    [
        ("import torch\n", "import torch\nscaler = None\n", "grad_scaler.update()"),
        ('"cuda", torch', "device, torch", '"cuda" if torch.cuda.is_available() else "cpu")'),
        ('"cuda", torch', 'device_type="cpu", dtype=torch', 'GradScaler("cpu")'),
        ("optim.SGD", "torch.optim.SGD", "scaler.step(optimizer)"),
        ("    optimizer.step", "    if x:\n        optimizer.step", "        scaler.update()"),
    ],
)
def test_a_torch_loop_keeps_its_names_and_its_device(
    now: str, then: str, found: str, tmp_path: Path
) -> None:
    after = scaled(tmp_path, TORCH.replace(now, then))
    assert after is not None
    assert found in after


@pytest.mark.parametrize(
    ("now", "then"),
    [
        ("    loss.backward()", "    loss.backward()\n    (2 * loss).backward()"),
        ("    optimizer.step()", "    optimizer.step()\n    optimizer.step()"),
        ("optimizer.step()", "optimizer.step(closure)"),
        ("    optimizer.step()", "    model.weight.grad.zero_()\n    optimizer.step()"),
        ("optimizer = optim.SGD", "optimizer = Mine"),
        ("    return loss", "    return loss\n\n\noptimizer = optim.Adam([])"),
        ("from torch import nn, optim", "import torch as t\nfrom torch import nn, optim"),
        ("model =", "scaler = grad_scaler = None\nmodel ="),
    ],
)
def test_what_is_not_plain_is_left_to_its_author(now: str, then: str, tmp_path: Path) -> None:
    other = TORCH.replace(now, then)
    if "as t" in then:
        other = other.replace("import torch\n", "")
    assert other != TORCH
    assert scaled(tmp_path, other) is None


def test_an_optimizer_out_of_sight_is_left_alone(tmp_path: Path) -> None:
    made = "optimizer = optim.SGD(model.parameters(), 0.1)\n"
    hidden = TORCH.replace(made, f"\n\ndef make():\n    {made}    return optimizer\n")
    assert scaled(tmp_path, hidden) is None


TRAINER = """
import torch
from torch import nn, optim


class Trainer:
    def __init__(self, model):
        self.model = model
        self.optimizer = optim.AdamW(
            model.parameters(), lr=1e-3
        )

    def train_step(self, x, y):
        self.optimizer.zero_grad()
        with torch.autocast(device_type="cuda"):
            loss = nn.functional.mse_loss(self.model(x), y)  # HERE
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        return loss.item()
"""


def test_a_trainer_keeps_a_scaler_beside_its_optimizer(tmp_path: Path) -> None:
    kept = '        self.scaler = torch.amp.GradScaler("cuda")\n'
    clip = "        nn.utils.clip"
    stepped = "self.scaler.step(self.optimizer)\n        self.scaler.update()"
    expected = (
        TRAINER.replace("1e-3\n        )\n", f"1e-3\n        )\n{kept}")
        .replace("loss.backward()", "self.scaler.scale(loss).backward()")
        .replace(clip, f"        self.scaler.unscale_(self.optimizer)\n{clip}")
        .replace("self.optimizer.step()", stepped)
    )
    assert scaled(tmp_path, TRAINER) == expected
    assert scaled(tmp_path, expected) is None


def test_a_trainer_beside_another_gets_its_own(tmp_path: Path) -> None:
    other = TRAINER.replace("import torch\nfrom torch import nn, optim\n", "").replace(
        "  # HERE", ""
    )
    both = TRAINER + other.replace("class Trainer", "class Other")
    after = scaled(tmp_path, both)
    assert after is not None
    assert after.count("self.scaler.update()") == 1
    assert "grad_scaler.update()" in (scaled(tmp_path, f"{TRAINER}\nother.scaler = None\n") or "")


@pytest.mark.parametrize(
    ("now", "then"),
    [
        ("self.optimizer = optim", "self.inner.optimizer = optim"),
        ("        self.model = model\n", "        self.optimizer = None\n"),
        ("self.optimizer = optim.AdamW", "self.optimizer = Mine"),
        ("def train_step(self,", "def train_step(this,"),
        ("        self.optimizer.step()", "        for one in (1, 2):\n            one.step()"),
    ],
)
def test_an_optimizer_kept_in_another_way_is_left_alone(
    now: str, then: str, tmp_path: Path
) -> None:
    other = TRAINER.replace(now, then)
    assert other != TRAINER
    assert scaled(tmp_path, other) is None


JAX = """
import jax
import jax.numpy as jnp


def loss_of(weights, x):
    return jnp.mean(x @ weights)  # HERE


@jax.jit
def step(weights, moments, x):
    \"\"\"One update.\"\"\"
    loss, grads = jax.value_and_grad(loss_of)(weights, x)
    moments = 0.9 * moments + grads
    weights = weights - moments
    return weights, moments, loss


def train(weights, moments, batches):
    for _ in range(3):
        for x in batches:
            weights, moments, loss = step(weights, moments, x)
    return weights
"""


def test_a_jax_loop_carries_the_state_of_a_scaler(tmp_path: Path) -> None:
    after = scaled(tmp_path, JAX)
    assert after is not None
    selected = (
        "scaler.select(unscaled, weights, before[0]), scaler.select(unscaled, moments, before[1])"
    )
    texts = (
        "import jax.numpy as jnp\nimport floatline\n",
        "scaler = floatline.LossScaler()\n\n\n@jax.jit\ndef step(weights, moments, x, scaling):\n",
        '    """One update."""\n    before = (weights, moments,)\n    loss, grads = ',
        "(lambda *values: scaler.scale(loss_of(*values), scaling))(weights, x)\n",
        "    loss = loss / scaling.scale.scale\n    unscaled = scaler.unscale(",
        f"    return {selected}, loss, scaler.update(scaling, unscaled)\n",
        "    scaling = scaler.initial_state()\n    for _ in range(3):\n",
        "weights, moments, loss, scaling = step(weights, moments, x, scaling)\n",
    )
    assert [text for text in texts if text not in after] == []
    assert scaled(tmp_path, after) is None


def test_gradients_without_a_loss_are_scaled_too(tmp_path: Path) -> None:
    only = (
        JAX.replace("loss, grads = jax.value_and_grad", "grads = jax.grad")
        .replace("moments, loss", "moments")
        .replace("moments, loss =", "moments =")
    )
    after = scaled(tmp_path, only)
    assert after is not None
    assert "    unscaled = scaler.unscale(jax.tree.leaves(grads), scaling)\n" in after
    assert "scaling.scale.scale" not in after


@pytest.mark.parametrize(
    ("now", "then"),
    [
        ("(loss_of)", "(loss_of, has_aux=True)"),
        ("def step(weights, moments, x)", "def step(weights, moments, x=None)"),
        ("def step(weights, moments, x)", "def step(weights, *moments)"),
        ("    return weights, moments, loss", "    return (loss, *weights)"),
        ("    return weights, moments, loss", "    return {}"),
        ("weights, moments, loss = step", "loss = step"),
        ("weights, moments, loss = step", "new, other, loss = step"),
        ("def train", "step = jax.jit(step)\n\n\ndef train"),
        ("        for x in batches:\n            weights", "        weights"),
        ("@jax.jit", "@jax.jit(in_shardings=None)"),
        ("(weights, moments, x)\n    return", "(weights, moments, x=x)\n    return"),
        ("import jax\n", "import jax as j\n"),
        ("    moments = 0.9", "    scaling = moments = 0.9"),
        ("    loss, grads =", "    loss, grads = jax.value_and_grad(loss_of)(weights, x)\n    _ ="),
    ],
)
def test_a_jax_step_of_another_shape_is_left_alone(now: str, then: str, tmp_path: Path) -> None:
    other = JAX.replace(now, then)
    if "in batches" in now:
        other = other.replace("    for _ in range(3):\n        weights", "    weights")
    assert other != JAX
    assert scaled(tmp_path, other) is None


GAN = """
import keras
import tensorflow as tf

one = keras.Sequential([keras.layers.Dense(1)])
two = keras.Sequential([keras.layers.Dense(1)])
first = keras.optimizers.Adam()
second = keras.optimizers.SGD(0.1)


def step(x):
    with tf.GradientTape(persistent=True) as tape:
        loss_of_one = tf.reduce_mean(one(x))  # HERE
        loss_of_two = tf.reduce_mean(two(x))
        loss_of_two += 0.1 * loss_of_one
    grads = tape.gradient(loss_of_one, one.trainable_variables)
    others = tape.gradient(loss_of_two, two.trainable_variables)
    first.apply_gradients(zip(grads, one.trainable_variables))
    second.apply(others, two.trainable_variables)
"""


def test_each_of_two_optimizers_gets_the_scale_of_its_own_loss(tmp_path: Path) -> None:
    after = scaled(tmp_path, GAN)
    wrapped = "keras.optimizers.LossScaleOptimizer(keras.optimizers."
    assert after == (
        GAN.replace("first = keras.optimizers.Adam()", f"first = {wrapped}Adam())")
        .replace("second = keras.optimizers.SGD(0.1)", f"second = {wrapped}SGD(0.1))")
        .replace("# HERE\n", "# HERE\n        scaled_loss_of_one = first.scale_loss(loss_of_one)\n")
        .replace(
            "0.1 * loss_of_one\n",
            "0.1 * loss_of_one\n        scaled_loss_of_two = second.scale_loss(loss_of_two)\n",
        )
        .replace("gradient(loss_of", "gradient(scaled_loss_of")
    )


@pytest.mark.parametrize(
    ("now", "then"),
    [
        ("gradient(loss_of_two", "gradient(loss_of_one"),
        ("second.apply(others", "second.apply(grads"),
        ("second.apply(others", "second.apply(grads + others"),
        ("second.apply", "first.apply"),
        ("second.apply(", "second.apply(others, two.trainable_variables)\n    second.apply("),
        ("second = keras", "second = keras.optimizers.SGD()\nsecond = keras"),
        ("    others =", "    more = tape.gradient(loss_of_one, x)\n    others ="),
    ],
)
def test_gradients_whose_way_is_not_plain_are_left_alone(
    now: str, then: str, tmp_path: Path
) -> None:
    other = GAN.replace(now, then)
    assert other != GAN
    assert scaled(tmp_path, other) is None


MODEL = """
import keras
import tensorflow as tf


class Two(keras.Model):
    def compile(self, first, second):
        super().compile()
        self.first = first
        self.second = second

    def train_step(self, x):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(self.one(x))  # HERE
        grads = tape.gradient(loss, self.one.trainable_weights)
        self.first.apply_gradients(zip(grads, self.one.trainable_weights))
        with tf.GradientTape() as tape:
            other = tf.reduce_mean(self.two(x))
        grads = tape.gradient(other, self.two.trainable_weights)
        self.second.apply_gradients(zip(grads, self.two.trainable_weights))
        return {"loss": loss}
"""


def test_a_model_scales_the_losses_of_the_optimizers_that_it_is_given(tmp_path: Path) -> None:
    wrapped = "keras.optimizers.LossScaleOptimizer"
    after = scaled(tmp_path, MODEL)
    assert after == (
        MODEL.replace("self.first = first", f"self.first = {wrapped}(first)")
        .replace("self.second = second", f"self.second = {wrapped}(second)")
        .replace("# HERE\n", "# HERE\n            scaled_loss = self.first.scale_loss(loss)\n")
        .replace(
            "self.two(x))\n",
            "self.two(x))\n            scaled_other = self.second.scale_loss(other)\n",
        )
        .replace("gradient(loss", "gradient(scaled_loss")
        .replace("gradient(other", "gradient(scaled_other")
    )
    assert scaled(tmp_path, after) is None


@pytest.mark.parametrize(
    ("now", "then"),
    [
        ("self.second = second", "self.second = second\n        self.second = second"),
        ("self.second = second", "self.second = optimizers[1]"),
        ("self.second = second", "self.others.second = second"),
        ("self.first = first", "self.first = LossScaleOptimizer(first)"),
        ("import keras\n", "import keras as k\n"),
        ("        self.first.apply_gradients(zip(grads, self.one.trainable_weights))\n", ""),
        ("gradient(other", "gradient(loss"),
    ],
)
def test_optimizers_of_a_model_that_are_not_plain_are_left_alone(
    now: str, then: str, tmp_path: Path
) -> None:
    other = MODEL.replace(now, then)
    assert other != MODEL
    assert scaled(tmp_path, other) is None
