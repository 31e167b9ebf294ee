"""What a traced step costs on JAX on a GPU, and what of it could be had for less.

Traces the transformer of `backends.py` once for each variant, the present way first; then tells in
which operations the variants part, where the time goes, and what Python does. Prints Markdown.

    KERAS_BACKEND=jax python benchmarks/jax_cost.py
    KERAS_BACKEND=jax python benchmarks/jax_cost.py --small --seconds 60
"""

# ruff: noqa: SLF001 (it looks into what it measures)

from __future__ import annotations

import argparse
import contextlib
import cProfile
import io
import os
import pstats
import statistics
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple
from unittest import mock

os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

import backends
import jax
import jax.numpy as jnp
import numpy as np
from jax_kernel import in_ms

from floatline.backends.jax import interpreter, pieces, selfcheck
from floatline.backends.jax.jaxprs import MEASURE_SCOPE, scopes
from floatline.tracing.statistics import Pack

STEPS = 3
ON_GPU = jax.default_backend() == "gpu"


class Variant(NamedTuple):
    """One way to trace.

    Attributes:
        name: What the table calls it.
        kernel: Large arrays are measured by the kernel.
        together: How many pieces are compiled as one at most; None for the present number.
        product: The precision of float32 products of the shadow; None for the present one.
    """

    name: str
    kernel: bool = True
    together: int | None = None
    product: str | None = None


ALONE = "each piece alone"

VARIANTS = (
    Variant("as it is"),
    Variant(ALONE, together=1),
    Variant("up to 8 as one", together=8),
    Variant("up to 4 as one", together=4),
    Variant("up to 64 as one", together=64),
    Variant("products in six of bfloat16", product="BF16_BF16_F32_X6"),
    Variant("without the kernel", kernel=False),
    Variant("products in TF32 (too few digits; for comparison)", product="TF32_TF32_F32"),
)


HEAD = (
    "| variant | traced, ms | ratio | built and compiled, s | compiled, s | host dispatches, ms "
    "| branches, ms | calls | programs | sites | outputs apart from the step's |\n"
    + "|---" * 11
    + "|"
)


class Compiled(NamedTuple):
    """What a trace has compiled: the jaxpr, the function, its inputs, and the seconds it took."""

    closed: Any
    run: Any
    inputs: Sequence[Any]
    seconds: float


class Row(NamedTuple):
    """What tracing took: usually, at first, each time; and what was compiled."""

    steady: float
    first: float
    times: Sequence[float]
    function: Compiled


@contextlib.contextmanager
def as_in(variant: Variant) -> Iterator[None]:
    """Traces are made as the variant says."""
    with contextlib.ExitStack() as stack:
        if not variant.kernel:
            stack.enter_context(mock.patch.object(selfcheck, "trouble", return_value="left out"))
        if variant.together is not None:
            stack.enter_context(mock.patch.object(pieces, "TOGETHER", variant.together))
        if variant.product is not None:
            preset = getattr(jax.lax.DotAlgorithmPreset, variant.product)
            original = interpreter._twin

            def twin(equation: Any) -> dict[str, Any]:
                params = original(equation)
                three = params.get("precision") == jax.lax.DotAlgorithmPreset.TF32_TF32_F32_X3
                return {**params, "precision": preset} if three else params

            stack.enter_context(mock.patch.object(interpreter, "_twin", twin))
        yield


def traced(step: Any, batch: Any, variant: Variant) -> tuple[Any, Row]:
    """A trace of a variant, and its row of the table without what the device alone tells."""
    state = step.snapshot()
    with as_in(variant), seen_functions() as functions:
        begin = time.perf_counter()
        trace = step.trace(state, batch)
        first = time.perf_counter() - begin
        times = [backends._timed(lambda: step.trace(state, batch)) for _ in range(STEPS)]
    return trace, Row(statistics.median(times), first, times, functions[-1])


def chains(function: pieces.Chain) -> Iterator[pieces.Chain]:
    """A chain and those of its branches; of each branch the longest."""
    yield function
    for piece in function._pieces:
        if isinstance(piece.run, pieces._Fork):
            longest = max(piece.run._functions, key=lambda chain: len(chain._pieces))
            yield from chains(longest)


def dispatched(function: pieces.Function, inputs: Sequence[Any]) -> str:
    """How long the host dispatches, and how long it takes until all has run; in ms."""
    jax.block_until_ready(function(inputs))
    begin = time.perf_counter()
    found = function(inputs)
    host = time.perf_counter() - begin
    jax.block_until_ready(found)
    return f"{1000 * host:.0f} of {1000 * (time.perf_counter() - begin):.0f}"


