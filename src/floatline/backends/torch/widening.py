"""Recognizes operations that Keras carries out in float32 although its layer computes in 16 bits.

On a CPU, where PyTorch had few operations in float16, Keras casts their arguments to float32 and
their result back: a matrix product, a softmax, a variance. What overflows, if anything, is that
last cast. It stands for the operation, and is named after it.
Source: https://github.com/keras-team/keras/blob/v3.15.1/keras/src/backend/torch/numpy.py
"""

from __future__ import annotations

from dataclasses import dataclass

from floatline.backends.torch.calls import Call
from floatline.backends.torch.lanes import LOW, Tensor
from floatline.backends.torch.provenance import Context, keras_functions
from floatline.backends.torch.shadows import Shadows


@dataclass(frozen=True, slots=True)
class Wide:
    """An operation that Keras carried out in float32 on values that it had widened.

    Attributes:
        title: Its name.
        sources: The sites that fed it.
        function: The function of Keras that did it.
    """

    title: str
    sources: tuple[int, ...]
    function: str


class Widening:
    """Keeps which tensors were widened, and what came of them.

    Args:
        shadows: What is known of the memory of tensors.
    """

    def __init__(self, shadows: Shadows) -> None:
        self._shadows = shadows
        self._functions: dict[str, int] = {}

    def widened(self, tensor: Tensor) -> None:
        """Notes that a tensor holds 16-bit values in a wider dtype."""
        self._shadows.slot(tensor).widened = True

    def carried_out(
        self, call: Call, result: Tensor, sources: tuple[int, ...], context: Context
    ) -> None:
        """Notes the result of an operation, if all it read had been widened inside Keras."""
        if call.low or not self._reads_widened(call):
            return
        functions = keras_functions(context)
        if functions:
            self._shadows.slot(result).wide = Wide(call.title, sources, functions[0])

    def narrowed(self, call: Call, context: Context) -> Wide | None:
        """The operation that a cast completes, or None."""
        if call.known.name != "_to_copy" or call.inputs[0].dtype in LOW:
            return None
        wide: Wide | None = self._shadows.slot(call.inputs[0]).wide
        if wide is None or wide.function not in keras_functions(context):
            return None
        self._functions[wide.function] = self._functions.get(wide.function, 0) + 1
        return wide

    def _reads_widened(self, call: Call) -> bool:
        """Whether a call reads floats, and all of them were widened."""
        found = False
        for tensor in call.inputs:
            if tensor.is_floating_point():
                found = True
                if not self._shadows.slot(tensor).widened:
                    return False
        return found

    @property
    def note(self) -> str | None:
        """What a reader must know of the step; None when nothing was widened."""
        if not self._functions:
            return None
        names = ", ".join(sorted(self._functions))
        return (
            f"On this device Keras computes {names} in float32 and rounds the result to 16 bits, "
            f"{sum(self._functions.values())} times in a step; on a GPU they run in 16 bits "
            "throughout. What would overflow or lose digits only inside of them cannot be seen "
            "here."
        )
