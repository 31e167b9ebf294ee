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
from tests.scaling.samples import only_tensorflow

SCRIPTS = Path(__file__).parent / "scripts"
MISSING = {
    "torch": ("torch_loop", "torch_trainer"),
    "jax": ("jax_loop",),
    "tensorflow": ("two_optimizers", "two_optimizers_model"),
}
TOO_HIGH = {
    "torch": ("torch_fixed_scale",),
    "jax": ("jax_fixed_scale",),
    "tensorflow": ("fixed_scale",),
}
HERE = keras.backend.backend()
STEPS = 24


@pytest.mark.filterwarnings("ignore:.*unbuilt state", "ignore:.build.. was called")
@pytest.mark.parametrize(
    ("rule", "name"),
    [*(("FL201", name) for name in MISSING[HERE]), *(("FL402", name) for name in TOO_HIGH[HERE])],
)
def test_the_proposed_loss_scale_cures_the_loop(rule: str, name: str, tmp_path: Path) -> None:
    text = (SCRIPTS / f"{name}.py").read_text(encoding="utf-8")
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


@only_tensorflow
@pytest.mark.filterwarnings("ignore:.*unbuilt state", "ignore:.build.. was called")
def test_the_scale_of_an_optimizer_that_the_step_does_not_use_proves_nothing() -> None:
    """Keras gives the model an optimizer with a loss scale, beside the two that its step has."""
    script = str(SCRIPTS / "two_optimizers_model.py")
    trials = TrialBudget(trials=3, seconds=600.0)
    repair = diagnose_script(script, budget=Budget(steps=STEPS), trials=trials).repair
    assert repair is not None
    assert (repair.verdict, repair.plan) == ("fixed", None)
    assert repair.patch is not None
    assert repair.patch.count("+        self.") == 2


@pytest.mark.parametrize("name", sorted(sum(MISSING.values(), ())))
def test_a_script_scales_no_loss_by_itself(name: str) -> None:
    text = (SCRIPTS / f"{name}.py").read_text(encoding="utf-8")
    assert not any(word in text for word in ("Scaler", "scale_loss", "LossScale"))
