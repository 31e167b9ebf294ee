"""What applying a plan changed, in a few lines."""

from __future__ import annotations

from collections import Counter

from floatline.precision.changes import Changes
from floatline.report import numbers


def summary(model: str, changes: Changes) -> str:
    """One line per kind of change, for standard error.

    Args:
        model: The model's name.
        changes: What was changed in it.
    """
    lines = [f"floatline: model {model!r}"]
    policies = Counter((change.before, change.after) for change in changes.layers)
    lines += [
        f"  {numbers.counted(count, 'layer')} from {before} to {after}"
        for (before, after), count in policies.items()
    ]
    dtypes = Counter((change.before, change.after) for change in changes.variables)
    lines += [
        f"  {numbers.counted(count, 'variable')} cast from {before} to {after}"
        for (before, after), count in dtypes.items()
    ]
    epsilons = Counter((change.before, change.after) for change in changes.epsilons)
    lines += [
        f"  epsilon of {numbers.counted(count, 'layer')} from {before:g} to {after:g}"
        for (before, after), count in epsilons.items()
    ]
    if changes.loss_scaling is not None:
        lines.append(f"  loss scaling {changes.loss_scaling}")
    return "\n".join([*lines, *(f"  {note}" for note in changes.notes)])
