"""Steps whose loss may pair every prediction with every target, written down as plain numbers."""

from __future__ import annotations

from floatline.findings.crossings import Crossing, crossing
from floatline.records import Evidence
from tests.findings.evidence import Numbers, Sketch, evidence, learns

ROWS = 16


class Step:
    """A regression in the making: inputs, targets, and predictions that a layer makes of them."""

    def __init__(self, rows: int = ROWS) -> None:
        self.rows, self.sketch = rows, Sketch()
        self.x = self.row("x", role="input", layer=None)
        self.y = self.row("y", role="input", layer=None)
        self.kernel = self.sketch.add("Parameter", role="parameter", count=1, variable="w")
        self.predicted = self.row("MatMul", self.x, self.kernel)

    def row(self, operation: str, *inputs: int, **numbers: object) -> int:
        """A value per row."""
        options: Numbers = {"count": self.rows, "shape": (self.rows,), "dtype": "float32"}
        return self.sketch.add(operation, *inputs, **{**options, **numbers})

    def pairs(self, operation: str, *inputs: int) -> int:
        """A value per pair of rows, outside of every layer."""
        shape = (self.rows, self.rows)
        count = self.rows * self.rows
        return self.sketch.add(
            operation, *inputs, count=count, shape=shape, dtype="float32", layer=None
        )

    def found(self, *parts: int) -> Crossing | None:
        """What is found when the loss is the mean of the parts."""
        self.sketch.gradient("block", self.sketch.loss(*parts))
        return crossing(self.sketch.trace())


def crossed_rows() -> Evidence:
    """Predictions of shape (16, 1) less targets of shape (16,)."""
    step = Step()
    away = step.pairs("Sub", step.y, step.predicted)
    step.found(step.pairs("Square", away))
    return evidence([step.sketch.trace()], learns(), learns())
