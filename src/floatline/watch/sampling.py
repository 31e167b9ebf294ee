"""Samples a step: measured before it is taken, compared with what the step then did."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from keras import ops

from floatline.backends.watch_interface import Tensor, Training, WatchKernels
from floatline.layers import walk
from floatline.watch.measuring import Measuring, compare
from floatline.watch.records import ActivationSample, Sample, VariableSample


@dataclass(frozen=True, slots=True)
class Half:
    """A sample of which the step itself is still missing."""

    measured: dict[str, Any]
    before: list[Tensor]
    scale: float


class Sampler:
    """Samples steps of one model.

    Args:
        model: A model that is built.
        kernels: The framework.
    """

    def __init__(self, model: Any, kernels: WatchKernels) -> None:
        self._kernels = kernels
        self._measuring = Measuring(model, kernels)
        self._run = kernels.measuring(model, self._measuring.measure)
        self._compare = kernels.compiled(compare)
        self._layers = {
            id(variable): path for path, layer in walk(model) for variable in layer.variables
        }

    def begin(self, training: Training, scale: float) -> Half:
        """Measures the step that comes, on the batch that it will take, at this loss scale."""
        measured = self._run(training, (), training.take()[0])
        before = self._kernels.copied(training.values(self._measuring.variables))
        return Half(measured, before, scale)

    def end(self, half: Half, training: Training, step: int) -> Sample:
        """The sample, once the step is taken; waits for the device.

        Args:
            half: What `begin` gave.
            training: The training after the step.
            step: Which one it was.
        """
        variables, measured = self._measuring.variables, half.measured
        after = training.values(variables)
        update, weight, lost = map(_numbers, self._compare(half.before, after, measured["live"]))
        largest, nonzero, flushed = (
            _numbers(measured[name]) for name in ("largest", "nonzero", "flushed")
        )
        applied = bool(update.any())
        return Sample(
            step,
            applied,
            float(ops.convert_to_numpy(measured["boost"])),
            tuple(
                VariableSample(
                    variable.path,
                    self._layers.get(id(variable), variable.path.rpartition("/")[0]),
                    float(largest[n]) / half.scale,
                    float(nonzero[n]),
                    float(flushed[n]) if flushed[n] >= 0 else None,
                    float(update[n]),
                    float(weight[n]),
                    float(lost[n]) if applied else 0.0,
                )
                for n, variable in enumerate(variables)
            ),
            _activations(self._measuring.layers, _numbers(measured["outputs"])),
        )


def _numbers(values: Tensor) -> Any:
    return np.asarray(ops.convert_to_numpy(values), "float64")


def _activations(
    layers: Sequence[tuple[str, str]], largest: Sequence[float]
) -> tuple[ActivationSample, ...]:
    """One entry per layer and dtype: a layer may be called more than once."""
    found: dict[tuple[str, str], float] = {}
    for key, value in zip(layers, largest, strict=True):
        found[key] = max(found.get(key, 0.0), float(value))
    return tuple(ActivationSample(*key, value) for key, value in found.items())
