"""Gradients that carry a loss scale are unscaled before PyTorch clips them."""

from __future__ import annotations

import linecache
from pathlib import Path

import pytest

from floatline.records import Finding, Place, SourceLine
from floatline.remedies.source import changes
from floatline.trials.editing import with_change

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


def unscaled(folder: Path, script: str) -> str | None:
    """What a script reads when its clip is at fault; None where nothing is proposed."""
    file = folder / "train.py"
    file.write_text(script, encoding="utf-8")
    linecache.checkcache(str(file))
    line = next(n for n, text in enumerate(script.splitlines(), 1) if "clip_grad" in text)
    place = Place(None, "Mul", "m", "update", SourceLine(str(file), line))
    made = changes([Finding("FL404", "cause", "update", "", {}, (), place)])
    return with_change({str(file): script}, made[0])[str(file)] if made else None


@pytest.mark.parametrize("script", [CLIPPED, IN_A_FUNCTION])
def test_gradients_are_unscaled_before_pytorch_clips_them(tmp_path: Path, script: str) -> None:
    clip = "    torch.nn.utils.clip"
    expected = script.replace(clip, f"    scaler.unscale_(optimizer)\n{clip}")
    assert unscaled(tmp_path, script) == expected
    assert unscaled(tmp_path, expected) is None


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
