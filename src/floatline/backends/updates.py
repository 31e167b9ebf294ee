"""Notices a framework's own optimizers at work, in scripts that may never import Keras.

It stands beside the backends' packages, which bring Keras along, and is handed the framework.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType

TORCH_OPTIMIZERS = "torch.optim.optimizer"
"""Where PyTorch keeps what its optimizers have in common."""


@contextmanager
def before_torch_updates(optimizers: ModuleType, act: Callable[[], None]) -> Iterator[None]:
    """While active, calls `act` before any optimizer of PyTorch's updates its weights.

    Args:
        optimizers: The module of that name, which is loaded by then.
        act: What is called.
    """
    hook = optimizers.register_optimizer_step_pre_hook(lambda *_: act())
    try:
        yield
    finally:
        hook.remove()
