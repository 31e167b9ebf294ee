"""An inspection in the terminal."""

from __future__ import annotations

import dataclasses
import io

from floatline.findings.configured.note import ConfigurationNote
from floatline.precision.changes import Changes, LayerChange, VariableChange
from floatline.precision.inspection import Dimension, Inspection, LayerInspection, PolicyBytes
from floatline.records import SourceLine
from floatline.report import changes, inspection, terminal

DENSE = LayerInspection(
    path="hidden",
    layer_class="Dense",
    policy="mixed_float16",
    variable_dtype="float32",
    compute_dtype="float16",
    input_dtypes=("float32",),
    output_dtypes=("float16",),
    parameters=650,
    parameter_bytes=2600,
    copy_bytes=1300,
    activation_bytes=640,
    input_casts=1,
    weight_casts=2,
    misfits=(Dimension("outputs", 10, 16),),
)
HEAD = LayerInspection(
    "head", "Dense", "float32", "float32", "float32", keeps_float32="its policy is float32"
)
FOUND = Inspection(
    model="small",
    batch_size=32,
    layers=(DENSE, HEAD),
    policies=(PolicyBytes("float32", 2600, 0, 3 * 2**20),),
    notes=("A note.",),
)


def shown(found: Inspection) -> str:
    file = io.StringIO()
    terminal.show(inspection.render(found), terminal.console(file, colour=False))
    return file.getvalue()


def test_the_truth_about_the_weights_comes_first() -> None:
    lines = shown(FOUND).splitlines()
    assert lines[0] == "Model 'small'"
    assert lines[1].startswith("Its weights are kept in float32; each step casts copies of them")
    assert "1.3 KiB" in " ".join(lines[:3])


def test_every_section_has_its_numbers() -> None:
    text = shown(FOUND)
    assert "hidden  float32      float16   float32  float16         650      3" in text
    assert "as it is       2.5 KiB        1.3 KiB          640 B" in text
    assert "float32        2.5 KiB            0 B        3.0 MiB" in text
    assert "head  its policy is float32" in text
    assert "hidden    outputs    10               16" in text
    assert "- A note." in text


def test_what_there_is_not_gets_no_section() -> None:
    plain = dataclasses.replace(FOUND, layers=(HEAD,))
    text = shown(plain)
    assert "Stays in float32" not in text
    assert "tensor cores" not in text
    assert "makes no casts" in text


def test_nothing_is_wider_than_a_terminal() -> None:
    long = dataclasses.replace(DENSE, path="encoder/block_1/attention/query/" * 3)
    assert max(map(len, shown(dataclasses.replace(FOUND, layers=(long,))).splitlines())) <= 80


def test_changes_in_a_few_lines() -> None:
    layers = tuple(LayerChange(name, "Dense", "float16", "mixed_float16", "r") for name in "ab")
    variables = (VariableChange("a/kernel", "float16", "float32"),)
    made = Changes(layers, variables, "attached: NoScale()", ("A note.",))
    assert changes.summary("small", made).splitlines() == [
        "floatline: model 'small'",
        "  2 layers from float16 to mixed_float16",
        "  1 variable cast from float16 to float32",
        "  loss scaling attached: NoScale()",
        "  A note.",
    ]


NOTE = ConfigurationNote(
    "FL203",
    "epsilon-underflow",
    "wrong",
    "self.eps = 1e-08 in float16",
    "it is 0 in float16, and protects nothing",
    "use a larger epsilon: 1e-4 or more",
    "norm",
    SourceLine("/home/ada/train.py", 31),
)


def test_what_is_told_without_a_run_comes_by_grade() -> None:
    risk = dataclasses.replace(NOTE, rule="FL201", cause="missing-loss-scaling", grade="risk")
    advice = dataclasses.replace(NOTE, rule="FL701", grade="advice", layer=None, source=None)
    text = shown(dataclasses.replace(FOUND, configuration=(NOTE, risk, advice)))
    assert "Told without a run: 1 wrong, 1 at risk." in text
    titles = [text.index(title) for title in inspection.TITLES.values()]
    assert titles == sorted(titles)
    assert titles[-1] < text.index("Layers")
    assert "FL203 epsilon-underflow, layer 'norm' (train.py:31)" in text
    assert "Self.eps = 1e-08 in float16: it is 0 in float16, and protects nothing." in text
    assert "Use a larger epsilon: 1e-4 or more." in text


def test_nothing_is_said_where_nothing_was_found() -> None:
    assert "Told without a run" not in shown(FOUND)
    assert not any(title in shown(FOUND) for title in inspection.TITLES.values())
