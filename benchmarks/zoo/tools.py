"""What is run on the zoo, on which backends, and how a command line asks for it."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

TRIAL_SECONDS = 90
"""Time for all trials of one repair."""


@dataclass(frozen=True, slots=True)
class Tool:
    """A program that says something about a training.

    Attributes:
        name: As the option `--tools` and the folders of results spell it.
        title: As the tables spell it.
        backends: Keras backends that it works on.
        seconds: Limit for one script.
        repairs: Whether Floatline looks for a repair, too, which takes most of the time.
    """

    name: str
    title: str
    backends: tuple[str, ...]
    seconds: float
    repairs: bool = True

    @property
    def folder(self) -> str:
        """Where its results are kept: those without repair are no substitute for those with."""
        return self.name if self.repairs else f"{self.name}-no-repair"

    def command(self, script: Path, result: Path) -> list[str]:
        """The command that runs it on a script and leaves its answer in `result`."""
        if self.name != "floatline":
            return [
                sys.executable,
                "-m",
                "benchmarks.zoo.attach",
                self.name,
                str(script),
                str(result),
            ]
        options = ["--quiet", "--json", str(result)]
        if self.repairs:
            plan = result.with_suffix(".plan.json")
            options += ["--repair", str(plan), "--trial-seconds", str(TRIAL_SECONDS)]
        return [sys.executable, "-m", "floatline", "diagnose", *options, str(script)]


ALL = ("tensorflow", "jax", "torch")
TOOLS = (
    Tool("floatline", "Floatline", ALL, 400.0),
    Tool("terminate_on_nan", "Keras `TerminateOnNaN`", ALL, 120.0),
    Tool("check_numerics", "`tf.debugging.enable_check_numerics`", ("tensorflow",), 120.0),
    Tool("debugger_v2", "TensorFlow Debugger V2, `InfNanMonitor`", ("tensorflow",), 180.0),
    Tool("detect_anomaly", "`torch.autograd.set_detect_anomaly`", ("torch",), 180.0),
    Tool("debug_underflow_overflow", "Transformers `DebugUnderflowOverflow`", ("torch",), 180.0),
    Tool("debug_nans", "JAX `jax_debug_nans`", ("jax",), 180.0),
)
"""Every tool; those that do not run on the chosen backend are left out."""
