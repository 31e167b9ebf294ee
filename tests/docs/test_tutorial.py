"""The tutorial's commands print what the tutorial shows."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest

from floatline import Plan
from tests.architecture import laws
from tests.docs import transcript

PAGE = transcript.PAGE.read_text(encoding="utf-8")
SHOWN = transcript.blocks(PAGE)
EXAMPLE = laws.ROOT / "examples" / "attention_pooling.py"


def losses(output: str) -> list[float]:
    return [float(number) for number in re.findall(r"^epoch \d+: loss (\S+)$", output, re.M)]


# One test, for the commands take half a minute and tests may run in processes of their own.
def test_the_commands_print_what_the_page_shows_and_the_training_is_cured(tmp_path: Path) -> None:
    printed = transcript.run([command for command, _ in SHOWN], tmp_path)
    shown = [transcript.words(output) for _, output in SHOWN]
    assert [transcript.words(output) for output in printed] == shown

    before, after = losses(printed[0]), losses(printed[-1])
    assert all(map(math.isnan, before))
    assert len(before) == len(after) == 5
    assert after[-1] < 0.6 < after[0]
    assert after == pytest.approx(losses(SHOWN[-1][1]), rel=0.1)

    plan = Plan.from_json(printed[2])
    assert [(rule.path, rule.policy) for rule in plan.rules] == [("pooling", "float32")]
    assert "layer pooling (AttentionPooling), operation Exp" in printed[1]


def test_the_script_shown_is_the_example() -> None:
    (shown,) = re.findall(r"^```python title.*\n([\s\S]*?)^```$", PAGE, re.M)
    assert shown == EXAMPLE.read_text(encoding="utf-8")


def test_the_line_named_is_the_exponential() -> None:
    lines = EXAMPLE.read_text(encoding="utf-8").splitlines()
    (exponential,) = [number for number, line in enumerate(lines, 1) if "ops.exp(" in line]
    assert f"examples/attention_pooling.py:{exponential}\n" in SHOWN[1][1]
    assert f"The line is line {exponential} of the script" in " ".join(PAGE.split())


def test_what_is_shown_fits_a_page() -> None:
    for _, output in SHOWN[:2]:
        assert max(len(line) for line in output.splitlines()) <= 80


def test_another_line_layer_or_verdict_would_be_noticed() -> None:
    output = SHOWN[1][1]
    for old, new in (
        ("attention_pooling.py:21", "attention_pooling.py:22"),
        ("layer pooling", "layer hidden"),
        ("The precision is at fault.", "The precision is not at fault."),
        ("FL103", "FL101"),
    ):
        assert old in output
        assert transcript.words(output.replace(old, new)) != transcript.words(output)


def test_renewing_changes_outputs_alone() -> None:
    outputs = [f"{number}\n" for number in range(len(SHOWN))]
    again = transcript.blocks(transcript.renewed(PAGE, outputs))
    assert again == tuple((command, out) for (command, _), out in zip(SHOWN, outputs, strict=True))
    assert transcript.renewed(PAGE, [output for _, output in SHOWN]) == PAGE
