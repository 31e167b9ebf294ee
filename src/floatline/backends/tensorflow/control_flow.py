"""The operations that run another graph, and what rebuilds each."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from floatline.backends.tensorflow import branches, loops
from floatline.backends.tensorflow.lanes import Operation, Value
from floatline.backends.tensorflow.nested import is_named_call
from floatline.backends.tensorflow.operations import BRANCHES, CALLS, CASES, LOOPS

if TYPE_CHECKING:
    from floatline.backends.tensorflow.interpreter import Interpreter

Handler = Callable[["Interpreter", Operation], list[Value]]

_HANDLERS: dict[str, Handler] = {
    **dict.fromkeys(CALLS, branches.call),
    **dict.fromkeys(BRANCHES, branches.branch),
    **dict.fromkeys(CASES, branches.case),
    **dict.fromkeys(LOOPS, loops.loop),
}


def handler(operation: Operation) -> Handler | None:
    """What rebuilds an operation that runs another graph; None for every other operation."""
    known = _HANDLERS.get(operation.type)
    return branches.named_call if known is None and is_named_call(operation) else known
