"""Writes the numbers that the traces of every backend are to show: float32's, by Keras alone.

    KERAS_BACKEND=tensorflow python -m tests.contract.record_layers

For every layer that draws nothing, the largest magnitude of its output as the loss weighs it. Run
it after a change to the table of layers; a layer that this backend cannot train keeps its number.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from tests.contract.layer_cases import GROUPS
from tests.contract.layer_steps import possible, reference

TARGET = Path(__file__).parent / "layers.json"


def main() -> None:
    """Rewrites the file."""
    numbers = json.loads(TARGET.read_text(encoding="utf-8")) if TARGET.exists() else {}
    for group in GROUPS:
        outputs = reference(group).outputs
        drawn = {case.name for case in possible(group) if case.draws}
        numbers |= {
            name: float(f"{np.abs(output).max():.7g}")
            for name, output in outputs.items()
            if name not in drawn
        }
    known = {case.name for cases in GROUPS.values() for case in cases}
    kept = {name: numbers[name] for name in sorted(numbers) if name in known}
    TARGET.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
