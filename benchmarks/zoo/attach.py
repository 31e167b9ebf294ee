"""Runs an unmodified script under a peer, and notes whether the peer said anything, and what.

    python -m benchmarks.zoo.attach PEER SCRIPT ANSWER.json

The answer says whether the peer stopped the training or reported something, its words, and the
lines of the script that these words name, innermost last.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import runpy
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

Peer = Callable[[], "contextlib.AbstractContextManager[Callable[[], str]]"]
"""Attaches a peer; what it hands out tells, after the script, what the peer reported."""

OWN_WORDS = (
    "Detected Infinity or NaN",
    "returned nan values",
    "invalid value (",
    "DebugUnderflowOverflow: inf/nan detected",
)
"""What an error says that a peer raised; others are failures of the script or of the peer."""


def nothing_more() -> str:
    """A peer that only raises errors has no more to say at the end."""
    return ""


@contextlib.contextmanager
def terminate_on_nan() -> Iterator[Callable[[], str]]:
    """Gives every `fit` the callback; loops by hand and `train_on_batch` take none."""
    import keras

    plain, said = keras.Model.fit, io.StringIO()

    def fit(model: Any, *args: Any, **kwargs: Any) -> Any:
        callbacks = [*(kwargs.pop("callbacks", None) or []), keras.callbacks.TerminateOnNaN()]
        with contextlib.redirect_stdout(said):
            return plain(model, *args, callbacks=callbacks, **kwargs)

    keras.Model.fit = fit

    def report() -> str:
        lines = said.getvalue().splitlines()
        return next((line for line in lines if "Invalid loss, terminating training" in line), "")

    yield report


@contextlib.contextmanager
def check_numerics() -> Iterator[Callable[[], str]]:
    """Raises at the first operation whose output is not finite."""
    import tensorflow as tf

    tf.debugging.enable_check_numerics()
    yield nothing_more


@contextlib.contextmanager
def debugger_v2() -> Iterator[Callable[[], str]]:
    """Writes every tensor's health, and lets TensorFlow's own monitor read it afterwards."""
    import tensorflow as tf

    folder = tempfile.mkdtemp()
    debugging = tf.debugging.experimental
    debugging.enable_dump_debug_info(
        folder, tensor_debug_mode="CONCISE_HEALTH", circular_buffer_size=-1
    )

    def report() -> str:
        from tensorflow.python.debug.lib.debug_events_monitors import InfNanMonitor
        from tensorflow.python.debug.lib.debug_events_reader import DebugDataReader

        debugging.disable_dump_debug_info()
        with DebugDataReader(folder) as reader:
            monitor = InfNanMonitor(reader)
            reader.update()
            alerts = monitor.alerts()
            return _alert(reader, alerts[0]) if alerts else ""

    yield report


def _alert(reader: Any, alert: Any) -> str:
    """The first alert, with the stack that the reader knows for its operation."""
    index, name = alert.graph_execution_trace_index, ""
    if index is None:
        executions = reader.executions(digest=True)
        execution = reader.read_execution(executions[alert.execution_index])
        _, frames = reader.read_execution_stack_trace(execution)
    else:
        digest = reader.graph_execution_traces(digest=True)[index]
        name = digest.op_name
        created = reader.graph_by_id(digest.graph_id).get_op_creation_digest(name)
        _, frames = reader.read_graph_op_creation_stack_trace(created)
    lines = [f'  File "{frame[0]}", line {frame[1]}, in {frame[2]}' for frame in frames]
    return "\n".join([f"InfNanAlert: {alert.op_type} {name}", *lines])


@contextlib.contextmanager
def detect_anomaly() -> Iterator[Callable[[], str]]:
    """Raises at the first backward function that returns NaN, and warns of its forward line."""
    import torch

    torch.autograd.set_detect_anomaly(True)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")

        def report() -> str:
            words = (str(warning.message) for warning in caught)
            return next((text for text in words if "Error detected in" in text), "")

        yield report


@contextlib.contextmanager
def debug_nans() -> Iterator[Callable[[], str]]:
    """Raises at the first compiled function that returns NaN, after running it step by step."""
    import jax

    jax.config.update("jax_debug_nans", True)
    yield nothing_more


@contextlib.contextmanager
def debug_underflow_overflow() -> Iterator[Callable[[], str]]:
    """Looks at what each module of the first model takes and gives, and raises at NaN or infinity.

    It lives on PyTorch's forward hooks, which Keras' layers never call: they are called here. It
    is attached before the model's second step, when the layers have their weights, or else it
    would be looking at a model without modules.
    """
    import keras
    import torch
    from transformers.debug_utils import DebugUnderflowOverflow

    plain_layer, plain_module = keras.Layer.__call__, torch.nn.Module.__call__
    depth, debugger = 0, None

    def attach(module: Any) -> None:
        nonlocal debugger
        debugger = DebugUnderflowOverflow(module)
        inner = getattr(module, "_flatten_layers", lambda **_: ())(include_self=False)
        for layer in inner:  # Keras keeps its layers in lists, which PyTorch does not look into.
            if layer not in debugger.module_names:
                debugger.module_names[layer] = layer.path
                layer.register_forward_hook(debugger.forward_hook)

    def outermost(call: Callable[..., Any], module: Any, args: Any, kwargs: Any) -> Any:
        nonlocal depth
        depth += 1
        try:
            result = call(module, *args, **kwargs)
        finally:
            depth -= 1
        learns = torch.is_grad_enabled() and torch.is_tensor(result) and result.requires_grad
        if depth == 0 and debugger is None and learns:
            attach(module)
        return result

    def layer_call(layer: Any, *args: Any, **kwargs: Any) -> Any:
        result = outermost(plain_layer, layer, args, kwargs)
        if torch.is_tensor(result) and result.device.type != "meta":
            hooks = layer._forward_hooks  # noqa: SLF001 (what PyTorch itself calls them from)
            for hook in tuple(hooks.values()):
                hook(layer, args, result)
        return result

    def module_call(module: Any, *args: Any, **kwargs: Any) -> Any:
        return outermost(plain_module, module, args, kwargs)

    keras.Layer.__call__, torch.nn.Module.__call__ = layer_call, module_call
    yield nothing_more


PEERS: dict[str, Peer] = {
    peer.__name__: peer
    for peer in (
        terminate_on_nan,
        check_numerics,
        debugger_v2,
        detect_anomaly,
        debug_nans,
        debug_underflow_overflow,
    )
}


def attached(name: str, script: Path) -> dict[str, Any]:
    """Runs the script under a peer; what either said."""
    raised = ""
    with PEERS[name]() as report:
        sys.argv = [str(script)]
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                runpy.run_path(str(script), run_name="__main__")
        except (Exception, SystemExit):  # noqa: BLE001 (a peer speaks through any exception)
            raised = traceback.format_exc()
        reported = report()
    own = any(word in raised for word in OWN_WORDS)
    words = reported + ("\n" + raised if own else "")
    return {
        "detected": bool(reported or own),
        "failed": bool(raised and not own),
        "words": words[-20000:],
        "error": "" if own else raised[-2000:],
        "lines": named_lines(words, script.name),
    }


def named_lines(words: str, script: str) -> list[int]:
    """Every line of the script that the words name.

    Example:

    >>> named_lines('File "/a/t.py", line 7, in call; /a/t.py (L9)', "t.py")
    [7, 9]
    """
    pattern = rf"{re.escape(script)}(?:\", line |:| \(L| +L)(\d+)"
    return sorted({int(line) for line in re.findall(pattern, words)})


def main() -> None:
    """Runs one script, and writes the answer."""
    name, script, result = sys.argv[1:4]
    answer = attached(name, Path(script))
    Path(result).write_text(json.dumps(answer), encoding="utf-8")


if __name__ == "__main__":
    main()
