"""Whole diagnoses on PyTorch: of the examples by the command line, of PyTorch's own steps."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import torch
from torch import nn

from floatline.capture.capture import Budget
from floatline.errors import TraceError
from floatline.pipeline import diagnose
from floatline.records import Diagnosis
from tests.backends.torch.traced import trace_of
from tests.contract.samples import policy

ROOT = Path(__file__).parents[3]
BUDGET = Budget(steps=30)


def by_command(name: str, folder: Path) -> dict[str, Any]:
    """The JSON of `floatline diagnose`, run on an example."""
    target = folder / "diagnosis.json"
    command = [sys.executable, "-m", "floatline", "diagnose", "--json", str(target)]
    script = str(ROOT / "examples" / f"{name}.py")
    ended = subprocess.run([*command, script], capture_output=True, text=True, check=False)
    assert target.exists(), ended.stderr
    result: dict[str, Any] = json.loads(target.read_text())
    return result


@pytest.mark.parametrize("name", ["healthy_mlp", "healthy_lstm", "conv_policy_before"])
def test_healthy_examples_are_called_healthy_with_a_note(name: str, tmp_path: Path) -> None:
    result = by_command(name, tmp_path)
    assert (result["verdict"], result["findings"], result["not_traced"]) == ("healthy", [], [])
    assert all(trace["agrees"] for trace in result["traces"])
    assert any("on a GPU they run in 16 bits" in note for note in result["notes"])
    assert "as it computes here" in result["explanation"]
    assert result["explanation"].endswith("on a GPU they run in float16.")
    assert all("matmul" in {w["function"] for w in t["widened"]} for t in result["traces"])


def test_gradients_that_vanish_only_in_float16_are_found(tmp_path: Path) -> None:
    result = by_command("deep_sigmoid", tmp_path)
    first = result["findings"][0]
    assert (result["verdict"], first["cause"]) == ("precision", "missing-loss-scaling")
    assert first["evidence"]["flushed_share[dense]"] == 1.0


def test_a_script_without_keras_needs_only_the_mark(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KERAS_BACKEND")
    result = by_command("torch_autocast", tmp_path)
    assert (result["verdict"], result["findings"]) == ("healthy", [])
    assert result["environment"]["backend"] == "torch"
    assert result["configuration"]["entry"] == "step function"
    assert result["explanation"].startswith("Nothing is wrong with training in mixed precision")
    assert {step["loss_scale"] for step in result["history"]["steps"]} == {65536.0}


def diagnosed(model: nn.Module, forward: Callable[[Any], Any], *, scaled: bool = True) -> Diagnosis:
    """The diagnosis of the usual mixed-precision step around a forward function."""
    updates = torch.optim.Adam(model.parameters(), 1e-2)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, enabled=scaled)

    def step(inputs: Any, targets: Any) -> None:
        updates.zero_grad()
        with torch.autocast("cpu", torch.float16):
            outputs = forward(inputs)
        loss = (outputs.float() - targets).square().mean()
        scaler.scale(loss).backward()
        scaler.step(updates)
        scaler.update()

    inputs = torch.randn(32, 8, generator=torch.Generator().manual_seed(1))
    batches = [(inputs, inputs.sum(1, keepdim=True))] * 60
    return diagnose(step, batches, budget=BUDGET)


def test_what_overflows_within_a_closure_is_a_fault_of_the_forward_pass() -> None:
    """An optimizer that asks for the loss computes it within its step, as no part of its update."""
    model = nn.Linear(8, 1)
    optimizer = torch.optim.LBFGS(model.parameters(), lr=0.1, max_iter=2)

    def step(inputs: Any, targets: Any) -> None:
        def closure() -> Any:
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.float16):
                outputs = (model(inputs) + 1) * 3e2 * 3e2
            loss = (outputs.float() / 9e4 - targets).square().mean()
            loss.backward()
            return loss

        optimizer.step(closure)

    inputs = torch.randn(32, 8, generator=torch.Generator().manual_seed(1))
    found = diagnose(step, [(inputs, inputs.sum(1, keepdim=True))] * 30, budget=BUDGET)
    assert found.verdict == "precision"
    assert found.findings[0].phase == "forward"
    assert found.findings[0].place is not None
    assert found.findings[0].place.operation == "mul"


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 1))


def test_a_scaled_step_of_pytorch_is_healthy_and_nothing_is_changed() -> None:
    model = network()
    before = [weight.detach().clone() for weight in model.parameters()]
    result = diagnosed(model, model)
    assert (result.verdict, result.findings) == ("healthy", ())
    assert all(trace.agrees for trace in result.evidence.traces)
    assert result.evidence.configuration.loss_scaling
    assert all(map(torch.equal, before, model.parameters()))
    assert all(weight.grad is None for weight in model.parameters())


def test_a_product_that_overflows_in_half_is_named_at_its_line() -> None:
    model = network()

    def forward(inputs: Any) -> Any:
        hidden = model[1](model[0](inputs))
        norms = (300 * hidden) @ (300 * hidden).T  # <- culprit
        return model[2](hidden) + norms.diagonal()[:, None] * 1e-9

    result = diagnosed(model, forward)
    first = result.findings[0]
    assert result.verdict == "precision"
    assert first.phase == "forward"
    assert first.place is not None
    assert first.place.operation == "mm"
    assert first.place.source is not None
    lines, start = inspect.getsourcelines(forward)
    culprit = next(n for n, line in enumerate(lines) if "culprit" in line)
    assert first.place.source.line == start + culprit


def test_a_module_that_overflows_is_named_by_its_path() -> None:
    class Huge(nn.Module):  # type: ignore[misc]  # PyTorch is not type-checked here
        def forward(self, inputs: Any) -> Any:
            return inputs * 3e5 / 3e5

    model = network()
    model.insert(2, Huge())
    result = diagnosed(model, model)
    first = result.findings[0]
    assert (result.verdict, first.phase) == ("precision", "forward")
    assert first.place is not None
    assert (first.place.layer, first.place.layer_class) == ("2", "Huge")


def test_float32_that_fails_as_well_is_not_the_precisions_fault() -> None:
    model = network()
    result = diagnosed(model, lambda inputs: model(inputs) / 0.0, scaled=False)
    assert result.verdict == "not-precision"


def stepped(model: nn.Module, updates: Any, step_of: Callable[[Any], None]) -> Diagnosis:
    """The diagnosis of a step of PyTorch's own, in which `step_of` takes the loss from there."""
    inputs = torch.randn(32, 8, generator=torch.Generator().manual_seed(1))
    targets = inputs.sum(1, keepdim=True)

    def step(given: Any, wanted: Any) -> None:
        updates.zero_grad()
        with torch.autocast("cpu", torch.float16):
            outputs = model(given)
        step_of((outputs.float() - wanted).square().mean())

    return diagnose(step, [(inputs, targets)] * 30, budget=BUDGET)


