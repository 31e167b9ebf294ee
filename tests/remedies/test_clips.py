"""Gradients that carry a loss scale are unscaled before PyTorch clips them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.remedies.scripts import proposed

CLIPPED = """
import torch

scaler = torch.amp.GradScaler("cpu")
for x, y in batches:
    loss = criterion(model(x), y)
    scaler.scale(loss).backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    scaler.step(optimizer)
    scaler.update()
"""
IN_A_FUNCTION = CLIPPED.replace("for x, y in batches:", "def step(x, y):")


ELSEWHERE = """
from torch import nn

class Trainer:
    def training_step(self, x, y):
        loss = self.compute_loss(x, y) / self.parts
        self.scaler.scale(loss).backward()
        return loss

    def train(self):
        for number, (x, y) in enumerate(self.batches):
            self.training_step(x, y)
            if number % self.parts == 0:
                nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
                self.scaler.step(self.optimizer)
                self.scaler.update()
"""
"""A method scales and differentiates, and another clips and updates."""


def unscaled(folder: Path, script: str) -> str | None:
    """What a script reads when its clip is at fault; None where nothing is proposed."""
    texts = [text for _, text in proposed(folder, script, "FL404", "update", at="clip_grad")]
    return texts[0] if texts else None


@pytest.mark.parametrize("script", [CLIPPED, IN_A_FUNCTION])
def test_gradients_are_unscaled_before_pytorch_clips_them(tmp_path: Path, script: str) -> None:
    clip = "    torch.nn.utils.clip"
    expected = script.replace(clip, f"    scaler.unscale_(optimizer)\n{clip}")
    assert unscaled(tmp_path, script) == expected
    assert unscaled(tmp_path, expected) is None


def test_gradients_are_unscaled_where_another_method_scales(tmp_path: Path) -> None:
    clip = "                nn.utils.clip"
    line = "                self.scaler.unscale_(self.optimizer)"
    assert unscaled(tmp_path, ELSEWHERE) == ELSEWHERE.replace(clip, f"{line}\n{clip}")


@pytest.mark.parametrize(
    ("now", "then"),
    [
        ("scaler.step(optimizer)", "scaler.step(optimizer)\n    scaler.step(other)"),
        ("scaler.scale(loss)", "loss"),
        ("scaler.step(optimizer)", "optimizer.step()"),
    ],
    ids=["two optimizers", "no scale", "no step of the scaler"],
)
def test_a_clip_stays_where_the_loop_is_another(tmp_path: Path, now: str, then: str) -> None:
    assert unscaled(tmp_path, CLIPPED.replace(now, then)) is None
