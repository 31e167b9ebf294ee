"""Updates by PyTorch's own optimizers are noticed: a loop without a mark is found, or told of."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import torch

from floatline.backends.updates import TORCH_OPTIMIZERS, before_torch_updates

LOOP = """
import torch

torch.manual_seed(0)
layer = torch.nn.Linear(4, 1).half()
optimizer = torch.optim.SGD(layer.parameters(), 1e-7)
{beginning}

def train(epoch):
    for x in torch.ones(2, 8, 4).half() * 300:
        loss = layer(x).square().sum()
        loss.backward()
        {update}()
    print("epoch", epoch, loss.item())

for epoch in range(3):
    train(epoch)
"""


def diagnosed(script: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "floatline", "diagnose", str(script)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_every_update_is_noticed_until_the_end() -> None:
    weight = torch.nn.Parameter(torch.ones(3))
    weight.grad = torch.ones(3)
    seen = []
    optimizers = torch.optim.SGD([weight], 0.1), torch.optim.Adam([weight])
    with before_torch_updates(sys.modules[TORCH_OPTIMIZERS], lambda: seen.append(weight.tolist())):
        for optimizer in optimizers:
            optimizer.step()
    optimizers[0].step()
    assert len(seen) == 2
    assert seen[0] == [1.0, 1.0, 1.0]


def test_a_loop_without_a_mark_or_keras_is_watched_in_every_epoch(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(LOOP.format(beginning="", update="optimizer.step"))
    ended = diagnosed(script)
    assert ended.returncode == 1
    assert f"{script.name}:11" in " ".join(ended.stdout.split())
    assert "6 (the training ended" in ended.stdout
    assert "epoch 2" in ended.stdout + ended.stderr


def test_a_loop_that_hides_its_update_is_pointed_at_before_it(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(LOOP.format(beginning="update = optimizer.step", update="update"))
    ended = diagnosed(script)
    assert ended.returncode == 2
    assert f"a loop of its own at {script}:13" in ended.stderr
    assert "epoch" not in ended.stdout
