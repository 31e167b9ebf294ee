"""A loss scale that is a number of the code is lowered where it is written, if that is plain."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.remedies.scripts import proposed

SCALE, FITS = 65536.0, 2048.0

LOOP = """
import torch

SCALE = 65536.0


def step(x, y):
    loss = model(x).sum()
    (loss * SCALE).backward()  # HERE
    for weight in model.parameters():
        weight.grad /= SCALE
"""


def lowered(folder: Path, script: str, scale: float = SCALE, fits: float = FITS) -> str | None:
    """What a script reads with the change that is proposed for its line HERE; None without."""
    numbers = {"loss_scale": scale, "fitting_loss_scale": fits}
    made = proposed(folder, script, "FL402", "forward", numbers)
    assert all(change.whole for change, _ in made)
    texts = [text for _, text in made]
    return texts[0] if texts else None


@pytest.mark.parametrize(
    ("now", "then"),
    [
        ("SCALE = 65536.0", "SCALE = 2048.0"),
        ("SCALE = 65536", "SCALE = 2048"),
        ("SCALE = 2**16", "SCALE = 2**11"),
        ("SCALE = 2.0 ** 16", "SCALE = 2.0**11"),
        ("SCALE = 1 << 16", "SCALE = 2048.0"),
        ("SCALE: float = 65536.0", "SCALE: float = 2048.0"),
        ("SCALE = torch.tensor(65536.0)", "SCALE = torch.tensor(2048.0)"),
    ],
)
def test_a_named_number_is_lowered_where_it_is_written(now: str, then: str, tmp_path: Path) -> None:
    script = LOOP.replace("SCALE = 65536.0", now)
    assert lowered(tmp_path, script) == LOOP.replace("SCALE = 65536.0", then)


def test_an_attribute_is_a_name_too(tmp_path: Path) -> None:
    script = LOOP.replace("SCALE", "self.scale")
    assert lowered(tmp_path, script) == script.replace("65536.0", "2048.0")


def test_a_bare_number_is_lowered_in_both_its_places(tmp_path: Path) -> None:
    script = LOOP.replace("SCALE = 65536.0\n", "").replace("SCALE", "65536.0")
    assert lowered(tmp_path, script) == script.replace("65536.0", "2048.0")


def test_a_default_that_nobody_overrules_is_lowered(tmp_path: Path) -> None:
    script = LOOP.replace("SCALE = 65536.0\n", "").replace("y):", "y, SCALE=65536.0):")
    assert lowered(tmp_path, script) == script.replace("65536.0", "2048.0")
    assert lowered(tmp_path, f"{script}\n\nstep(1, 2)\n") is not None
    for call in ("step(1, 2, 3)", "step(1, 2, SCALE=3)", "step(*rows)", "step(**rows)"):
        assert lowered(tmp_path, f"{script}\n\n{call}\n") is None


@pytest.mark.parametrize(
    "now",
    [
        "SCALE = 1000.0",
        "SCALE = 65536.0\nSCALE = 65536.0",
        "SCALE = 65536.0\nSCALE *= 1.0",
        "SCALE = choose(65536.0, 65536)",
        "SCALE = float('65536')",
        "from settings import SCALE",
    ],
)
def test_a_number_that_is_not_plain_is_left_alone(now: str, tmp_path: Path) -> None:
    assert lowered(tmp_path, LOOP.replace("SCALE = 65536.0", now)) is None


@pytest.mark.parametrize("other", ["1.0 / 65536.0", "2.0**-16"])
def test_a_bare_number_that_stands_elsewhere_too_is_left_alone(other: str, tmp_path: Path) -> None:
    script = LOOP.replace("SCALE = 65536.0\n", f"OTHER = {other}\n").replace("SCALE", "65536.0")
    known = lowered(tmp_path, script)
    assert (known is None) is ("65536" in other)


def test_a_scale_of_the_optimizer_is_no_number_of_the_code(tmp_path: Path) -> None:
    """A search from above has no number that fits."""
    assert proposed(tmp_path, LOOP, "FL402", "forward") == []


CLIPPED = """
import keras
import tensorflow as tf

LOSS_SCALE = 2.0**12
model = keras.Sequential([keras.layers.Dense(1)])
optimizer = keras.optimizers.SGD(0.1)


@tf.function
def step(x, y):
    with tf.GradientTape() as tape:
        loss = mse(y, model(x)) * LOSS_SCALE
    gradients = tape.gradient(loss, model.trainable_variables)
    gradients, _ = tf.clip_by_global_norm(gradients, 1.0)  # HERE
    optimizer.apply([g / LOSS_SCALE for g in gradients], model.trainable_variables)
"""


@pytest.mark.parametrize(
    ("clip", "then"),
    [
        ("tf.clip_by_global_norm(gradients, 1.0)", "1.0 * LOSS_SCALE)"),
        ("tf.clip_by_global_norm(gradients, clip_norm=BOUND)", "clip_norm=BOUND * LOSS_SCALE)"),
        ("one(tf.clip_by_value(g, -1, 1))", "-1 * LOSS_SCALE, 1 * LOSS_SCALE))"),
        ("clip_grad_norm_(weights, a - b, 2.0)", "(a - b) * LOSS_SCALE, 2.0)"),
    ],
)
def test_a_bound_grows_with_the_number_that_gradients_carry(
    clip: str, then: str, tmp_path: Path
) -> None:
    script = CLIPPED.replace("tf.clip_by_global_norm(gradients, 1.0)", clip)
    numbers = {"loss_scale": 4096.0, "bound": 1.0}
    ((change, text),) = proposed(tmp_path, script, "FL404", "forward", numbers)
    assert change.whole
    assert then in text
    bare = script.replace("LOSS_SCALE = 2.0**12", "").replace("LOSS_SCALE", "4096")
    ((_, text),) = proposed(tmp_path, bare, "FL404", "forward", numbers)
    assert then.replace("LOSS_SCALE", "4096.0") in text
    assert proposed(tmp_path, bare, "FL404", "forward", numbers | {"loss_scale": 512.0}) == []
