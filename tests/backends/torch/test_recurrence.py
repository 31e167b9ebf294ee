"""Recurrent functions leave cuDNN for a trace, and nothing else does."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.overrides import TorchFunctionMode

from floatline.backends.torch.recurrence import RECURRENT, OpenRecurrence


class Spy(TorchFunctionMode):  # type: ignore[misc]  # PyTorch is not type-checked here
    """Notes which functions were called, and whether cuDNN was on."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: dict[Any, bool] = {}

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        self.seen[function] = torch.backends.cudnn.enabled
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    "layer", [torch.nn.GRU(3, 4), torch.nn.LSTM(3, 4), torch.nn.RNN(3, 4)], ids=str
)
def test_a_recurrent_layer_runs_without_cudnn(layer: torch.nn.Module) -> None:
    x = torch.ones(2, 1, 3)
    plain = layer(x)[0]
    with Spy() as spy, OpenRecurrence():
        opened = torch.relu(layer(x)[0])
    assert [on for function, on in spy.seen.items() if function in RECURRENT] == [False]
    assert spy.seen[torch.relu]
    assert torch.backends.cudnn.enabled
    assert torch.equal(opened, torch.relu(plain))
