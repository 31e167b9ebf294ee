"""Time of a training step plain, under TensorFlow's own debuggers, and traced by Floatline.

Every figure of one row is measured on the same model and batch, each tool in a process of its own
(the debuggers cannot be taken off a graph again), repeated in turn to share the machine's mood.
Prints a Markdown table of ratios to the plain step.

    python benchmarks/peers.py
    python benchmarks/peers.py check_numerics examples/digits.py      one figure, as JSON
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

EXAMPLES = Path(__file__).parent.parent / "examples"
SCRIPTS = ("healthy_mlp", "healthy_lstm", "conv_policy_before", "deep_sigmoid", "digits")
TOOLS = ("plain", "check_numerics", "debugger_v2", "floatline")
ROUNDS = 1
STEPS = 50


def measure(tool: str, script: str) -> dict[str, float]:
    """Median seconds of one step of a script under a tool, and of the whole trace."""
    import tensorflow as tf

    from floatline.capture.capture import Budget, Capture
    from floatline.capture.script import capture_script
    from floatline.pipeline import load_backend
    from floatline.progress import silent

    if tool == "check_numerics":
        tf.debugging.enable_check_numerics()
    elif tool == "debugger_v2":
        tf.debugging.experimental.enable_dump_debug_info(
            tempfile.mkdtemp(), tensor_debug_mode="FULL_HEALTH", circular_buffer_size=-1
        )

    def examine(capture: Capture) -> dict[str, float]:
        moment = capture.moments[0]
        step: Any = capture.step
        if tool == "floatline":
            begin = time.perf_counter()
            step.trace(moment.state, moment.batch)
            first = time.perf_counter() - begin
            graph, whole = _traced(step, moment)
            return {"step": graph, "whole": whole, "first": first}
        function = step._builder.function  # noqa: SLF001 (the user's own compiled step)
        return {"step": _median(lambda: function(moment.batch))}

    return capture_script(
        script,
        [],
        load_backend=load_backend,
        precision=None,
        budget=Budget(steps=2),
        progress=silent,
        examine=examine,
    )


def _traced(step: Any, moment: Any) -> tuple[float, float]:
    """Seconds of the traced graph alone, and of the trace with its statistics read."""
    graph, tensors = step._builder.graph_for(moment.batch)  # noqa: SLF001 (times the graph alone)
    program = step._traced[graph.concrete]  # noqa: SLF001
    state = [moment.state[id(variable)][1] for variable in graph.variables]
    function = program._function  # noqa: SLF001
    return (
        _median(lambda: function(tensors, state)),
        _median(lambda: step.trace(moment.state, moment.batch)),
    )


def _median(action: Callable[[], Any]) -> float:
    action()
    times = []
    for _ in range(STEPS):
        begin = time.perf_counter()
        action()
        times.append(time.perf_counter() - begin)
    return statistics.median(times)


def _in_own_process(tool: str, script: str) -> dict[str, float]:
    command = [sys.executable, __file__, tool, script]
    result = subprocess.run(command, check=True, capture_output=True, text=True)
    measured: dict[str, float] = json.loads(result.stdout.splitlines()[-1])
    return measured


def row(script: str) -> str:
    """One line of the table."""
    path = str(EXAMPLES / f"{script}.py")
    found: dict[str, list[dict[str, float]]] = {tool: [] for tool in TOOLS}
    for _ in range(ROUNDS):
        for tool in TOOLS:
            found[tool].append(_in_own_process(tool, path))
    middle = {
        f"{tool}.{key}": statistics.median(run[key] for run in runs)
        for tool, runs in found.items()
        for key in runs[0]
    }
    plain = middle["plain.step"]
    ratios = " | ".join(
        f"{middle[key] / plain:.1f}"
        for key in ("check_numerics.step", "debugger_v2.step", "floatline.step", "floatline.whole")
    )
    return f"| {script} | {1000 * plain:.2f} | {ratios} | {middle['floatline.first']:.1f} |"


def main() -> None:
    """Measures one figure in this process, or the whole table in many."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    if len(sys.argv) > 1:
        print(json.dumps(measure(*sys.argv[1:])))
        return
    print(
        "| example | plain step, ms | check_numerics | Debugger V2, FULL_HEALTH "
        "| Floatline, traced step | Floatline, with statistics read | first trace, s |"
    )
    print("|---" * 7 + "|")
    for script in SCRIPTS:
        print(row(script), flush=True)


if __name__ == "__main__":
    main()