def in_branches(function: pieces.Chain, inputs: Sequence[Any]) -> float:
    """What the branches take, the optimizer's update among them, in ms; waits around each."""
    values = function._consts | dict(zip(function._inputs, inputs, strict=True))
    seconds = 0.0
    for piece in function._pieces:
        given = [values[variable] for variable in piece.reads]
        forks = isinstance(piece.run, pieces._Fork)
        if forks:
            jax.block_until_ready(given)
        begin = time.perf_counter()
        results = piece.run(*given)
        if forks:
            jax.block_until_ready(results)
            seconds += time.perf_counter() - begin
        values.update(zip(piece.writes, results, strict=True))
        for variable in piece.drops:
            del values[variable]
    return 1000 * seconds


def apart_from(program: Any, function: pieces.Function, inputs: Sequence[Any]) -> str:
    """How far what the trace computes is from what the step computes: median and most, relative."""
    plain, mine = program.run(inputs).outputs, function(inputs)[len(Pack._fields) :]
    distances = [
        float(np.abs(one - other).sum() / np.abs(other).sum())
        for one, other in (
            (np.asarray(one, np.float64), np.asarray(other, np.float64))
            for one, other in zip(mine, plain, strict=True)
            if np.issubdtype(np.asarray(other).dtype, np.floating)
        )
        if np.any(other)
    ]
    return f"{statistics.median(distances):.1e}, {max(distances):.1e}" if distances else ""


def where(row: Row, together: int) -> None:
    """Prints what each family of pieces takes, waiting behind each."""
    closed, function, inputs, _ = row.function
    count, seconds = defaultdict(int), defaultdict(float)
    slowest: dict[str, list[tuple[float, str]]] = defaultdict(list)
    values = function._consts | dict(zip(function._inputs, inputs, strict=True))
    for piece, family, text in zip(function._pieces, *families(closed, together), strict=True):
        given = [values[variable] for variable in piece.reads]
        start = time.perf_counter()
        results = jax.block_until_ready(piece.run(*given))
        took = time.perf_counter() - start
        count[family] += 1
        seconds[family] += took
        slowest[family].append((took, text))
        values.update(zip(piece.writes, results, strict=True))
        for variable in piece.drops:
            del values[variable]
    nothing = jax.jit(lambda x: x + 1).lower(jnp.zeros(8)).compile()
    alone = in_ms(lambda x: jax.block_until_ready(nothing(x)), jnp.zeros(8))
    print(
        f"\nTo run a piece that does nothing and wait for it takes {alone:.3f} ms.\n\n"
        "| pieces | how many | ms, with a wait behind each | less that of an empty one |\n"
        "|---|---|---|---|"
    )
    for family, took in sorted(seconds.items(), key=lambda pair: -pair[1]):
        net = 1000 * took - count[family] * alone
        print(f"| {family} | {count[family]} | {1000 * took:.0f} | {net:.0f} |")
    for family, known in slowest.items():
        groups: dict[str, list[float]] = defaultdict(list)
        for took, text in known:
            groups[text].append(took)
        most = sorted(groups.items(), key=lambda pair: -sum(pair[1]))[:4]
        for text, each in most:
            print(f"- {family}: {len(each)} x {1000 * statistics.median(each):.2f} ms {text}")
    sys.stdout.flush()


def on_host(step: Any, batch: Any) -> None:
    """Prints what Python does during one traced step; the profiler makes it slower."""
    state, profiler = step.snapshot(), cProfile.Profile()
    profiler.runcall(step.trace, state, batch)
    text = io.StringIO()
    pstats.Stats(profiler, stream=text).sort_stats("tottime").print_stats(16)
    lines = [line for line in text.getvalue().splitlines() if line.strip()]
    print("\n".join(line[-150:] for line in lines), flush=True)


def families(closed: Any, together: int) -> tuple[list[str], list[str]]:
    """What kind of piece each is, and what it says."""
    kinds, texts = [], []
    for border in pieces.bordered(closed.jaxpr, together):
        names = [equation.primitive.name for equation in border.equations]
        shapes = [str(variable.aval) for variable in border.reads][:4]
        texts.append(f"{' '.join(dict.fromkeys(names))} of {', '.join(shapes)}"[:160])
        if all(scopes(group[0]).endswith(MEASURE_SCOPE) for group in border.groups):
            kinds.append("measure")
        elif "dot_general" in names:
            kinds.append("product")
        elif any("reduce" in name for name in names):
            kinds.append("reduction")
        else:
            kinds.append("other")
    return kinds, texts


