"""An inspection for a terminal: what each layer keeps, computes and returns, and what it costs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from rich.console import Group, RenderableType
from rich.text import Text

from floatline.findings.configured.note import ConfigurationNote
from floatline.precision.inspection import Inspection, LayerInspection, PolicyBytes
from floatline.report import layout, numbers

LAYER_HEADER = ("layer", "kept in", "computes in", "is given", "returns", "parameters", "casts")
"""What is told of each layer."""

TITLES: Mapping[str, str] = {
    "wrong": "Cannot work as it is set up",
    "risk": "At risk: whether it fails, `floatline diagnose` tells",
    "advice": "Worth knowing",
}
"""What the grades of configuration notes mean, in the order in which they are told."""

_BYTES_HEADER = ("policy", "weights kept", "cast per step", "layer outputs")


def render(inspection: Inspection) -> Group:
    """Everything a person is told about a model, the truth about its weights first."""
    parts: list[RenderableType] = [top(inspection), *_configuration(inspection)]
    rows = [layer_row(layer) for layer in inspection.layers]
    parts.append(layout.section("Layers", [layout.columns(LAYER_HEADER, rows)]))
    parts.append(_bytes(inspection))
    parts += _stays_float32(inspection.layers)
    parts += _misfits(inspection.layers)
    parts.append(layout.section("Notes", [layout.bullet(note) for note in inspection.notes]))
    return Group(*layout.spaced(parts))


def top(inspection: Inspection) -> Group:
    """The headline alone."""
    first, *others = headline(inspection)
    return Group(Text(first, style="bold"), *(Text(line) for line in others))


def in_bytes(count: int) -> str:
    """A number of bytes with a binary unit.

    Example:

    >>> in_bytes(640), in_bytes(1536), in_bytes(3 * 2**30)
    ('640 B', '1.5 KiB', '3.0 GiB')
    """
    if count < 1024:
        return f"{count} B"
    power = min((count.bit_length() - 1) // 10, 3)
    return f"{count / 1024**power:.1f} {('KiB', 'MiB', 'GiB')[power - 1]}"


def headline(inspection: Inspection) -> tuple[str, ...]:
    """The model, the truth about its weights, and its optimizer, a line each."""
    kept = sorted({layer.variable_dtype for layer in inspection.layers if layer.variable_dtype})
    weights = f"Its weights are kept in {' and '.join(kept)}" if kept else "It has no weights"
    copies = inspection.copy_bytes
    cast = f"; each step casts copies of them, {in_bytes(copies)} in all" if copies else ""
    scaling = inspection.loss_scaling or "none"
    return (
        f"Model {inspection.model!r}",
        f"{weights}{cast}. One forward pass makes {_counted(inspection.casts)}.",
        f"Optimizer: {inspection.optimizer or 'not compiled'}. Loss scaling: {scaling}.",
        *_grades(inspection),
    )


def graded(inspection: Inspection) -> Iterator[tuple[str, tuple[ConfigurationNote, ...]]]:
    """The configuration notes under what their grade means, those without any left out."""
    for grade, title in TITLES.items():
        notes = tuple(note for note in inspection.configuration if note.grade == grade)
        if notes:
            yield title, notes


def note_heading(note: ConfigurationNote) -> str:
    """Rule, cause and place of a note."""
    return f"{note.rule} {note.cause}" + (f", {note.place}" if note.place else "")


def note_text(note: ConfigurationNote) -> tuple[str, str]:
    """What is set and why that matters, and what to do."""
    change = f"{note.change[:1].upper()}{note.change[1:]}."
    return f"{note.setting[:1].upper()}{note.setting[1:]}: {note.reason}.", change


def _grades(inspection: Inspection) -> Iterator[str]:
    notes = inspection.configuration
    wrong = sum(note.grade == "wrong" for note in notes)
    risk = sum(note.grade == "risk" for note in notes)
    if wrong or risk:
        yield f"Told without a run: {wrong or 'nothing'} wrong, {risk or 'nothing'} at risk."


def _configuration(inspection: Inspection) -> Iterator[RenderableType]:
    for title, notes in graded(inspection):
        yield layout.section(title, [line for note in notes for line in _note(note)])


def _note(note: ConfigurationNote) -> Iterator[RenderableType]:
    yield Text(note_heading(note), style="bold" if note.grade == "wrong" else "")
    yield layout.indented(Group(*(Text(line) for line in note_text(note))))


def _counted(casts: int) -> str:
    return numbers.counted(casts, "cast") if casts else "no casts"


def layer_row(layer: LayerInspection) -> tuple[str, ...]:
    """The cells under `LAYER_HEADER`."""
    casts = layer.input_casts + layer.weight_casts
    return (
        layer.path,
        layer.variable_dtype or "-",
        layer.compute_dtype,
        ", ".join(layer.input_dtypes) or "-",
        ", ".join(layer.output_dtypes) or "-",
        f"{layer.parameters:,}" if layer.parameters else "-",
        str(casts or "-"),
    )


def _bytes(inspection: Inspection) -> RenderableType:
    now = PolicyBytes(
        "as it is",
        inspection.parameter_bytes,
        inspection.copy_bytes,
        inspection.activation_bytes,
    )
    rows = [
        (
            row.policy,
            in_bytes(row.parameter_bytes),
            in_bytes(row.copy_bytes),
            in_bytes(row.activation_bytes),
        )
        for row in (now, *inspection.policies)
    ]
    title = f"Memory for a batch of {inspection.batch_size}, by policy of all layers"
    return layout.section(title, [layout.columns(_BYTES_HEADER, rows)])


def _stays_float32(layers: tuple[LayerInspection, ...]) -> Iterator[RenderableType]:
    """Only worth a section where something else computes in less."""
    rows = [(layer.path, layer.keeps_float32) for layer in layers if layer.keeps_float32]
    if any(layer.compute_dtype != "float32" for layer in layers) and rows:
        pairs = [(path, reason or "") for path, reason in rows]
        yield layout.section("Stays in float32", [layout.pairs(pairs)])


def _misfits(layers: tuple[LayerInspection, ...]) -> Iterator[RenderableType]:
    rows = [
        (layer.path, misfit.name, str(misfit.size), str(misfit.good_size))
        for layer in layers
        for misfit in layer.misfits
    ]
    if rows:
        header = ("layer", "dimension", "size", "next that suits")
        yield layout.section("Misses the tensor cores", [layout.columns(header, rows)])
