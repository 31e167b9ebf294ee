"""What a notebook shows for a result: compact, without script, everything escaped."""

from __future__ import annotations

from floatline.precision.inspection import Inspection
from floatline.records import Diagnosis
from floatline.report.html.runtime import templates
from floatline.report.inspection import (
    LAYER_HEADER,
    graded,
    headline,
    layer_row,
    note_heading,
    note_text,
)
from floatline.report.repair import what_came
from floatline.report.terminal import headline_text

MAX_ROWS = 60
"""Layers that a card lists; `to_dataframe` has them all."""


def diagnosis_card(diagnosis: Diagnosis) -> str:
    """The verdict, the findings with their lines, and how to see more."""
    repair = diagnosis.repair
    return (
        templates()
        .get_template("diagnosis.html.j2")
        .render(
            diagnosis=diagnosis,
            headline=headline_text(diagnosis),
            came=None if repair is None else what_came(repair),
        )
    )


def inspection_card(inspection: Inspection) -> str:
    """The headline of an inspection and its layers as a table."""
    layers = inspection.layers
    return (
        templates()
        .get_template("inspection.html.j2")
        .render(
            headline=headline(inspection),
            grades=[
                (title, [(note_heading(note), *note_text(note)) for note in notes])
                for title, notes in graded(inspection)
            ],
            header=LAYER_HEADER,
            rows=[layer_row(layer) for layer in layers[:MAX_ROWS]],
            hidden=max(0, len(layers) - MAX_ROWS),
        )
    )
