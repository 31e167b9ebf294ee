"""`shard_map`: what runs on each device by itself is rebuilt around the interpreter."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import jax
from jax.sharding import PartitionSpec

from floatline.backends.jax.lanes import Array, Value, distinct, rejoined
from floatline.backends.jax.nested import as_array
from floatline.tracing.statistics import Pack

if TYPE_CHECKING:
    from floatline.backends.jax.interpreter import Frame


def _shard_map(frame: Frame, equation: Any, inputs: Sequence[Value]) -> Sequence[Value]:
    """Runs the parts of every device in all lanes; statistics are those of all devices together.

    A value that all devices hold alike is counted once for each of them.
    """
    params, lanes = equation.params, len(frame.setting.lanes)
    axes = frozenset(params.get("newly_manual_axes") or params.get("manual_axes") or ())
    together = [value.shared for value in inputs]
    apart = [False] * len(equation.outvars)
    indices: list[int] = []
    sources: list[tuple[int, ...]] = []

    def part(flat: Sequence[Array]) -> tuple[list[Array], Pack | None]:
        recorder = frame.recorder.nested(spread=True) if frame.recorder is not None else None
        values = [
            value._replace(sources=given.sources)
            for value, given in zip(rejoined(flat, together, lanes), inputs, strict=True)
        ]
        outputs = frame.below(equation, params["jaxpr"], recorder).run(params["jaxpr"], values)
        sources[:] = [value.sources for value in outputs]
        pack = None
        if recorder is not None:
            indices[:], pack = recorder.finish()
        return distinct([as_array(v) for v in outputs], apart), _row(pack)

    flat, pack = jax.shard_map(
        part,
        mesh=params["mesh"],
        in_specs=(_per_lane(params["in_specs"], together, lanes),),
        out_specs=(_per_lane(params["out_specs"], apart, lanes), PartitionSpec(tuple(axes))),
        axis_names=axes,
        check_vma=params["check_vma"],
    )(distinct([as_array(v) for v in inputs], together))
    if pack is not None and frame.recorder is not None:
        frame.recorder.absorb(indices, _of_all_devices(pack))
    values = rejoined(flat, apart, lanes)
    return [v._replace(sources=known) for v, known in zip(values, sources, strict=True)]


def _per_lane(specs: Sequence[Any], together: Sequence[bool], lanes: int) -> list[Any]:
    return [
        spec for spec, one in zip(specs, together, strict=True) for _ in range(1 if one else lanes)
    ]


def _row(pack: Pack | None) -> Pack | None:
    """The statistics of one device, as its row among those of all devices."""
    return None if pack is None else Pack(*(part[None] for part in pack))


def _of_all_devices(pack: Pack) -> Pack:
    return Pack(pack.counts.sum(0), pack.sums.sum(0), pack.maxima.max(0))


HANDLERS: dict[str, Callable[[Frame, Any, Sequence[Value]], Sequence[Value]]] = {
    "shard_map": _shard_map
}