def main() -> None:
    """Prints everything."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--small", action="store_true", help="sizes for a CPU")
    parser.add_argument(
        "--seconds", type=float, default=150, help="what would end after that is left out"
    )
    arguments = parser.parse_args()
    begin = time.perf_counter()
    print(f"JAX {jax.__version__} on {jax.devices()[0].device_kind}\n")
    print(f"Trouble with the kernel: {selfcheck.trouble(jax.devices()[0])}", flush=True)
    compare(arguments.small, begin + arguments.seconds)
    print(f"\nWhat is held back is not rewritten: {holds_back()}", flush=True)


def holds_back() -> bool:
    """Whether XLA leaves two pieces as they are that are compiled as one program.

    It makes `(1 + 1e-6) - x` of `(1 - x) + 1e-6`, which is 0 in float16 for an x of 1.
    """

    def function(x: Any) -> Any:
        with jax.named_scope("first"):
            rest = 1 - x
        with jax.named_scope("second"):
            return jnp.log(rest + jnp.float16(1e-6))

    x = jnp.ones(2**12, np.float16)
    with mock.patch.object(pieces, "TOGETHER", 10**6):
        chain = pieces.in_pieces(jax.make_jaxpr(function)(x), jax.devices()[0], {})
    print(f"{len(chain._pieces)} program; as a whole it gives {jax.jit(function)(x)[0]}")
    return bool(jnp.all(jnp.isfinite(chain([x])[0])))


def compare(small: bool, end: float) -> None:
    """Prints the table of variants."""
    import keras

    from floatline.pipeline import load_backend

    keras.utils.set_random_seed(0)
    # A CPU does not multiply float16 as Keras' attention asks for.
    keras.config.set_dtype_policy("mixed_float16" if ON_GPU else "mixed_bfloat16")
    model, batch = backends.transformer(backends.SMALL if small else backends.LARGE)
    backend = load_backend()
    step = backend.keras_step(model, lambda _: None)
    first = backends._timed(lambda: step.run(batch))
    plain = statistics.median(backends._timed(lambda: step.run(batch)) for _ in range(5))
    print(f"\nplain: {1000 * plain:.1f} ms, compiled in {first - plain:.1f} s\n", flush=True)
    print(HEAD, flush=True)
    traces: dict[str, Any] = {}
    longest, described = 0.0, None
    program = next(iter(step._plain.values()))
    for variant in VARIANTS:
        if time.perf_counter() + longest > end:
            print(f"no time left for: {variant.name}")
            continue
        begin = time.perf_counter()
        fresh = backend.keras_step(model, lambda _: None)
        traces[variant.name], row = traced(fresh, batch, variant)
        print(line_of(variant, traces[variant.name], row, plain, program), flush=True)
        longest = max(longest, time.perf_counter() - begin)
        described = described or (fresh, row)
    for name, trace in traces.items():
        if ALONE in traces and name != ALONE:
            print(f"\n{name}, beside each piece alone: {agreement(traces[ALONE], trace)}")
    fresh, row = described
    if isinstance(row.function.run, pieces.Chain):
        where(row, pieces.TOGETHER if ON_GPU else 1)
    on_host(fresh, batch)


def line_of(variant: Variant, trace: Any, row: Row, plain: float, program: Any) -> str:
    """A row of the table."""
    _, function, inputs, compiling = row.function
    calls, programs, branches = 1, 1, 0.0
    if isinstance(function, pieces.Chain):
        every = [piece.run for chain in chains(function) for piece in chain._pieces]
        calls, programs = len(every), len({id(run) for run in every})
        branches = in_branches(function, inputs)
    return (
        f"| {variant.name} | {1000 * row.steady:.0f} "
        f"({', '.join(f'{1000 * seconds:.0f}' for seconds in row.times)}) "
        f"| {row.steady / plain:.1f} | {row.first - row.steady:.1f} | {compiling:.1f} "
        f"| {dispatched(function, inputs)} | {branches:.0f} | {calls} | {programs} "
        f"| {len(trace.sites)} | {apart_from(program, function, inputs)} |"
    )


@contextlib.contextmanager
def seen_functions() -> Iterator[list[Compiled]]:
    """The functions that traces compile, with their inputs."""
    from floatline.backends.jax import programs

    found: list[Compiled] = []
    original = programs.compiled

    def compiled(closed: Any, inputs: Any, options: Any, **rest: Any) -> Any:
        begin = time.perf_counter()
        function = original(closed, inputs, options, **rest)
        found.append(Compiled(closed, function, list(inputs), time.perf_counter() - begin))
        return function

    with mock.patch.object(programs, "compiled", compiled):
        yield found


def agreement(base: Any, trace: Any) -> str:
    """How many sites have other counts, how far errors are apart, and where it begins."""
    pairs = list(zip(base.sites, trace.sites, strict=True))
    counts = sum(a.statistics.exponents != b.statistics.exponents for a, b in pairs)
    apart = max(
        (
            abs(a.statistics.local_error - b.statistics.local_error)
            for a, b in pairs
            if a.statistics.local_error < 1
        ),
        default=0.0,
    )
    other = {a.index for a, b in pairs if a.statistics != b.statistics}
    first = [a for a, _ in pairs if a.index in other and other.isdisjoint(a.inputs)]
    names = Counter(f"{site.place.phase} {site.place.operation} {site.dtype}" for site in first)
    listed = ", ".join(f"{n} x {name}" for name, n in names.most_common(12))
    return (
        f"{counts} of {len(pairs)} sites have other exponents, {len(other)} other numbers; local "
        f"errors are apart by {apart:.1e} at most. Other, from inputs that are the same: {listed}."
    )


if __name__ == "__main__":
    main()
