"""The operations that run another graph, and what rebuilds each."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from floatline.backends.tensorflow import branches, loops
from floatline.backends.tensorflow.lanes import Operation, Value
from floatline.backends.tensorflow.operations import BRANCHES, CALLS, CASES, LOOPS

if TYPE_CHECKING:
    from floatline.backends.tensorflow.interpreter import Interpreter

HANDLERS: dict[str, Callable[[Interpreter, Operation], list[Value]]] = {
    **dict.fromkeys(CALLS, branches.call),
    **dict.fromkeys(BRANCHES, branches.branch),
    **dict.fromkeys(CASES, branches.case),
    **dict.fromkeys(LOOPS, loops.loop),
}
"""Operations that run another graph."""
