"""PyTorch's own losses stretch what they compare inside of one operation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.nn import functional

import floatline
from floatline.findings.crossings import crossing

ROWS = 8
Loss = Callable[[Any, Any], Any]
the_framework_warns_too = pytest.mark.filterwarnings("ignore:Using a target size")


@the_framework_warns_too
@pytest.mark.parametrize("flat", [True, False])
@pytest.mark.parametrize(
    "loss", [functional.mse_loss, functional.smooth_l1_loss, functional.huber_loss]
)
def test_whole_losses_are_judged_by_what_they_stretch(loss: Loss, flat: bool) -> None:
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 1)

    def step(x: Any, y: Any) -> Any:
        model.zero_grad()
        value = loss(model(x), y)
        value.backward()
        return value

    given = torch.randn(ROWS) if flat else torch.randn(ROWS, 1)
    found = crossing(floatline.trace(step, torch.randn(ROWS, 3), given))
    assert (found is not None) is flat


def test_squeezed_predictions_are_left_alone() -> None:
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 1)

    def step(x: Any, y: Any) -> Any:
        value = functional.mse_loss(model(x).squeeze(1), y)
        value.backward()
        return value

    trace = floatline.trace(step, torch.randn(ROWS, 3), torch.randn(ROWS))
    assert trace.losses
    assert crossing(trace) is None
