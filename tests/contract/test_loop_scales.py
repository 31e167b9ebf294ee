"""Loops without a loss scale, or with a wrong one, are cured by what is proposed: real scripts."""

from __future__ import annotations

from pathlib import Path

import keras
import pytest

from floatline.capture.capture import Budget
from floatline.pipeline import diagnose_script
from floatline.repairs import TrialBudget
from floatline.trials.editing import with_change
from floatline.trials.rerun import Rerun

MISSING = {"torch": "torch_loop", "jax": "jax_loop", "tensorflow": "two_optimizers"}
TOO_HIGH = {"torch": "torch_fixed_scale", "jax": "jax_fixed_scale", "tensorflow": "fixed_scale"}
STEPS = 24


@pytest.mark.parametrize(("rule", "scripts"), [("FL201", MISSING), ("FL402", TOO_HIGH)])
def test_the_proposed_loss_scale_cures_the_loop(
    rule: str, scripts: dict[str, str], tmp_path: Path
) -> None:
    name = scripts[keras.backend.backend()]
    text = (Path(__file__).parent / "scripts" / f"{name}.py").read_text(encoding="utf-8")
    script = tmp_path / "train.py"
    script.write_text(text, encoding="utf-8")
    budget = Budget(steps=STEPS, seconds=300.0)
    diagnosis = diagnose_script(str(script), budget=budget, trials=TrialBudget(trials=0))
    assert (diagnosis.verdict, diagnosis.findings[0].rule) == ("precision", rule)
    assert diagnosis.repair is not None
    (change,) = diagnosis.repair.changes
    changed = with_change({str(script): text}, change)
    assert changed[str(script)] != text
    answer = Rerun(str(script), [], None, budget)(changed, STEPS, 600.0)
    assert (answer.verdict, answer.steps >= STEPS) == ("fixed", True), answer.reason
    assert script.read_text(encoding="utf-8") == text


@pytest.mark.parametrize("name", MISSING.values())
def test_a_script_scales_no_loss_by_itself(name: str) -> None:
    text = (Path(__file__).parent / "scripts" / f"{name}.py").read_text(encoding="utf-8")
    assert not any(word in text for word in ("Scaler", "scale_loss", "LossScale"))
