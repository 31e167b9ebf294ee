"""Runs tests that Keras ships with Floatline's class in the place of Keras' own.

Usage: python -m tests.scaling.keras_suite MODULE[:NAME] ..., below `keras.src`.
"""

from __future__ import annotations

import importlib
import sys
import unittest

import keras

from floatline.scaling.optimizer import LossScaleOptimizer

THEIRS = keras.optimizers.LossScaleOptimizer


def substitute() -> int:
    """Puts the class in place in every module of Keras; returns in how many."""
    homes = [
        module
        for name, module in sys.modules.items()
        if name.startswith("keras") and vars(module).get("LossScaleOptimizer") is THEIRS
    ]
    for module in homes:
        module.LossScaleOptimizer = LossScaleOptimizer  # type: ignore[attr-defined]  # (found by its name)
    return len(homes)


def suite(names: list[str]) -> unittest.TestSuite:
    """The tests of modules, or those of a module whose name contains a part."""
    loader, found = unittest.TestLoader(), unittest.TestSuite()
    for name in names:
        module, _, part = name.partition(":")
        loader.testNamePatterns = [f"*{part}*"]
        found.addTests(loader.loadTestsFromModule(importlib.import_module(f"keras.src.{module}")))
    return found


if __name__ == "__main__":
    assert substitute() >= 3
    result = unittest.TextTestRunner(verbosity=1).run(suite(sys.argv[1:]))
    assert any(LossScaleOptimizer in vars(module).values() for module in sys.modules.values())
    sys.exit(not result.wasSuccessful())
