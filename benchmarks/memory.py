"""Traces of a step that fits into memory while its trace does not: rows, peak, gradient maxima.

A decoder-style transformer in mixed_float16 with Adam, on one GPU. It is traced twice, each time
in a process of its own: with all the memory of the GPU, and with a limit a little above what the
plain step takes. The batch is one sequence again and again, so that every part of it has the same
largest gradients as the whole. Prints a Markdown table; its last column is how far the largest
gradients of rows in the part are from those in the whole, relatively.

    python benchmarks/memory.py tensorflow jax torch
    python benchmarks/memory.py --one jax 0          one trace without a limit, as JSON
    python benchmarks/memory.py --one jax 6000       with 6000 MiB
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from typing import Any

from backends import Size, transformer

SIZE = Size(
    layers=2, width=512, heads=8, tokens=256, sequences=48, pixels=0, images=0, vocabulary=512
)
ROOM = 1.5
"""Memory that is allowed over the peak of the plain step: less than the trace's three times."""
LIMIT_S = 300


def measure(limit_mib: float) -> dict[str, Any]:
    """Traces a step, as a whole or as it fits, and tells rows, peak and gradients."""
    import keras
    import numpy as np

    from floatline.capture.capture import Capture, KeptMoment
    from floatline.pipeline import load_backend
    from floatline.progress import silent
    from floatline.records import Configuration, History, StepRecord
    from floatline.tracing.moments import trace_moments

    _limit(keras.backend.backend(), limit_mib)
    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy("mixed_float16")
    model, _ = transformer(SIZE)
    step = load_backend().keras_step(model, lambda _: None)
    shape = (2, 1, SIZE.tokens)
    sequence = np.random.default_rng(0).integers(0, SIZE.vocabulary, shape).astype("int32")
    batch = tuple(np.repeat(tokens, SIZE.sequences, axis=0) for tokens in sequence)
    step.prepare(batch)
    state = step.snapshot()
    _, outcome = step.run(batch)
    plain = _peak_mib()
    record = StepRecord(0, outcome.loss, finite_gradients=all(outcome.finite))
    moment = KeptMoment(0, "first", state, batch)
    capture = Capture(Configuration("mixed_float16"), step, History((record,)), (moment,), ())
    begin = time.perf_counter()
    (trace,) = trace_moments(capture, silent)
    rows = SIZE.sequences if trace.rows is None else _count(trace.rows)
    return {
        "rows": trace.rows or f"all {SIZE.sequences}",
        "agrees": trace.agrees,
        "plain_mib": plain,
        "peak_mib": _peak_mib(),
        "seconds": time.perf_counter() - begin,
        "maxima": [
            (site.place.operation, site.statistics.max_abs)
            for site in trace.sites
            if site.place.phase == "backward"
            and site.shape
            and site.shape[0] in (rows, rows * SIZE.tokens)
        ],
    }


def _count(rows: str) -> int:
    """How many rows "rows 0 to 15 of 64" are."""
    words = rows.split()
    return int(words[3]) - int(words[1]) + 1 if words[0] == "rows" else 1


def _limit(backend: str, mib: float) -> None:
    """Takes memory away; for JAX that is done by the environment, before it starts."""
    if not mib or backend == "jax":
        return
    if backend == "tensorflow":
        import tensorflow as tf

        one = tf.config.LogicalDeviceConfiguration(memory_limit=int(mib))
        tf.config.set_logical_device_configuration(tf.config.list_physical_devices("GPU")[0], [one])
        return
    import torch

    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(mib * 2**20 / total)


def _peak_mib() -> float:
    import keras

    name = keras.backend.backend()
    if name == "tensorflow":
        import tensorflow as tf

        return float(tf.config.experimental.get_memory_info("GPU:0")["peak"]) / 2**20
    if name == "jax":
        import jax

        return float((jax.devices()[0].memory_stats() or {})["peak_bytes_in_use"]) / 2**20
    import torch

    return float(torch.cuda.max_memory_allocated()) / 2**20


def rows_of(backend: str) -> list[dict[str, Any]]:
    """The whole trace, and the one with little memory."""
    whole = _in_own_process(backend, 0.0)
    rows = [{"backend": backend, "limit_mib": None, **whole}]
    if "error" not in whole:
        limit = ROOM * whole["plain_mib"]
        rows.append({"backend": backend, "limit_mib": limit, **_in_own_process(backend, limit)})
    return rows


def _in_own_process(backend: str, limit_mib: float) -> dict[str, Any]:
    environment = {
        **os.environ,
        "KERAS_BACKEND": backend,
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
    }
    if limit_mib:
        environment["XLA_PYTHON_CLIENT_MEM_FRACTION"] = f"{limit_mib / _total_mib():.5f}"
        environment["XLA_PYTHON_CLIENT_PREALLOCATE"] = "true"
    command = [sys.executable, __file__, "--one", backend, str(limit_mib)]
    try:
        ran = subprocess.run(
            command, check=False, env=environment, capture_output=True, text=True, timeout=LIMIT_S
        )
    except subprocess.TimeoutExpired:
        return {"error": f"no end within {LIMIT_S} s"}
    if ran.returncode:
        print(ran.stderr, file=sys.stderr)
        return {"error": (ran.stderr.strip().splitlines() or ["no message"])[-1]}
    row: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    return row


def _total_mib() -> float:
    asked = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    told = subprocess.run(asked, check=True, capture_output=True, text=True)
    return float(told.stdout.split()[0])


def table(rows: list[dict[str, Any]]) -> str:
    """The measurements as a Markdown table."""
    head = (
        "| backend | limit, MiB | rows traced | agrees | plain peak, MiB | traced peak, MiB "
        "| trace, s | gradients of rows | largest distance |\n" + "|---" * 9 + "|"
    )
    wholes = {row["backend"]: row.get("maxima", []) for row in rows if row["limit_mib"] is None}
    return "\n".join([head, *(_line(row, wholes[row["backend"]]) for row in rows)])


def _line(row: dict[str, Any], whole: list[Any]) -> str:
    limit = "none" if row["limit_mib"] is None else f"{row['limit_mib']:.0f}"
    if "error" in row:
        return f"| {row['backend']} | {limit} | {row['error']} |" + " |" * 6
    return (
        f"| {row['backend']} | {limit} | {row['rows']} | {row['agrees']} | {row['plain_mib']:.0f} "
        f"| {row['peak_mib']:.0f} | {row['seconds']:.1f} | {len(row['maxima'])} "
        f"| {_distance(row['maxima'], whole)} |"
    )


def _distance(part: list[Any], whole: list[Any]) -> str:
    """How far the largest gradients of a part are from those of the whole, relatively."""
    if [name for name, _ in part] != [name for name, _ in whole]:
        return f"other operations: {len(part)} and {len(whole)}"
    distances = [abs(a - b) / b for (_, a), (_, b) in zip(part, whole, strict=True) if b]
    return f"{max(distances):.1e}, median {statistics.median(distances):.1e}"


def main() -> None:
    """Measures one trace in this process, or the table in many."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--one", action="store_true", help="one trace: a backend and MiB")
    parser.add_argument("names", nargs="+", help="backends (with --one: a backend and MiB)")
    arguments = parser.parse_args()
    if arguments.one:
        os.environ.setdefault("KERAS_BACKEND", arguments.names[0])
        print(json.dumps(measure(float(arguments.names[1]))))
        return
    print(table([row for backend in arguments.names for row in rows_of(backend)]))


if __name__ == "__main__":
    main()
