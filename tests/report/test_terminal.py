"""The terminal report: what it says, in which order, inside 80 columns and without colour."""

import dataclasses
import io
from html import escape
from pathlib import Path
from typing import Any

import pytest

from floatline import records
from floatline.report import terminal
from floatline.report.html.page import page
from floatline.report.json import dumps
from floatline.report.reading import loads
from tests.report import samples

SOURCE = (
    "product = x @ w\n"
    "    return product / tf.reduce_sum(product, axis=-1, keepdims=True) + of_something_very_long\n"
    "model.fit(x, y)\n"
)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    (tmp_path / "train.py").write_text(SOURCE, encoding="utf-8")
    return tmp_path


def text_of(diagnosis: records.Diagnosis, base: Path) -> str:
    file = io.StringIO()
    terminal.show(terminal.render(diagnosis, base), terminal.console(file))
    return file.getvalue()


EVERY_SAMPLE = [
    samples.precision(),
    samples.healthy(),
    samples.other("undecided"),
    samples.other("not-precision"),
]


@pytest.mark.parametrize("diagnosis", EVERY_SAMPLE, ids=lambda sample: sample.verdict)
def test_every_line_fits_into_80_columns_without_colour(
    diagnosis: records.Diagnosis, base: Path
) -> None:
    lines = text_of(diagnosis, base).splitlines()
    assert max(len(line) for line in lines) <= 80
    assert all(line == line.rstrip() and "\x1b" not in line for line in lines)


def test_long_words_are_folded_not_cut(base: Path) -> None:
    name = "block_" * 40
    place = dataclasses.replace(
        samples.DIVISION, layer=name, source=records.SourceLine(f"/{name}/{name}.py", 1)
    )
    finding = dataclasses.replace(samples.OVERFLOW, place=place, summary=name, remedies=(name,))
    text = text_of(dataclasses.replace(samples.precision(), findings=(finding,)), base)
    assert max(len(line) for line in text.splitlines()) <= 80
    assert "".join(text.split()).count(name) >= 5


def test_the_verdict_comes_first_then_why(base: Path) -> None:
    lines = text_of(samples.precision(), base).splitlines()
    assert lines[0] == "The precision is at fault."
    assert lines[1].startswith("The gradient of layer row_share overflows float16 in step 1.")


def test_a_finding_tells_rule_place_line_numbers_and_remedies(base: Path) -> None:
    text = text_of(samples.precision(), base)
    for part in (
        "1. FL102 backward-overflow\n",
        "   backward, layer row_share (RowShare), operation Mul\n",
        "   at train.py:2\n",
        "      | return product / tf.reduce_sum(product, axis=-1, keepdims=True) +\n",
        "        of_something_very_long\n",
        "   in /usr/lib/tensorflow/math_grad.py:1474\n",
        "   largest value in float32  98,123 (2^16.6)\n",
        "   saturated share           0.195 %\n",
        "   Passed on by 37 later operations, not listed.\n",
        "   What to do\n   - Compute this layer in float32",
    ):
        assert part in text


def test_the_training_under_watch_is_summed_up(base: Path) -> None:
    text = text_of(samples.precision(), base)
    for part in (
        "   started by            fit at train.py:3\n",
        "   steps                 5 (a symptom appeared after 3.2 s)\n",
        "   skipped               1 step, by the loss scale\n",
        "   loss scale            32,768 (2^15) to 16,384 (2^14)\n",
        "   non-finite gradients  in 1 step\n",
        "   loss                  0.6931 to NaN\n",
        "   loss in float32       0.69 to 0.65 (5 steps)\n",
        "   step 4 (symptom)  5 values measured, loss scale 32,768 (2^15)",
        "   - 3 x PyFunc: it runs Python code of the user's\n",
        "   FL301  a float32 training of the same steps\n",
        "   - The callback ModelCheckpoint [keras] did not run.\n",
        "   Again: floatline diagnose train.py\n",
    ):
        assert part in text


def test_float32_is_told_twice_where_the_step_built_anew_ends_elsewhere(base: Path) -> None:
    evidence = samples.precision().evidence

    def told(last: float) -> str:
        anew = tuple(records.StepRecord(i, loss) for i, loss in enumerate((0.7, last)))
        assert evidence.reference is not None
        reference = dataclasses.replace(evidence.reference, rebuilt=anew)
        changed = dataclasses.replace(evidence, reference=reference)
        return text_of(dataclasses.replace(samples.precision(), evidence=changed), base)

    assert "   loss in float32       0.69 to 0.65 (5 steps)\n" in told(0.2)
    assert "   the same, built anew  0.7 to 0.2 (2 steps)\n" in told(0.2)
    assert "anew" not in told(0.66)


