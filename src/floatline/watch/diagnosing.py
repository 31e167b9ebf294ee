"""The stages on a kept failure: at once, on the model that failed, or later, on one made anew."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from floatline.capture.capture import Budget, Capture
from floatline.capture.script import capture_script
from floatline.pipeline import examine, load_backend
from floatline.progress import Progress, silent
from floatline.records import Diagnosis
from floatline.repairs import TrialBudget


def diagnose_failure(
    folder: str | Path,
    model: Any = None,
    *,
    progress: Progress = silent,
    trials: TrialBudget | None = None,
) -> Diagnosis:
    """Diagnoses a failure that a watch has kept.

    Args:
        folder: The failure's folder.
        model: A compiled model of the same make, which is afterwards what it was; by default it
            is made anew from its description.
        progress: Told how far the diagnosis is.
        trials: How much may be tried to repair the training; None tries nothing.

    Returns:
        A `records.Diagnosis`.

    Raises:
        InputError: The folder is no failure, or the model cannot be made, or does not fit.
    """
    from floatline.watch.replaying import capture, load, rebuilt

    kept = load(folder)
    backend = load_backend()
    captured = capture(kept, rebuilt(kept) if model is None else model, backend, progress)
    return examine(captured, backend, progress, kept.record["source"]["script"], trials=trials)


def diagnose_failed_script(
    folder: str | Path,
    script: str,
    arguments: Sequence[str] = (),
    *,
    precision: str | None = None,
    progress: Progress = silent,
    trials: TrialBudget | None = None,
) -> Diagnosis:
    """Runs a script up to its training, and diagnoses a kept failure on the model that it made.

    Args:
        folder: The failure's folder.
        script: Path of the script that makes the model.
        arguments: The script's own arguments.
        precision: A Keras dtype policy to set before the script runs.
        progress: Told how far the diagnosis is.
        trials: How much may be tried to repair the training; None tries nothing.

    Raises:
        FloatlineError: As in `diagnose_script` and `diagnose_failure`.
    """
    place = Path(folder).absolute()  # A script may change its working folder.

    def look(captured: Capture) -> Diagnosis:
        return examine(captured, load_backend(), progress, script, trials=trials)

    def make(**keywords: Any) -> Any:
        from floatline.watch.replaying import load
        from floatline.watch.takeover import ReplayTakeover

        return ReplayTakeover(lambda: load(place), **keywords)

    diagnosis: Diagnosis = capture_script(
        script,
        arguments,
        load_backend=load_backend,
        precision=precision,
        budget=Budget(),
        progress=progress,
        examine=look,
        make=make,
    )
    return diagnosis
