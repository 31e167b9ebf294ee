"""An optimizer of PyTorch's gets an epsilon that weights in half precision do not lose."""

from __future__ import annotations

from pathlib import Path

import pytest

from floatline.records import Phase
from tests.remedies.scripts import proposed

TRAINED = """
import torch

optimizer = {made}
for x, y in batches:
    loss = criterion(model(x), y)
    loss.backward()
    optimizer.step()
"""
IN_AN_OBJECT = """
from torch import optim

class Trainer:
    def __init__(self, model):
        self.optimizer = {made}

    def train(self, batch):
        self.loss(batch).backward()
        self.optimizer.step()
"""


def then(
    folder: Path, script: str, rule: str = "FL206", phase: Phase = "update"
) -> list[tuple[str, int]]:
    """What the script reads after each change that is proposed, and the line that it changes."""
    found = proposed(folder, script, rule, phase, at="optimizer.step()")
    return [(text, change.line) for change, text in found]


@pytest.mark.parametrize(
    ("now", "changed"),
    [
        ("torch.optim.AdamW(w, lr=1e-3)", "torch.optim.AdamW(w, lr=1e-3, eps=1e-4)"),
        ("torch.optim.Adam(w, eps=1e-8)", "torch.optim.Adam(w, eps=1e-4)"),
        ("torch.optim.RMSprop(w,)", "torch.optim.RMSprop(w, eps=1e-4)"),
    ],
)
def test_the_optimizer_that_is_stepped_gets_it(tmp_path: Path, now: str, changed: str) -> None:
    assert then(tmp_path, TRAINED.format(made=now)) == [(TRAINED.format(made=changed), 4)]


def test_so_does_that_of_an_object(tmp_path: Path) -> None:
    now, changed = "optim.Adam(model.parameters())", "optim.Adam(model.parameters(), eps=1e-4)"
    assert then(tmp_path, IN_AN_OBJECT.format(made=now)) == [(IN_AN_OBJECT.format(made=changed), 6)]


@pytest.mark.parametrize(
    ("made", "rule", "phase"),
    [
        ("torch.optim.SGD(w, lr=0.1)", "FL206", "update"),
        ("torch.optim.Adam(w)", "FL203", "forward"),
        ("torch.optim.Adam(w)", "FL204", "update"),
        ("make_optimizer(w)", "FL206", "update"),
    ],
    ids=["without an epsilon", "an epsilon of the model", "no epsilon", "made elsewhere"],
)
def test_it_stays_as_it_is(tmp_path: Path, made: str, rule: str, phase: Phase) -> None:
    assert then(tmp_path, TRAINED.format(made=made), rule, phase) == []
