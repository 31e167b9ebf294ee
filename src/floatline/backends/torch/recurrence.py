"""Recurrent layers on a GPU, taken out of cuDNN for a trace: it runs all time steps as one."""

from __future__ import annotations

from typing import Any

import torch
from torch.overrides import TorchFunctionMode

RECURRENT = (torch.lstm, torch.gru, torch.rnn_tanh, torch.rnn_relu)
"""PyTorch's functions over all time steps; without cuDNN they are operations of each."""


class OpenRecurrence(TorchFunctionMode):  # type: ignore[misc]  # PyTorch is not type-checked here
    """While active, recurrent functions run without cuDNN.

    What cuDNN keeps for its backward pass has a form of its own in every dtype, so that a float32
    twin cannot follow, and faults before such a layer would not be seen to reach the loss.
    """

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Lets every call pass, those of recurrent functions without cuDNN."""
        del types
        if function not in RECURRENT:
            return function(*args, **(kwargs or {}))
        with torch.backends.cudnn.flags(enabled=False):
            return function(*args, **(kwargs or {}))