def test_an_adam_whose_epsilon_is_zero_in_half_is_named_in_the_update() -> None:
    model = network().half()
    model[0].weight.data[:, 0] = 0.0
    updates = torch.optim.Adam(model.parameters(), 1e-2)

    def step_of(loss: Any) -> None:
        (1e-3 * loss).backward()
        updates.step()

    result = stepped(model, updates, step_of)
    first, *others = result.findings
    assert (result.verdict, first.cause, first.phase) == (
        "precision",
        "optimizer-eps-half-state",
        "update",
    )
    assert [finding.cause for finding in others] == ["pure-float16-policy"]


@pytest.mark.parametrize("unscaled", [True, False])
def test_a_norm_is_clipped_after_the_scaler_has_unscaled(unscaled: bool) -> None:
    model = network()
    updates = torch.optim.SGD(model.parameters(), 1e-2)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)

    def step_of(loss: Any) -> None:
        scaler.scale(loss).backward()
        if unscaled:
            scaler.unscale_(updates)
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        scaler.step(updates)
        scaler.update()

    causes = [finding.cause for finding in stepped(model, updates, step_of).findings]
    assert causes == ([] if unscaled else ["scaled-gradient-misuse"])


class Forgetful(keras.Model):  # type: ignore[misc]
    """Its step leaves the loss unscaled, and its optimizer divides by the scale all the same."""

    def train_step(self, data: Any) -> dict[str, Any]:
        x, y = data
        self.zero_grad()
        loss = self.compute_loss(y=y, y_pred=self(x, training=True))
        loss.backward()
        weights = list(self.trainable_weights)
        with torch.no_grad():
            self.optimizer.apply([weight.value.grad for weight in weights], weights)
        return {"loss": loss}


@pytest.mark.parametrize(("optimizer", "severity"), [("sgd", "failure"), ("adam", "advice")])
def test_a_loss_that_was_never_scaled_is_found(optimizer: str, severity: str) -> None:
    with policy("mixed_float16"):
        inputs = keras.Input((8,))
        model = Forgetful(inputs, keras.layers.Dense(1)(inputs))
        model.compile(optimizer, "mse")
    x = np.random.default_rng(0).normal(size=(64, 8)).astype("float32")
    diagnosis = diagnose(model, x, x.sum(axis=1, keepdims=True), epochs=10, budget=BUDGET)
    found = {finding.rule: finding.severity for finding in diagnosis.findings}
    assert diagnosis.evidence.history.steps[0].loss_scale == 2.0**15
    assert found["FL404"] == severity


def test_a_step_that_began_too_late_is_told_where_to_begin() -> None:
    """A loss of before is differentiated; PyTorch frees its graph, so a second run has none."""
    weight = torch.ones(3, requires_grad=True)
    loss = (weight * weight).sum()

    def step(_: Any) -> None:
        loss.backward()

    step(None)
    with pytest.raises(TraceError, match="what was computed before it began") as caught:
        trace_of(step, None)
    assert "a function that computes the loss as well" in str(caught.value)
