"""The stages on a kept failure: at once, on the model that failed, or later, on one made anew."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from floatline.pipeline import examine, load_backend
from floatline.progress import Progress, silent
from floatline.records import Diagnosis
from floatline.repairs import TrialBudget
from floatline.watch.replaying import capture, load, rebuilt


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
    kept = load(folder)
    backend = load_backend()
    captured = capture(kept, rebuilt(kept) if model is None else model, backend, progress)
    return examine(captured, backend, progress, kept.record["source"]["script"], trials=trials)
