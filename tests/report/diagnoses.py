"""Diagnoses of every shape, as Hypothesis makes them: any records that hold together."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from hypothesis import strategies as st

from floatline import records, repairs
from floatline.precision.plan import Plan

NAMES = st.text(max_size=8) | st.sampled_from(["<script>alert(1)</script>", "</script>", "a/b"])
NUMBERS = st.floats() | st.integers(-(2**60), 2**60).map(float)
WORDS_FOR_NUMBERS = ("NaN", "Infinity", "-Infinity")
COUNTS = st.integers(0, 2**40)

# A word that stands for a number in JSON comes back as that number, where both are allowed.
EVIDENCE = st.dictionaries(
    NAMES,
    NUMBERS
    | COUNTS
    | st.booleans()
    | st.none()
    | st.text(max_size=5).filter(lambda text: text not in WORDS_FOR_NUMBERS),
    max_size=3,
)
PLANS = st.sampled_from([Plan(), Plan.of("mixed_float16"), Plan.of("float32", "Because <b>.")])

LINES = st.builds(records.SourceLine, NAMES.filter(bool), COUNTS)
STATISTICS = st.builds(
    records.Statistics,
    **{
        f.name: COUNTS if f.type == "int" else NUMBERS
        for f in dataclasses.fields(records.Statistics)
        if f.name != "exponents"
    },
    exponents=st.dictionaries(st.integers(-126, 127), COUNTS, max_size=4),
)


def listed(strategy: st.SearchStrategy[Any], most: int = 3) -> st.SearchStrategy[Any]:
    return st.lists(strategy, max_size=most).map(tuple)


def optional(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | strategy


PLACES = st.builds(
    records.Place,
    optional(NAMES),
    NAMES,
    NAMES,
    st.sampled_from(["forward", "backward", "update"]),
    optional(LINES),
    optional(LINES),
    optional(NAMES),
)


@st.composite
def findings(draw: st.DrawFn) -> records.Finding:
    """A finding stands in the phase of its place."""
    place = draw(optional(PLACES))
    return records.Finding(
        rule="FL101",
        cause="some-cause",
        phase=place.phase if place else "configuration",
        summary=draw(NAMES),
        evidence=draw(EVIDENCE),
        remedies=draw(listed(NAMES)),
        place=place,
        severity=draw(st.sampled_from(["failure", "advice"])),
        propagation=draw(COUNTS),
    )


@st.composite
def traces(draw: st.DrawFn) -> records.Trace:
    """Sites are numbered by position, and point at each other."""
    size = draw(st.integers(0, 5))
    numbers = st.integers(0, size - 1) if size else st.nothing()
    sites = tuple(
        records.Site(
            index,
            draw(PLACES),
            draw(st.sampled_from(["input", "constant", "parameter", "value"])),
            draw(st.sampled_from(["float16", "float32", "int32"])),
            draw(listed(optional(COUNTS))),
            draw(listed(st.integers(0, index - 1))) if index else (),
            draw(STATISTICS),
            draw(optional(NUMBERS)),
            draw(optional(NAMES)),
        )
        for index in range(size)
    )
    gradient = st.builds(records.GradientSite, NAMES, optional(NAMES), numbers)
    return records.Trace(
        step=draw(COUNTS),
        moment=draw(st.sampled_from(["first", "symptom", "last"])),
        sites=sites,
        gradients=draw(listed(gradient)) if size else (),
        losses=draw(listed(numbers)) if size else (),
        loss_scale=draw(optional(NUMBERS)),
        moved=draw(COUNTS),
        not_traced=draw(listed(st.builds(records.NotTraced, NAMES, COUNTS, NAMES))),
        agrees=draw(optional(st.booleans())),
        disagreement=draw(optional(NAMES)),
        notes=draw(listed(NAMES)),
    )


STEPS = listed(
    st.builds(
        records.StepRecord,
        COUNTS,
        optional(NUMBERS),
        st.booleans(),
        listed(NAMES),
        st.booleans(),
        optional(NUMBERS),
    )
)
LOSSES = listed(optional(NUMBERS))
VERDICTS = st.sampled_from(["fixed", "not fixed", "undecided"])
CHANGES = listed(st.builds(repairs.SourceChange, NAMES.filter(bool), COUNTS, NAMES, NAMES, NAMES))
REPAIRS = st.builds(
    repairs.Repair,
    VERDICTS,
    NAMES,
    optional(PLANS),
    listed(st.builds(repairs.Remedy, NAMES, NAMES, NAMES, PLANS, optional(NAMES))),
    listed(
        st.builds(
            repairs.Trial,
            listed(NAMES),
            PLANS,
            VERDICTS,
            NAMES,
            COUNTS,
            COUNTS,
            optional(NUMBERS),
            optional(NUMBERS),
            NUMBERS,
            LOSSES,
            LOSSES,
        )
    ),
    st.booleans(),
    optional(st.booleans()),
    CHANGES,
    listed(st.builds(repairs.Rewrite, CHANGES, VERDICTS, NAMES, COUNTS, NUMBERS)),
    optional(NAMES),
)
LAYERS = st.builds(records.LayerRecord, NAMES, NAMES, NAMES, NAMES, optional(LINES))
CONFIGURATIONS = st.builds(
    records.Configuration,
    NAMES,
    listed(LAYERS),
    optional(NAMES),
    st.booleans(),
    optional(NUMBERS),
    NAMES,
    optional(LINES),
    optional(COUNTS),
    st.sampled_from(["graph", "xla", "eager"]),
)
TEXTS: st.SearchStrategy[Mapping[int, str]] = st.dictionaries(
    st.integers(1, 99), st.text(max_size=9), max_size=3
)

DIAGNOSES = st.builds(
    records.Diagnosis,
    verdict=st.sampled_from(["healthy", "precision", "not-precision", "undecided"]),
    explanation=NAMES,
    findings=listed(findings()),
    checks=listed(
        st.builds(
            records.Check,
            st.just("FL101"),
            st.sampled_from(["found", "clear", "cannot tell"]),
            optional(NAMES),
        )
    ),
    evidence=st.builds(
        records.Evidence,
        CONFIGURATIONS,
        st.builds(records.History, STEPS, st.sampled_from(["budget", "symptom"]), NUMBERS),
        listed(traces(), 2),
        optional(st.builds(records.Reference, STEPS, STEPS, STEPS, STEPS)),
    ),
    environment=st.builds(records.Environment, *[NAMES] * 6),
    notes=listed(NAMES),
    command=optional(NAMES),
    script=optional(NAMES.filter(bool)),
    repair=optional(REPAIRS),
    sources=listed(st.builds(records.SourceText, NAMES.filter(bool), TEXTS)),
)
