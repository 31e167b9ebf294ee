"""Says why training stands still: every step of a long run was skipped."""

from __future__ import annotations

from floatline.errors import FloatlineError
from floatline.scaling.counters import ScaleReport


class StallError(FloatlineError):
    """Step after step is skipped: the weights do not move and nothing would change that."""


def describe_stall(report: ScaleReport) -> tuple[str, str]:
    """What happened, and what to do about it.

    >>> report = ScaleReport(1.0, 1.0, 60, 50, 0, 15, "dense/kernel", 0)
    >>> print(describe_stall(report)[0])
    Training stands still: the last 50 steps were skipped because their gradients were not finite, \
first that of dense/kernel. The loss scale is 1, its floor.
    """
    at_floor = ", its floor" if report.scale <= report.floor else f" (floor {report.floor:g})"
    message = (
        f"Training stands still: the last {report.consecutive} steps were skipped because their "
        f"gradients were not finite, first that of {report.culprit}. "
        f"The loss scale is {report.scale:g}{at_floor}."
    )
    if report.broken_losses:
        message += (
            f" In {report.broken_losses} of these steps the loss was not finite before it was "
            "scaled: the forward pass fails, and no loss scale can cure that."
        )
    return message, (
        "The weights are those of the last good step. `floatline diagnose` on the script, or "
        "`floatline.diagnose(model, x, y)`, names the operation in which it begins."
    )
