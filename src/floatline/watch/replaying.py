"""Goes through a kept failure again: the model made anew or the user's own, then a diagnosis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras

from floatline.backends.interface import Backend, LayerSource
from floatline.capture import configuration
from floatline.capture.capture import Budget, Capture
from floatline.capture.configuration import no_sources
from floatline.capture.model import check_model, training_errors
from floatline.capture.policy import under_policy
from floatline.capture.recording import Recording, build
from floatline.errors import InputError
from floatline.progress import Progress, silent
from floatline.records import SourceLine

# Keras makes a model with this optimizer only if the class is known by then.
from floatline.scaling import optimizer as _registered  # noqa: F401
from floatline.scaling.guard import guard, scales_loss
from floatline.watch import arrays, folder
from floatline.watch.keeping import BATCHES, MODEL, RANDOM, STATE, policies
from floatline.watch.kernels import load_watch
from floatline.watch.past import groups


@dataclass(frozen=True, slots=True)
class Kept:
    """A failure, read from its folder.

    Attributes:
        folder: Where it lies.
        record: Its record.
        state: The values of variables, by group, in Keras' order.
        batches: The batches from the state on.
        random: The state of generators that no variable holds.
    """

    folder: Path
    record: dict[str, Any]
    state: dict[str, list[Any]]
    batches: tuple[Any, ...]
    random: tuple[Any, ...]


def load(path: str | Path) -> Kept:
    """Reads a failure.

    Raises:
        InputError: The folder is no failure, is incomplete, or is of another backend.
    """
    place = Path(path)
    record = folder.read(place)
    backend = record["environment"]["backend"]
    if backend != keras.backend.backend():
        raise InputError(
            f"{path} was kept on the {backend} backend of Keras, but it runs on "
            f"{keras.backend.backend()}.",
            f"Set KERAS_BACKEND={backend}.",
        )
    entries = sorted(record["variables"], key=lambda entry: entry["array"])
    values = arrays.load(place / STATE, [entry["dtype"] for entry in entries])
    state: dict[str, list[Any]] = {}
    for entry in record["variables"]:
        state.setdefault(entry["group"], []).append(values[entry["array"]])
    leaves = arrays.load(place / BATCHES, record["batches"]["dtypes"])
    leaves = [keras.ops.convert_to_tensor(leaf) for leaf in leaves]
    batches = tuple(arrays.restored(form, leaves) for form in record["batches"]["forms"])
    random = tuple(arrays.load(place / RANDOM, record["random"]))
    return Kept(place, record, state, batches, random)


def rebuilt(kept: Kept) -> Any:
    """The model, made anew from its description.

    Raises:
        InputError: Keras cannot make it: it has classes of the user's own.
    """
    told = kept.record["model"]
    source = kept.record["source"]["script"] or "train.py"
    advice = (
        f"Give the script that makes it: floatline diagnose --from {kept.folder} {source}, "
        "or pass a model to floatline.diagnose_failure(folder, model)."
    )
    if told["unwritten"] is not None:
        raise InputError(
            f"The model {told['name']!r} ({told['class']}) could not be written down: "
            f"{told['unwritten']}",
            advice,
        )
    try:
        text = (kept.folder / MODEL).read_text(encoding="utf-8")
        # Keras gives a model its loss scaling by the policy that is in force when it is made.
        with under_policy(kept.record["global_policy"]):
            model = keras.models.model_from_json(text)
        if not getattr(model, "compiled", False):
            raise ValueError("it is not compiled")
    except Exception as error:
        own = ", ".join(told["own_classes"])
        why = f"it has classes of its own ({own})" if own else str(error).splitlines()[0]
        raise InputError(
            f"The model {told['name']!r} cannot be made from its description: {why}.", advice
        ) from error
    return model


def capture(
    kept: Kept,
    model: Any,
    backend: Backend,
    progress: Progress = silent,
    *,
    source: SourceLine | None = None,
    layer_source: LayerSource = no_sources,
) -> Capture:
    """Trains a model from the kept state on the kept batches, under watch, and undoes it.

    Args:
        kept: The failure.
        model: A compiled model of the same make.
        backend: The framework.
        progress: Told of every step.
        source: The user's line that started training.
        layer_source: Finds the user's line that made a layer.

    Raises:
        InputError: The state does not fit the model.
        TrainingError: A step raised.
    """
    check_model(model)
    recording = Recording(
        backend,
        lambda: backend.keras_step(model, layer_source),
        budget=Budget(steps=len(kept.batches), seconds=float("inf")),
        progress=progress,
        model=model,
    )
    with recording, training_errors("The replay", recording):
        build(model, kept.batches[0])
        if scales_loss(model):
            guard(model)
        notes = _put(kept, model)
        load_watch().put_random_state(kept.random)
        for batch in kept.batches:
            recording.advance(batch)
    described = configuration.of_model(model, entry="fit", source=source, layer_source=layer_source)
    described = replace(described, global_policy=kept.record["global_policy"])
    return recording.capture(described, (_told(kept), *notes))


def _put(kept: Kept, model: Any) -> tuple[str, ...]:
    """Gives the model the kept state; returns what a reader must know."""
    notes = []
    for group, variables in groups(model).items():
        values = kept.state.get(group, [])
        if group == "metrics" and len(values) != len(variables):
            continue  # Some are made by the first step; nothing is computed from them.
        _fit(group, variables, values)
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)
    now, then = policies(model), kept.record["policies"]
    other = [path for path in then if path in now and now[path] != then[path]]
    if other:
        notes.append(
            f"{len(other)} layers computed in another dtype when the failure was kept, such as "
            f"{other[0]} in {then[other[0]]}: give the script the same precision or plan."
        )
    return tuple(notes)


def _fit(group: str, variables: Sequence[Any], values: Sequence[Any]) -> None:
    have = [tuple(variable.shape) for variable in variables]
    want = [tuple(value.shape) for value in values]
    if have != want:
        other = next((n for n, (a, b) in enumerate(zip(have, want, strict=False)) if a != b), None)
        where = "" if other is None else f"; {variables[other].path} is {have[other]} there"
        raise InputError(
            f"The kept state has {len(want)} {group} variables, and the model {len(have)}{where}.",
            "Give the script and the arguments with which the failure was kept.",
        )


def _told(kept: Kept) -> str:
    record = kept.record
    where = "the failing step" if record["exact"] else "earlier steps"
    return (
        f"Replayed from {kept.folder.name}: {len(kept.batches)} batches from step "
        f"{record['state_step']} on, {where} first. {record['message']}"
    )
