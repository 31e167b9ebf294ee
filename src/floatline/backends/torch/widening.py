"""Recognizes operations that Keras carries out in float32 although its layer computes in 16 bits.

On a CPU, where PyTorch had few operations in float16, Keras casts their arguments to float32 and
their result back: a matrix product, a softmax, a running sum. What overflows, if anything, is that
last cast. It stands for the operation, and is named after it. Where a function takes several
operations, as the gradient of an arctangent does, only this device keeps in float32 what lies
between.
Source: https://github.com/keras-team/keras/blob/v3.15.1/keras/src/backend/torch/numpy.py
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from floatline.backends.torch.calls import Call
from floatline.backends.torch.lanes import LOW, Tensor, name_of
from floatline.backends.torch.provenance import Context, keras_functions
from floatline.backends.torch.shadows import Shadows, Slot
from floatline.records import Site, Widened


@dataclass(frozen=True, slots=True)
class Wide:
    """An operation that Keras carried out in float32 on values that it had widened.

    Attributes:
        title: Its name.
        sources: The sites that fed it.
        function: The function of Keras that did it.
        inside: The sites between what the function was given and this operation.
    """

    title: str
    sources: tuple[int, ...]
    function: str
    inside: frozenset[int] = frozenset()


class Widening:
    """Keeps which tensors were widened, and what came of them.

    Args:
        shadows: What is known of the memory of tensors.
    """

    def __init__(self, shadows: Shadows) -> None:
        self._shadows = shadows
        self._counts: Counter[tuple[str, str]] = Counter()
        self._elsewhere: dict[int, str] = {}

    def widened(self, tensor: Tensor) -> None:
        """Notes that a tensor holds 16-bit values in a wider dtype."""
        self._shadows.slot(tensor).widened = True

    def carried_out(
        self, call: Call, result: Tensor, sources: tuple[int, ...], context: Context
    ) -> None:
        """Notes the result of an operation, if all it read had been widened inside Keras."""
        slots = () if call.low else self._all_wide(call)
        functions = keras_functions(context) if slots else ()
        self._shadows.slot(result).wide = (
            _carried_out(call.title, slots, sources, functions) if slots else None
        )

    def _all_wide(self, call: Call) -> Sequence[Slot]:
        """What is known of the floats that an operation reads; nothing if one is not wide."""
        slots = []
        for tensor in call.inputs:  # Stops at the first that is not: a list may have hundreds.
            if tensor.is_floating_point():
                slot = self._shadows.slot(tensor)
                if not (slot.widened or slot.wide):
                    return ()
                slots.append(slot)
        return slots

    def moved(self, call: Call, result: Tensor) -> None:
        """A copy in another order, or with some values left out, is as wide as what it copies."""
        floats = [tensor for tensor in call.inputs if tensor.is_floating_point()]
        if len(floats) == 1 and call.known.moves and not call.low:
            read = self._shadows.slot(floats[0])
            slot = self._shadows.slot(result)
            slot.widened, slot.wide = read.widened, read.wide

    def narrowed(self, call: Call, result: Tensor, context: Context) -> Wide | None:
        """The operation that a cast completes, or None."""
        if call.known.name != "_to_copy" or call.inputs[0].dtype in LOW:
            return None
        wide: Wide | None = self._shadows.slot(call.inputs[0]).wide
        if wide is None or wide.function not in keras_functions(context):
            return None
        dtype = name_of(result.dtype)
        self._counts[wide.function, dtype] += 1
        self._elsewhere |= dict.fromkeys(wide.inside, dtype)
        return wide

    @property
    def functions(self) -> tuple[Widened, ...]:
        """What was carried out in float32."""
        counts = sorted(self._counts.items())
        return tuple(Widened(function, dtype, n) for (function, dtype), n in counts)

    def marked(self, sites: tuple[Site, ...]) -> tuple[Site, ...]:
        """The sites, those told apart that only this device holds in float32."""
        known = self._elsewhere
        return tuple(replace(s, dtype_elsewhere=known.get(s.index)) if known else s for s in sites)

    @property
    def note(self) -> str | None:
        """What a reader must know of the step; None when nothing was widened."""
        if not self._counts:
            return None
        names = ", ".join(sorted({function for function, _ in self._counts}))
        return (
            f"On this device Keras computes {names} in float32 and rounds the result to 16 bits; "
            "on a GPU they run in 16 bits throughout. What would overflow or lose digits only "
            "inside of them cannot be seen here."
        )


def _carried_out(
    title: str, slots: Sequence[Slot], sources: tuple[int, ...], functions: Sequence[str]
) -> Wide | None:
    """The operation inside of a function of Keras' that has widened, or made, all that it read."""
    if not functions or not all(slot.widened or _made_by(slot, functions[0]) for slot in slots):
        return None
    between = [slot for slot in slots if not slot.widened]
    passed = (slot.wide.inside.union(slot.sources) for slot in between)
    return Wide(title, sources, functions[0], frozenset[int]().union(*passed))


def _made_by(slot: Slot, function: str) -> bool:
    return slot.wide is not None and slot.wide.function == function
