"""Tracing waits for nothing and keeps nothing: no value is read while the step runs."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from floatline.backends.torch import recorder
from floatline.backends.torch.program import TracedRun, settled
from floatline.tracing.statistics import COUNTS, SUMS, Pack
from tests.backends.torch.traced import trace_of

WAITS = frozenset(
    """
    _local_scalar_dense bincount equal is_nonzero masked_select nonzero repeat_interleave
    _unique2 unique_consecutive unique_dim
    """.split()
)
"""Operations that copy a value from a GPU to the host, or whose result's size is one."""


class NoWaiting(TorchDispatchMode):  # type: ignore[misc]  # PyTorch is not type-checked here
    """While active, an operation that would wait for a GPU raises."""

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        name = function._schema.name.removeprefix("aten::")
        assert name not in WAITS, f"{name} waits"
        return function(*args, **(kwargs or {}))


class Unread:
    """Stands for the table on a GPU, whose kernel is no operation of PyTorch's."""

    def __init__(self) -> None:
        self.sites: list[int] = []

    def put(self, site: int, lanes: Any, dtype: str) -> None:
        self.sites.append(site)

    def measured(self) -> tuple[list[int], Pack]:
        count = len(self.sites)
        shapes = ((COUNTS, "int32"), (SUMS, "float32"), (3, "float32"))
        return self.sites, Pack(*(np.zeros((count, width), kind) for width, kind in shapes))


def training_step() -> Callable[[Any], Any]:
    model = torch.nn.Sequential(
        torch.nn.Linear(8, 16), torch.nn.LayerNorm(16), torch.nn.GELU(), torch.nn.Linear(16, 4)
    ).half()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, foreach=True)

    def step(x: Any) -> Any:
        optimizer.zero_grad()
        made = torch.tensor([0.1, 1e-9], dtype=torch.float16)
        loss = (torch.softmax(model(x) * 1e-3 + made.sum(), -1) ** 2).mean()
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step


def test_nothing_is_read_while_a_step_is_traced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder, "measures_of", lambda device: Unread())
    x = torch.randn(4, 8).half()
    with NoWaiting():
        trace = trace_of(training_step(), x)
    assert trace.raised is None
    phases = {site.place.phase for site in trace.sites}
    assert phases == {"forward", "backward", "update"}
    assert any(site.role == "constant" for site in trace.sites)


def test_what_reads_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AssertionError, match="waits"), NoWaiting():
        trace_of(training_step(), torch.randn(4, 8).half())  # Measured as on a host.
    monkeypatch.setattr(recorder, "measures_of", lambda device: Unread())
    with NoWaiting():
        trace = trace_of(lambda x: float(x.sum()), torch.randn(4))
    assert "_local_scalar_dense waits" in str(trace.raised)


def test_the_shadows_are_gone_with_the_trace() -> None:
    run = TracedRun(None, {}, {}, lambda layer: None)
    held: list[int] = []

    def step(x: Any) -> Any:
        result = x * 3
        held.append(len(run._tracer.shadows))
        return result

    run.run(step, torch.randn(4).half())
    assert held[0] > 0
    assert len(run._tracer.shadows) == 0


def test_the_collector_is_left_as_it_was() -> None:
    assert gc.get_freeze_count() == 0
    with settled():
        settled_objects = gc.get_freeze_count()
        with settled():  # As if the user had settled it.
            assert 0 < gc.get_freeze_count() <= settled_objects  # Some may be freed meanwhile.
        assert 0 < gc.get_freeze_count() <= settled_objects
    assert gc.get_freeze_count() == 0
