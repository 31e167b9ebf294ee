"""Cost of tracing a transformer of 6, 12 and 24 layers: does it grow with the operations?

Model: d 256, 8 heads, 128 tokens, batch 8, mixed_float16, Adam. Each depth runs in a process of
its own, so that memory is its own. Prints a Markdown table.

    python benchmarks/transformer.py
    python benchmarks/transformer.py 12      one depth, as JSON
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import time
from typing import Any

DEPTHS = (6, 12, 24)
WIDTH, HEADS, TOKENS, BATCH, VOCABULARY = 256, 8, 128, 8, 1000
STEPS = 5


def model(depth: int) -> Any:
    """A decoder-style transformer that predicts the next token."""
    import keras
    from keras import layers

    tokens = keras.Input((TOKENS,), dtype="int32")
    x = layers.Embedding(VOCABULARY, WIDTH)(tokens)
    for _ in range(depth):
        normal = layers.LayerNormalization()(x)
        attended = layers.MultiHeadAttention(HEADS, WIDTH // HEADS)(
            normal, normal, use_causal_mask=True
        )
        x = layers.Add()([x, attended])
        hidden = layers.Dense(4 * WIDTH, activation="gelu")(layers.LayerNormalization()(x))
        x = layers.Add()([x, layers.Dense(WIDTH)(hidden)])
    logits = layers.Dense(VOCABULARY, dtype="float32")(layers.LayerNormalization()(x))
    built = keras.Model(tokens, logits)
    built.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return built


def measure(depth: int) -> dict[str, float]:
    """Times one depth: plain step, building the trace, traced step; peak memory of each."""
    import keras
    import numpy as np

    from floatline.pipeline import load_backend

    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy("mixed_float16")
    built = model(depth)
    rng = np.random.default_rng(0)
    batch = tuple(rng.integers(0, VOCABULARY, (BATCH, TOKENS)).astype("int32") for _ in range(2))
    step = load_backend().keras_step(built, lambda _: None)
    first = _timed(lambda: step.run(batch))
    plain = statistics.median(_timed(lambda: step.run(batch)) for _ in range(STEPS))
    plain_memory = _peak_mib()
    state = step.snapshot()
    begin = time.perf_counter()
    trace = step.trace(state, batch)
    building = time.perf_counter() - begin
    traced = statistics.median(_timed(lambda: step.trace(state, batch)) for _ in range(STEPS))
    return {
        "layers": depth,
        "sites": len(trace.sites),
        "not_traced": sum(entry.count for entry in trace.not_traced),
        "first_step_s": first,
        "step_s": plain,
        "first_trace_s": building,
        "trace_s": traced,
        "ratio": traced / plain,
        "plain_peak_mib": plain_memory,
        "traced_peak_mib": _peak_mib(),
    }


def _timed(action: Any) -> float:
    begin = time.perf_counter()
    action()
    return time.perf_counter() - begin


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def table(rows: list[dict[str, float]]) -> str:
    """The measurements as a Markdown table."""
    head = (
        "| layers | sites | first step, s | step, s | first trace, s | trace, s | trace / step "
        "| peak MiB, plain | peak MiB, traced | first trace, ms per site |\n" + "|---" * 10 + "|"
    )
    lines = [
        f"| {row['layers']} | {row['sites']} | {row['first_step_s']:.1f} | {row['step_s']:.2f} "
        f"| {row['first_trace_s']:.1f} | {row['trace_s']:.2f} | {row['ratio']:.1f} "
        f"| {row['plain_peak_mib']:.0f} | {row['traced_peak_mib']:.0f} "
        f"| {1000 * row['first_trace_s'] / row['sites']:.1f} |"
        for row in rows
    ]
    return "\n".join([head, *lines])


def main() -> None:
    """Runs one depth in this process, or all of them in theirs."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    if len(sys.argv) > 1:
        print(json.dumps(measure(int(sys.argv[1]))))
        return
    rows = []
    for depth in DEPTHS:
        command = [sys.executable, __file__, str(depth)]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        rows.append(json.loads(output.splitlines()[-1]))
    print(table(rows))


if __name__ == "__main__":
    main()