def flushing(**numbers: Any) -> records.Diagnosis:
    """A diagnosis with a gradient of 100 elements, handed over by an operation that may flush."""
    place = dataclasses.replace(samples.DIVISION, phase="backward")
    statistics = records.Statistics(count=100, max_abs=1e-5, computed_max_abs=1e-5, **numbers)
    gradient = records.GradientSite("kernel", "encoder/dense", 0)
    trace = records.Trace(4, "symptom", (samples.value(0, statistics, place),), (gradient,))
    evidence = dataclasses.replace(samples.precision().evidence, traces=(trace,))
    return dataclasses.replace(samples.precision(), evidence=evidence)


def test_flushed_gradients_are_listed_by_layer(base: Path) -> None:
    text = text_of(flushing(zero=60, shadow_zero=20, flushed=40, local_flushed=40), base)
    assert "Gradients flushed to zero, by layer (step 4)\n" in text
    assert "   encoder/dense     50 %                          80 of 100\n" in text


@pytest.mark.parametrize("by", [{}, {"local_flushed": 20}])
def test_zeros_of_another_cause_and_a_tail_that_flushed_get_no_table(
    base: Path, by: dict[str, int]
) -> None:
    text = text_of(flushing(flushed=0 if by else 40, **by), base)
    assert "Gradients flushed" not in text


def test_advice_comes_last(base: Path) -> None:
    text = text_of(samples.precision(), base)
    assert text.index("Measured with") < text.index("Advice: FL501 policy-after-build")
    assert text.rstrip().endswith("- Set the policy before the first layer is made.")


def test_healthy_is_said_plainly_with_what_was_checked(base: Path) -> None:
    text = text_of(samples.healthy(), base)
    assert text.startswith("Healthy: nothing is wrong with the precision.\n")
    assert "2 rules clear; `floatline rules` lists them.\n" in text
    assert "What to do" not in text


def test_nothing_measured_is_said_to_be_so(base: Path) -> None:
    text = text_of(samples.other("undecided"), base)
    assert text.startswith("Undecided: ")
    assert "   steps       none\n" in text


def test_a_source_line_that_cannot_be_read_is_left_out(tmp_path: Path) -> None:
    text = text_of(samples.precision(), tmp_path)
    assert "   at train.py:2\n   in /usr/lib" in text


def test_texts_are_taken_literally(base: Path) -> None:
    finding = dataclasses.replace(samples.OVERFLOW, summary="Shape [bold] [None, 32] :smile:")
    text = text_of(dataclasses.replace(samples.precision(), findings=(finding,)), base)
    assert "Shape [bold] [None, 32] :smile:" in text


def test_every_verdict_has_a_headline_and_they_differ() -> None:
    assert len({*terminal.HEADLINES.values(), terminal.HEALTHY_HERE}) == 5


@pytest.mark.parametrize("verdict", ["healthy", "precision"])
def test_healthy_on_this_machine_is_no_clean_bill(verdict: records.Verdict, base: Path) -> None:
    told = samples.widened(dataclasses.replace(samples.precision(), verdict=verdict))
    first = text_of(told, base).partition("\n")[0]
    assert first.startswith("Healthy on this machine;") is (verdict == "healthy")
    restored = loads(dumps(told, base))
    assert restored.evidence.traces[0].widened == told.evidence.traces[0].widened
    assert terminal.headline_text(restored) == first
    assert f'<h1 id="headline">{escape(first)}</h1>' in page(told, base)


def test_colour_can_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    coloured, plain = io.StringIO(), io.StringIO()
    content = terminal.headline(samples.precision())
    terminal.show(content, terminal.console(coloured))
    terminal.show(content, terminal.console(plain, colour=False))
    assert "\x1b[1;31m" in coloured.getvalue()
    assert "31m" not in plain.getvalue()


@pytest.mark.parametrize(
    ("changes", "shown"),
    [
        ({}, True),
        ({"layers": (), "global_policy": "float32"}, False),
        ({"layers": (), "global_policy": "mixed_float16"}, True),
        ({"global_policy": "float32"}, True),
    ],
)
def test_keras_policy_is_named_where_it_decides_something(
    base: Path, changes: dict[str, Any], shown: bool
) -> None:
    evidence = samples.healthy().evidence
    layer = records.LayerRecord("dense", "Dense", "float16", "float32")
    known = dataclasses.replace(evidence.configuration, layers=(layer,))
    configuration = dataclasses.replace(known, **changes)
    evidence = dataclasses.replace(evidence, configuration=configuration)
    text = text_of(dataclasses.replace(samples.healthy(), evidence=evidence), base)
    assert ("   policy  " in text) == shown
