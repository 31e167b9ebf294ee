"""The stages called in order: capture, trace, findings; the answer is a `Diagnosis`."""

from __future__ import annotations

import importlib
import platform
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from floatline.backends.interface import Backend
from floatline.capture.capture import Budget, Capture
from floatline.capture.edited import Texts
from floatline.capture.script import capture_script
from floatline.capture.texts import source_texts
from floatline.capture.unscaled import unscaled
from floatline.errors import BackendError, InputError, TraceError
from floatline.findings.fixed_scale import shown_scale
from floatline.findings.judge import explained, judge, needs_reference
from floatline.findings.learning import DEALS, learns_little, may_learn_nothing
from floatline.installed import version
from floatline.progress import Progress, silent
from floatline.records import Diagnosis, Environment, Evidence, Reference, Trace
from floatline.repairs import TrialBudget
from floatline.tracing.moments import trace_moments
from floatline.tracing.reference import train_on_others, train_reference
from floatline.trials.rerun import Rerun
from floatline.trials.rewriting import with_rewrites

BACKENDS = {
    "jax": "floatline.backends.jax.backend:JaxBackend",
    "tensorflow": "floatline.backends.tensorflow:TensorFlowBackend",
    "torch": "floatline.backends.torch:TorchBackend",
}
"""Where each Keras backend is implemented."""


def diagnose(
    subject: Any,
    *data: Any,
    state: Any = None,
    budget: Budget | None = None,
    progress: Progress = silent,
    trials: TrialBudget | None = None,
    **fit_arguments: Any,
) -> Diagnosis:
    """Watches a training for a while, looks inside its decisive steps, and tells what is wrong.

    The model's weights, its optimizer, its metrics and all random states are afterwards what they
    were before.

    Args:
        subject: A compiled Keras model, or a function that runs one training step on one batch.
        *data: For a model what `fit` takes by position, `x, y` or a dataset; for a function its
            batches, as one iterable.
        state: For a pure function, as JAX wants it: the state that it is given before the first
            batch. It takes the state as its first argument and returns the next one, alone or as
            an element of a tuple.
        budget: How long the training is watched; 1000 steps or 15 seconds by default,
            and 60 where steps are slow.
        progress: Told how far the diagnosis is.
        trials: How much may be tried to repair the training; None tries nothing.
        **fit_arguments: For a model, further arguments of `fit`: `batch_size`, `epochs`,
            `sample_weight`, `class_weight`, `callbacks`.

    Returns:
        A `records.Diagnosis`.

    Raises:
        InputError: `subject` is neither, or the data does not fit it.
        TrainingError: The training itself raises an error.
        TraceError: The step cannot be looked into.
        BackendError: Keras runs on a backend that is not supported.

    Example:

    >>> import keras, numpy as np
    >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    >>> model.compile("sgd", "mse")
    >>> x = np.linspace(0, 1, 256, dtype="float32").reshape(64, 4)
    >>> diagnose(model, x, x[:, :1], epochs=5).verdict
    'healthy'
    """
    from floatline.capture.function import capture_function
    from floatline.capture.model import capture_fit

    backend, limit = load_backend(), budget or Budget()
    if hasattr(subject, "fit") and hasattr(subject, "layers"):
        arguments = {**dict(zip(("x", "y"), data, strict=False)), **fit_arguments}
        if len(data) > 2:
            raise InputError(
                f"diagnose(model, ...) takes x and y by position, but received {len(data)} values.",
                "Name the others as in fit: batch_size=..., epochs=..., sample_weight=...",
            )
        if state is not None:
            raise InputError(
                "diagnose(model, ...) received `state`, but a model keeps its own.",
                "Leave `state` out; it belongs to diagnose(step_function, batches, state=...).",
            )
        captured = capture_fit(backend, subject, arguments, limit, progress)
        return examine(captured, backend, progress, trials=trials)
    if fit_arguments or len(data) != 1:
        raise InputError(
            f"diagnose(step_function, batches) takes one iterable of batches, but received "
            f"{len(data)} values and the arguments {sorted(fit_arguments)}.",
            "Pass a list, generator or dataset whose elements are what one step takes.",
        )
    batches: Iterable[Any] = data[0]
    captured = capture_function(backend, subject, batches, limit, progress, state=state)
    return examine(captured, backend, progress, trials=trials)


def trace(function: Callable[..., Any], *args: Any) -> Trace:
    """Runs a function once with a float32 shadow of every operation inside.

    What the function writes to (variables, random states) is afterwards what it was before.

    Args:
        function: Any function of the framework under Keras: a training step, a loss, or its
            gradient. On JAX it is pure, and `jax.grad` may stand inside or around it.
        *args: What it is called with.

    Returns:
        A `records.Trace`: every float that was computed, in order, with its statistics.

    Raises:
        InputError: `function` cannot be called.
        TraceError: The framework cannot compile the function, so it cannot be looked into; or the
            function raises an error.
        BackendError: Keras runs on a backend that is not supported.

    Example:

    >>> from keras import ops
    >>> x = ops.convert_to_tensor([300.0], "float16")
    >>> trace(lambda x: x * x, x).sites[-1].statistics.saturated
    1
    """
    from floatline.capture.configuration import no_sources
    from floatline.capture.function import unmarked
    from floatline.capture.state import preserve_random_generators

    backend = load_backend()
    with backend.preserve_random_state(), preserve_random_generators():
        step = backend.function_step(unmarked(function), no_sources)
        step.prepare(args)
        traced = step.trace(step.snapshot(), args)
    if traced.raised is not None:
        raise TraceError(
            f"The function raised {traced.raised}",
            "Correct it, or hand the training to `diagnose`, which looks into a step that raises.",
        )
    return traced


