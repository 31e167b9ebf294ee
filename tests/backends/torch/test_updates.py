"""Updates by PyTorch's own optimizers are noticed, and a script's loop is told of in time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import torch

from floatline.backends.updates import TORCH_OPTIMIZERS, before_torch_updates

LOOP = """
import torch

layer = torch.nn.Linear(4, 1)
optimizer = torch.optim.SGD(layer.parameters(), 0.1)
for _ in range(3):
    layer(torch.ones(2, 4)).sum().backward()
    optimizer.step()
print("trained")
"""


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


def test_a_loop_without_a_mark_or_keras_is_pointed_at_before_its_first_update(
    tmp_path: Path,
) -> None:
    script = tmp_path / "train.py"
    script.write_text(LOOP)
    ended = subprocess.run(
        [sys.executable, "-m", "floatline", "diagnose", str(script)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 2
    assert f"a loop of its own at {script}:8" in ended.stderr
    assert "trained" not in ended.stdout
