"""Writes a failure down: the state, the batches, and how the model is made again elsewhere."""

from __future__ import annotations

import contextlib
import platform
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import keras

from floatline.errors import InputError
from floatline.installed import version
from floatline.layers import computes_on_floats, walk
from floatline.watch import arrays, folder
from floatline.watch.past import Origin, groups
from floatline.watch.records import Reading, Symptom
from floatline.watch.settings import Source

STATE, BATCHES, RANDOM, MODEL = "state.npz", "batches.npz", "random.npz", "model.json"
MOST_READINGS = 100


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much may be kept on disk: failures, and bytes of all of them together."""

    most: int = 5
    most_bytes: int = 4 * 2**30


def keep_failure(
    directory: Path,
    model: Any,
    symptom: Symptom,
    origin: Origin,
    readings: Sequence[Reading],
    *,
    source: Source,
    bounds: Bounds,
) -> Path:
    """Writes one failure of a training into a new folder of `directory`.

    Args:
        directory: Where failures are kept.
        model: The model that is trained.
        symptom: What was seen.
        origin: Where the failure is seen again.
        readings: What was read of the training so far.
        source: Where the model came from.
        bounds: How much may be kept.

    Returns:
        The folder.

    Raises:
        InputError: Something cannot be written down, or is too large.
        OSError: The disk does not take it.
    """
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
    name = f"failure-{stamp}-{origin.step}-{symptom.kind}"

    def write(target: Path) -> Mapping[str, Any]:
        return {
            **asdict(symptom),
            "state_step": origin.step,
            "exact": origin.found,
            "culprit": origin.culprit,
            "epoch": readings[-1].epoch if readings else 0,
            "readings": [_finite(asdict(reading)) for reading in readings[-MOST_READINGS:]],
            "variables": _write_state(target, model, origin),
            "batches": _write_batches(target, origin),
            "random": arrays.save(target / RANDOM, origin.random),
            "model": _write_model(target, model, origin),
            "policies": policies(model),
            "global_policy": keras.config.dtype_policy().name,
            "source": asdict(source),
            "environment": environment(),
        }

    return folder.keep(directory, name, write, **asdict(bounds))


def policies(model: Any) -> dict[str, str]:
    """What each layer computes in, by its path."""
    return {path: layer.compute_dtype for path, layer in walk(model) if computes_on_floats(layer)}


def environment() -> dict[str, str]:
    """Versions under which a failure was seen."""
    name = keras.backend.backend()
    return {
        "floatline": version(),
        "python": platform.python_version(),
        "keras": keras.__version__,
        "backend": name,
        "framework": str(getattr(sys.modules.get(name), "__version__", "")),
        "machine": platform.platform(),
    }


def _write_state(target: Path, model: Any, origin: Origin) -> list[dict[str, Any]]:
    dtypes = arrays.save(target / STATE, origin.values)
    known = dict(zip(map(id, origin.variables), range(len(dtypes)), strict=True))
    return [
        {"array": known[id(v)], "dtype": dtypes[known[id(v)]], "group": group, "path": v.path}
        for group, variables in groups(model).items()
        for v in variables
        if id(v) in known  # Some are made during the first steps.
    ]


def _write_batches(target: Path, origin: Origin) -> dict[str, Any]:
    leaves: list[Any] = []
    forms = [arrays.structure(batch, leaves) for batch in origin.batches]
    return {"forms": forms, "dtypes": arrays.save(target / BATCHES, leaves)}


def _write_model(target: Path, model: Any, origin: Origin) -> dict[str, Any]:
    """What Keras needs to make the model again; a model of the user's own may not tell."""
    own = sorted({type(layer).__name__ for _, layer in walk(model) if _is_users(layer)})
    held = list(zip(origin.variables, origin.values, strict=True))
    why: str | None = None
    try:
        # An optimizer's configuration holds the values of some variables.
        with keras.StatelessScope(held):
            text = model.to_json()
        (target / MODEL).write_text(text, encoding="utf-8")
    except Exception as error:  # noqa: BLE001 (whatever a class of the user's raises)
        why = f"{type(error).__name__}: {error}".splitlines()[0]
    return {
        "name": model.name,
        "class": type(model).__name__,
        "own_classes": own,
        "unwritten": why,
    }


def _is_users(layer: Any) -> bool:
    return type(layer).__module__.partition(".")[0] not in ("keras", "floatline")


def _finite(record: dict[str, Any]) -> dict[str, Any]:
    loss = record["loss"]
    with contextlib.suppress(TypeError):
        record["loss"] = loss if abs(loss) < float("inf") else str(loss)
    return record


def check_directory(directory: str | Path) -> Path:
    """The folder for failures, absolute: a script may change its own.

    Raises:
        InputError: There is a file of this name.
    """
    path = Path(directory).absolute()
    if path.exists() and not path.is_dir():
        raise InputError(
            f"Failures are to be kept in {str(directory)!r}, which is a file.", "Name a folder."
        )
    return path
