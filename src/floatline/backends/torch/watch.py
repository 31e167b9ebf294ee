"""Keeping watch on PyTorch: everything lies open, and what a measurement writes is put back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, final

import torch
from keras import ops
from torch import distributed

from floatline.backends.interface import Batch
from floatline.backends.scopes import WritesDropped
from floatline.backends.torch.state import Keeper
from floatline.backends.torch.step import own
from floatline.backends.watch_interface import (
    Advance,
    Arrived,
    Company,
    Logs,
    Measure,
    Tensor,
    Training,
)


class TorchTraining:
    """One call of Keras' train function.

    Args:
        function: The train function.
        data: What it is given: a list of one batch, or an iterator.
    """

    def __init__(self, function: Any, data: Any) -> None:
        self.taken: tuple[Batch, ...] = tuple(data)
        self._function = function

    def take(self) -> tuple[Batch, ...]:
        """The batch."""
        return self.taken

    def step(self) -> Logs:
        """Runs the train function once."""
        return self._function(list(self.taken))

    def again(self, batch: Batch) -> Logs:
        """Runs it on one batch of before."""
        return self._function([own(batch)])

    def values(self, variables: Sequence[Any]) -> list[Tensor]:
        """The values of variables at this moment."""
        return [variable._value.detach() for variable in variables]  # noqa: SLF001 (`value` may be cast)

    def put(self, variables: Sequence[Any], values: Sequence[Tensor]) -> None:
        """Gives variables these values."""
        with torch.no_grad():
            for variable, value in zip(variables, values, strict=True):
                variable._value.copy_(value)  # noqa: SLF001 (as above)


@final
class TorchWatch:
    """The operations of a watch on PyTorch."""

    def company(self, model: Any) -> Company:
        """The processes: what one of them does alone, the others would wait for."""
        del model
        if not (distributed.is_available() and distributed.is_initialized()):
            return Company()
        count = distributed.get_world_size()
        if count == 1:
            return Company()
        first = distributed.get_rank() == 0
        return Company(f"{count} processes train together", first, others=True)

    def tapped(self, model: Any, function: Any, advance: Advance) -> Any:
        """Stands in for the train function."""
        del model
        return lambda data: advance(TorchTraining(function, data))

    def resting(self, model: Any, function: Any) -> Training:
        """Variables hold their values at all times."""
        del model
        return TorchTraining(function, ())

    def compiled(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """As it is."""
        return torch.no_grad()(function)  # type: ignore[no-any-return]  # (PyTorch carries no types)

    def copied(self, values: Sequence[Tensor]) -> list[Tensor]:
        """Copies."""
        return [value.detach().clone() for value in values]

    def fetched(self, values: Sequence[Any]) -> Arrived:
        """From a GPU into pinned memory, behind what it has to compute up to now."""
        tensors = [torch.as_tensor(value).detach() for value in values]
        copies = [tensor.to("cpu", non_blocking=tensor.is_cuda, copy=True) for tensor in tensors]
        devices = {tensor.device for tensor in tensors if tensor.is_cuda}
        events = [torch.cuda.current_stream(device).record_event() for device in devices]

        def arrived() -> list[Any]:
            for event in events:
                event.synchronize()
            return [ops.convert_to_numpy(copy) for copy in copies]

        return arrived

    def measuring(
        self, model: Any, measure: Measure
    ) -> Callable[[Training, Sequence[Any], Batch], Any]:
        """Runs the step and puts back, bit for bit, whatever it wrote."""
        keeper = Keeper([model])

        def run(training: Training, _variables: Sequence[Any], batch: Batch) -> Any:
            del training
            step = getattr(model.train_step, "guards", model.train_step)
            batch = own(batch)

            def train() -> None:
                with WritesDropped():
                    step(batch)

            before = keeper.snapshot()
            try:
                return measure(train, WritesDropped, batch)
            finally:
                keeper.restore(before)

        return run

    def random_state(self) -> list[Tensor]:
        """PyTorch's own generators, from which Keras draws for an unseeded Dropout."""
        devices = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
        return [torch.get_rng_state(), *devices]

    def put_random_state(self, state: Sequence[Tensor]) -> None:
        """Puts the generators of the host and of the devices that are here back."""
        host, *devices = (torch.as_tensor(value, device="cpu") for value in state)
        torch.set_rng_state(host)
        if torch.cuda.is_initialized():
            torch.cuda.set_rng_state_all(devices[: torch.cuda.device_count()])

    def frame(self) -> Any:
        """Always the same: nothing is traced."""
        return None


KERNELS = TorchWatch()
