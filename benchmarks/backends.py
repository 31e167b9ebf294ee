"""Cost of a traced step on each backend: time, compilation and memory beside the plain step.

Models in mixed_float16 with Adam: a decoder-style transformer and ResNet-50, at the sizes of a GPU
or, with `--small`, of a CPU. Each backend and model runs in a process of its own. Prints a
Markdown table.

    python benchmarks/backends.py jax torch
    python benchmarks/backends.py --small tensorflow jax torch
    python benchmarks/backends.py --one jax transformer        one row, as JSON
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

MODELS = ("transformer", "resnet50")
STEPS = 5
LIMIT_S = 540
VOCABULARY = 1000


class Size(NamedTuple):
    """What makes a model large."""

    layers: int
    width: int
    heads: int
    tokens: int
    sequences: int
    pixels: int
    images: int
    vocabulary: int = VOCABULARY


LARGE = Size(12, 1024, 16, 512, 16, 224, 64)
SMALL = Size(2, 128, 4, 64, 4, 64, 4)


def transformer(size: Size) -> tuple[Any, Any]:
    """A model that predicts the next token, and a batch for it."""
    import keras
    import numpy as np
    from keras import layers

    tokens = keras.Input((size.tokens,), dtype="int32")
    x = layers.Embedding(size.vocabulary, size.width)(tokens)
    for _ in range(size.layers):
        normal = layers.LayerNormalization()(x)
        attended = layers.MultiHeadAttention(size.heads, size.width // size.heads)(
            normal, normal, use_causal_mask=True
        )
        x = layers.Add()([x, attended])
        hidden = layers.Dense(4 * size.width, activation="gelu")(layers.LayerNormalization()(x))
        x = layers.Add()([x, layers.Dense(size.width)(hidden)])
    logits = layers.Dense(size.vocabulary, dtype="float32")(layers.LayerNormalization()(x))
    model = keras.Model(tokens, logits)
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    shape = (size.sequences, size.tokens)
    rng = np.random.default_rng(0)
    return model, tuple(rng.integers(0, size.vocabulary, shape).astype("int32") for _ in range(2))


def resnet50(size: Size) -> tuple[Any, Any]:
    """Keras' ResNet-50 with random weights, and a batch for it."""
    import keras
    import numpy as np

    shape = (size.pixels, size.pixels, 3)
    model = keras.applications.ResNet50(weights=None, input_shape=shape, classes=VOCABULARY)
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy())
    rng = np.random.default_rng(0)
    images = rng.normal(size=(size.images, *shape)).astype("float32")
    return model, (images, rng.integers(0, VOCABULARY, size.images).astype("int32"))


def measure(name: str, size: Size) -> dict[str, Any]:
    """Times one model on the backend that Keras runs on."""
    import keras

    from floatline.pipeline import load_backend

    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy("mixed_float16")
    model, batch = {"transformer": transformer, "resnet50": resnet50}[name](size)
    backend = load_backend()
    step = backend.keras_step(model, lambda _: None)
    first_step = _timed(lambda: step.run(batch))
    plain = statistics.median(_timed(lambda: step.run(batch)) for _ in range(STEPS))
    plain_memory = _memory_mib()
    print(f"{name}: first step {first_step:.1f} s, then {plain:.3f} s", file=sys.stderr, flush=True)
    state = step.snapshot()
    begin = time.perf_counter()
    trace = step.trace(state, batch)
    first_trace = time.perf_counter() - begin
    traced = statistics.median(_timed(lambda: step.trace(state, batch)) for _ in range(STEPS))
    return {
        "backend": backend.framework(),
        "device": backend.device(),
        "model": name,
        "parameters": model.count_params(),
        "sites": len(trace.sites),
        "not_traced": sum(entry.count for entry in trace.not_traced),
        "step_s": plain,
        "trace_s": traced,
        "compile_s": first_step - plain,
        "compile_trace_s": first_trace - traced,
        "plain_mib": plain_memory,
        "traced_mib": _memory_mib(),
    }


def _timed(action: Callable[[], Any]) -> float:
    begin = time.perf_counter()
    action()
    return time.perf_counter() - begin


def _memory_mib() -> float:
    """Peak memory of the GPU where there is one, else of the process."""
    import keras

    peak = {"tensorflow": _tensorflow_peak, "jax": _jax_peak, "torch": _torch_peak}
    found = peak[keras.backend.backend()]()
    kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return found / 2**20 if found is not None else kib / 2**10


def _tensorflow_peak() -> float | None:
    import tensorflow as tf

    if not tf.config.list_physical_devices("GPU"):
        return None
    return float(tf.config.experimental.get_memory_info("GPU:0")["peak"])


def _jax_peak() -> float | None:
    import jax

    memory = jax.devices()[0].memory_stats()
    return float(memory["peak_bytes_in_use"]) if memory else None


def _torch_peak() -> float | None:
    import torch

    return float(torch.cuda.max_memory_allocated()) if torch.cuda.is_available() else None


def table(rows: list[dict[str, Any]]) -> str:
    """The measurements as a Markdown table."""
    head = (
        "| backend | model | sites | not traced | step, ms | traced, ms | ratio "
        "| compile, s | compile traced, s | ratio | peak MiB | traced, peak MiB |\n"
        + "|---" * 12
        + "|"
    )
    return "\n".join([head, *(_line(row) for row in rows)])


def _line(row: dict[str, Any]) -> str:
    if "error" in row:
        return f"| {row['backend']} | {row['model']} | {row['error']} |" + " |" * 9
    return (
        f"| {row['backend']} | {row['model']} | {row['sites']} | {row['not_traced']} "
        f"| {1000 * row['step_s']:.1f} | {1000 * row['trace_s']:.1f} "
        f"| {row['trace_s'] / row['step_s']:.1f} | {row['compile_s']:.1f} "
        f"| {row['compile_trace_s']:.1f} | {row['compile_trace_s'] / row['compile_s']:.1f} "
        f"| {row['plain_mib']:.0f} | {row['traced_mib']:.0f} |"
    )


def _in_own_process(backend: str, model: str, options: list[str]) -> dict[str, Any]:
    command = [sys.executable, __file__, "--one", *options, backend, model]
    environment = {**os.environ, "KERAS_BACKEND": backend}
    try:
        ran = subprocess.run(
            command,
            check=False,
            env=environment,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
        )
    except subprocess.TimeoutExpired:
        return {"backend": backend, "model": model, "error": f"no end within {LIMIT_S} s"}
    if ran.returncode:
        last = (ran.stderr.strip().splitlines() or ["no message"])[-1]
        print(ran.stderr, file=sys.stderr)
        return {"backend": backend, "model": model, "error": last}
    row: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    return row


def main() -> None:
    """Measures one row in this process, or the table in many."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--small", action="store_true", help="sizes for a CPU")
    parser.add_argument("--one", action="store_true", help="one row: a backend and a model")
    parser.add_argument("names", nargs="+", help="backends (with --one: a backend and a model)")
    arguments = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    if arguments.one:
        print(json.dumps(measure(arguments.names[1], SMALL if arguments.small else LARGE)))
        return
    options = ["--small"] if arguments.small else []
    rows = []
    for backend in arguments.names:
        for model in MODELS:
            rows.append(_in_own_process(backend, model, options))
            print(rows[-1], file=sys.stderr, flush=True)
    print(table(rows))


if __name__ == "__main__":
    main()
