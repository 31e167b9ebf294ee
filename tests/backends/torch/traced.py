"""Runs functions and samples under the tracer, for the tests to compare what came out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from floatline.backends.torch import TorchBackend
from floatline.backends.torch.contexts import Contexts
from floatline.backends.torch.layers import Paths, Stack
from floatline.backends.torch.literals import Literals
from floatline.backends.torch.observer import Observer
from floatline.backends.torch.provenance import Provenance
from floatline.backends.torch.recorder import Recorder
from floatline.backends.torch.sites import Sites
from floatline.backends.torch.step import TorchStep
from floatline.backends.torch.tracer import Tracer
from floatline.records import Site, Trace
from floatline.tracing.sites import Ledger

Values = dict[str, np.ndarray]


class Traced:
    """A function that ran under the tracer.

    Attributes:
        returned: What it returned.
        tracer: The tracer.
        sites: What was measured.
    """

    def __init__(self, function: Callable[[], Any], variables: Mapping[int, str] = {}) -> None:
        ledger = Ledger()
        recorder = Recorder(ledger)
        sites = Sites(recorder, Provenance(Paths(None, {}), lambda layer: None), variables)
        contexts = Contexts(Stack(), Observer(lambda t: None, lambda t: None))
        self.tracer = Tracer(sites, contexts)
        with Literals(self.tracer.literal), self.tracer:
            self.returned = function()
        self.sites: tuple[Site, ...] = ledger.complete(recorder.statistics())
        self.omissions = sites.omissions

    def shadow(self, tensor: Any) -> Any:
        """The shadow of a tensor."""
        return self.tracer.shadows.read(tensor)


def step_of(function: Callable[..., Any]) -> TorchStep:
    """The step of a function."""
    return TorchBackend().function_step(function, lambda layer: None)


def trace_of(function: Callable[..., Any], batch: Any) -> Trace:
    """The trace of a function's first step."""
    step = step_of(function)
    return step.trace(step.snapshot(), batch)


def as_arrays(tensors: Mapping[str, Any]) -> Values:
    """Tensors as arrays of their own."""
    return {name: array(tensor) for name, tensor in tensors.items()}


def array(tensor: Any) -> np.ndarray:
    """A tensor as an array of its own; 16-bit floats raised, which loses nothing."""
    tensor = tensor.detach()
    values: np.ndarray = (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()
    return values.copy()


def bits(values: Mapping[str, np.ndarray]) -> dict[str, bytes]:
    """Every bit of the values."""
    return {name: value.tobytes() for name, value in values.items()}