def diagnose_script(
    script: str,
    arguments: Sequence[str] = (),
    *,
    precision: str | None = None,
    budget: Budget | None = None,
    progress: Progress = silent,
    trials: TrialBudget | None = None,
    texts: Texts = MappingProxyType({}),
) -> Diagnosis:
    """Runs an unmodified script up to its training and diagnoses that.

    Args:
        script: Path of the script.
        arguments: The script's own arguments.
        precision: A Keras dtype policy to set before the script runs.
        budget: How long the training is watched.
        progress: Told how far the diagnosis is.
        trials: How much may be tried to repair the training; None tries nothing. Where a line of
            the script is to blame, the script is also run again with that line changed, in
            processes of their own.
        texts: Files that are read otherwise than they stand, by their absolute paths.

    Raises:
        FloatlineError: As in `diagnose`; and `ScriptError` for a script that is missing, fails,
            exits or never trains.
    """
    limit = budget or Budget()
    rerun = Rerun(script, arguments, precision, limit)  # Knows the folder that it is called in.
    diagnosis = capture_script(
        script,
        arguments,
        load_backend=load_backend,
        precision=precision,
        budget=limit,
        progress=progress,
        examine=lambda capture: examine(capture, load_backend(), progress, script, trials=trials),
        settles=lambda shown: shown.verdict != "healthy",
        texts=texts,
    )
    return diagnosis if trials is None else with_rewrites(diagnosis, rerun, trials, progress)


def examine(
    capture: Capture,
    backend: Backend,
    progress: Progress,
    script: str | None = None,
    *,
    trials: TrialBudget | None = None,
) -> Diagnosis:
    """From a watched training to the diagnosis: trace, compare with float32, judge, repair.

    Raises:
        TrainingError: A step of the training raised, and no number in it is the reason.
    """
    with backend.preserve_random_state():
        traces = trace_moments(capture, progress)
        scale = shown_scale(capture.history, traces)
        capture = capture if scale == 1.0 else unscaled(capture, scale)
        reference = None
        seconds = max(_LEAST_REFERENCE_SECONDS, capture.history.seconds)
        if needs_reference(capture.configuration, capture.history, traces) or (
            _seems_to_learn_nothing(capture, seconds, progress)
        ):
            reference = train_reference(capture, seconds, progress)
            if learns_little(capture.history) and reference.short is None:
                reference = _with_others(capture, reference, seconds, progress)
    short = _short_note(reference)
    if reference is not None and short and not reference.steps:
        reference = None
    evidence = Evidence(capture.configuration, capture.history, traces, reference)
    judgement = judge(evidence, backend.name)
    if capture.error is not None and not explained(judgement, evidence):
        raise capture.error
    undecided = judgement.verdict == "undecided"
    notes = [*capture.notes, *(n for t in traces for n in t.notes), *filter(None, [short])]
    diagnosis = Diagnosis(
        verdict=judgement.verdict,
        explanation=f"{judgement.explanation} {short}"
        if undecided and short
        else judgement.explanation,
        findings=judgement.findings,
        checks=judgement.checks,
        evidence=evidence,
        environment=environment(backend),
        notes=tuple(dict.fromkeys(notes)),
        script=script,
        sources=source_texts(capture.configuration, traces, judgement.findings),
    )
    if trials is None:
        return diagnosis
    # Plans bring Keras along, which must not be imported before the script has chosen its backend.
    from floatline.trials.repair import repair

    with backend.preserve_random_state():
        return replace(diagnosis, repair=repair(capture, diagnosis, trials, progress))


def _seems_to_learn_nothing(capture: Capture, seconds: float, progress: Progress) -> bool:
    """Whether other targets do as well; where they do not, float32 need not be asked for it."""
    if not learns_little(capture.history):
        return False
    others = train_on_others(capture, seconds, progress)
    return may_learn_nothing(Reference(capture.history.steps, dealt_out=(others,)))


def _with_others(
    capture: Capture, reference: Reference, seconds: float, progress: Progress
) -> Reference:
    """The reference with trainings on other targets, as many as it takes to tell."""
    for seed in range(DEALS):
        steps = train_on_others(capture, seconds, progress, seed)
        reference = replace(reference, dealt_out=(*reference.dealt_out, steps))
        if not may_learn_nothing(reference):
            break
    return reference


def _short_note(reference: Reference | None) -> str | None:
    if reference is None or reference.short is None:
        return None
    return f"The same training in float32 did not fit into memory: {reference.short}"


_LEAST_REFERENCE_SECONDS = 5.0
"""Compiling the float32 step takes seconds by itself; a short training gets at least these."""


def load_backend() -> Backend:
    """The backend that Keras has chosen.

    Raises:
        BackendError: Keras runs on a backend that Floatline does not support, or it is broken.
    """
    import keras

    name = keras.backend.backend()
    if name not in BACKENDS:
        raise BackendError(
            f"Keras runs on the {name} backend, which Floatline cannot look into yet.",
            f"Supported: {', '.join(BACKENDS)}. Set KERAS_BACKEND accordingly.",
        )
    module, _, attribute = BACKENDS[name].partition(":")
    try:
        factory: Callable[[], Backend] = getattr(importlib.import_module(module), attribute)
    except ImportError as error:
        raise BackendError(
            f"The {name} backend cannot be loaded: {error}",
            f"Install it with: pip install floatline[{name}]",
        ) from error
    return factory()


def environment(backend: Backend) -> Environment:
    """Versions and device under which a diagnosis was made."""
    import keras

    return Environment(
        floatline=version(),
        python=platform.python_version(),
        keras=keras.__version__,
        backend=backend.name,
        framework=backend.framework(),
        device=backend.device(),
    )
