"""Steps of PyTorch that are traced in parts: what is cut, and how gradients that add up go on."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from floatline.backends.torch.memory import ran_short
from floatline.capture.capture import KeptMoment
from floatline.pipeline import load_backend
from floatline.progress import silent
from floatline.records import StepRecord, Trace
from floatline.tracing.moments import trace_moments
from tests.contract.shortage import allow
from tests.tracing.fakes import capture

ROWS = 48


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    """Twelve rows again and again, so that each part is like the whole."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(12, 10, generator=generator).repeat(4, 1)
    return x, x[:, :2] * 2


def training(kind: str) -> Any:
    """A step in float16 that hands a batch over in one piece, in chunks, or in pieces of a size."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(10, 32), torch.nn.Tanh(), torch.nn.Linear(32, 2))
    optimizer = torch.optim.SGD(model.parameters(), 2.0**-8)

    def pieces(x: torch.Tensor) -> Any:
        if kind == "chunks":
            return x.chunk(2)
        return x.split(6) if kind == "pieces" else (x,)

    def step(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        optimizer.zero_grad()
        divisor = {"whole": 1, "chunks": 2, "pieces": 8}[kind]
        for some, wanted in zip(pieces(x), pieces(y), strict=True):
            with torch.autocast("cpu", torch.float16):
                loss = torch.nn.functional.mse_loss(model(some).float(), wanted) / divisor
            (loss * 256).backward()
        for weight in model.parameters():
            assert weight.grad is not None
            weight.grad /= 256
        optimizer.step()
        return loss

    return step


def of_rows(trace: Trace, rows: int) -> list[float]:
    return [
        site.statistics.max_abs
        for site in trace.sites
        if site.place.phase == "backward" and site.shape and site.shape[0] == rows
    ]


@pytest.mark.parametrize(
    ("kind", "whole", "part"), [("whole", 48, 12), ("chunks", 24, 6), ("pieces", 6, 6)]
)
def test_gradients_that_are_accumulated_keep_their_scale(
    kind: str, whole: int, part: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = load_backend().function_step(training(kind), lambda layer: None)
    moment = KeptMoment(0, "first", step.snapshot(), batch())
    before = of_rows(step.trace(moment.state, moment.batch), whole)
    allow(monkeypatch, 12)
    _, outcome = step.run(moment.batch)
    record = StepRecord(0, outcome.loss, finite_gradients=all(outcome.finite))
    (traced,) = trace_moments(capture(step, [record], [moment]), silent)
    assert traced.rows == "rows 0 to 11 of 48"
    assert traced.agrees
    after = of_rows(traced, part)
    assert len(after) > 3
    assert max(after) == pytest.approx(max(before), rel=1e-3)


def test_weights_and_numbers_are_not_cut() -> None:
    step = load_backend().function_step(training("whole"), lambda layer: None)
    weight = torch.nn.Parameter(torch.ones(5))
    given = {
        "x": torch.arange(6.0).reshape(3, 2),
        "weight": weight,
        "rate": 0.1,
        "mask": torch.ones(1, 2),
    }
    assert step.rows(given) == 3
    some = step.picked(given, [2, 0, 2])
    assert some["x"].tolist() == [[4.0, 5.0], [0.0, 1.0], [4.0, 5.0]]
    assert some["weight"] is weight
    assert some["rate"] == 0.1
    assert some["mask"].shape == (1, 2)
    assert step.rows({**given, "table": torch.ones(7, 2)}) is None


def test_what_is_no_want_of_memory() -> None:
    assert ran_short(torch.OutOfMemoryError("CUDA out of memory."))
    assert ran_short(
        RuntimeError("[enforce fail] DefaultCPUAllocator: not enough memory: you tried")
    )
    assert not ran_short(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
