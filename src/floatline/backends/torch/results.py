"""Enters what operations produce: new tensors, and tensors that were written to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from floatline.backends.torch.calls import Call, Feed
from floatline.backends.torch.contexts import Contexts
from floatline.backends.torch.lanes import LOW, Tensor, leaves, upcast
from floatline.backends.torch.operations import MOVES_WEIGHTS
from floatline.backends.torch.shadows import Shadows, covers
from floatline.backends.torch.sites import Sites
from floatline.backends.torch.widening import Widening


class Results:
    """Keeps shadows, sources and sites in step with what the operations do.

    Args:
        shadows: Shadow values.
        sites: Sites.
        contexts: The circumstances of the running operation.
    """

    def __init__(self, shadows: Shadows, sites: Sites, contexts: Contexts) -> None:
        self._shadows, self._sites, self._contexts = shadows, sites, contexts
        self.widening = Widening(shadows)

    def shared(self, call: Call, feed: Feed, computed: Any) -> None:
        """Results that cannot differ between the lanes."""
        for position, tensor in call.fresh(computed):
            sources = feed.result(position)
            self._shadows.share(tensor, self._same(call, tensor, tensor, sources))
        for tensor in call.written:
            self._overwrite(tensor, self._same(call, tensor, tensor, feed.written(tensor)))

    def drawn(self, call: Call, feed: Feed, computed: Any) -> None:
        """Random numbers: drawn once, given to every lane."""
        for position, tensor in call.fresh(computed):
            sources = feed.result(position)
            self._shadows.share(tensor, self._same(call, tensor, upcast(tensor), sources))
        for tensor in call.written:
            if self._shadows.slot(tensor).differs:
                self._shadows.written(tensor).copy_(tensor)
            self._overwrite(tensor, feed.written(tensor))

    def lost(self, call: Call, feed: Feed, computed: Any) -> None:
        """Results of what cannot run in float32: the computed values are their own shadows."""
        self._sites.omissions.add(call.title, "has no float32 twin")
        for position, tensor in call.fresh(computed):
            sources = feed.result(position)
            self._shadows.share(tensor, self._same(call, tensor, upcast(tensor), sources))
        for tensor in call.written:
            self._shadows.forget(tensor)
            self._overwrite(tensor, feed.written(tensor))

    def made(self, call: Call, feed: Feed, lanes: tuple[Any, Any, Any], *, measured: bool) -> None:
        """New tensors, in every lane: computed, shadow, local."""
        computed, shadows, locals_ = lanes[0], *(list(leaves(lane)) for lane in lanes[1:])
        for position, tensor in call.fresh(computed):
            shadow, fed = shadows[position], feed.result(position)
            sources = fed
            if shadow.shape == tensor.shape and measured:
                sources = self._value(call, tensor, shadow, locals_[position], fed)
            self._sites.omissions.moved += not measured
            self._shadows.adopt(tensor, shadow, sources)
            self._note_width(call, tensor, fed, measured=measured)

    def before(self, call: Call, shadows: Sequence[Tensor]) -> dict[int, Tensor]:
        """What is in the weights that a call is about to move, by position, in float32."""
        if call.known.name not in MOVES_WEIGHTS:
            return {}
        moved = (n for n, tensor in enumerate(call.written) if self._sites.moves_weight(tensor))
        return {n: shadows[n].clone() for n in moved}

    def written(
        self,
        call: Call,
        feed: Feed,
        shadows: Sequence[Tensor],
        locals_: Sequence[Tensor],
        before: Mapping[int, Tensor],
        *,
        measured: bool,
    ) -> None:
        """Tensors that were written to, in every lane."""
        lanes = zip(call.written, shadows, locals_, strict=True)
        for position, (tensor, shadow, local) in enumerate(lanes):
            sources = feed.written(tensor)
            if position in before:
                change, context = shadow - before[position], self._contexts.current()
                sources += self._sites.change(call.title, change, sources, context)
            if measured:
                sources = self._value(call, tensor, shadow, local, sources)
            self._sites.omissions.moved += not measured
            self._note_width(call, tensor, sources, measured=measured)
            self._overwrite(tensor, sources)

    def _same(
        self, call: Call, tensor: Tensor, shadow: Tensor, sources: tuple[int, ...]
    ) -> tuple[int, ...]:
        if call.known.moves or call.widens:
            self._sites.omissions.moved += 1
            return sources
        return self._value(call, tensor, shadow, shadow, sources)

    def _value(
        self,
        call: Call,
        tensor: Tensor,
        shadow: Tensor,
        local: Tensor,
        sources: tuple[int, ...],
    ) -> tuple[int, ...]:
        context, title = self._contexts.current(), call.title
        wide = self.widening.narrowed(call, tensor, context) if tensor.dtype in LOW else None
        if wide is not None:
            title, sources = wide.title, wide.sources
        return self._sites.value(title, tensor, shadow, local, sources, context)

    def _note_width(
        self, call: Call, tensor: Tensor, sources: tuple[int, ...], *, measured: bool
    ) -> None:
        if call.widens and call.low:
            self.widening.widened(tensor)
        elif measured:
            self.widening.carried_out(call, tensor, sources, self._contexts.current())
        else:
            self.widening.moved(call, tensor)

    def _overwrite(self, tensor: Tensor, sources: tuple[int, ...]) -> None:
        slot = self._shadows.slot(tensor)
        kept = () if covers(tensor) else slot.sources
        slot.sources = tuple(dict.fromkeys((*kept, *sources)))
