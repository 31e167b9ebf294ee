"""Runs a function as soon as a script has imported Keras or a framework, not a moment earlier.

Keras fixes its backend when it is imported, and scripts choose it on the lines before. So nothing
may import Keras in the script's place.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from importlib.abc import MetaPathFinder
from types import FrameType, ModuleType

MODULE = "keras"
_FRAMEWORKS = ("torch", "jax", "tensorflow")


def after_keras(act: Callable[[], None]) -> AbstractContextManager[None]:
    """While active, calls `act` once Keras is imported; at once when it is already."""
    return after_import(MODULE, lambda _: act())


@contextmanager
def after_import(module: str, act: Callable[[ModuleType], None]) -> Iterator[None]:
    """While active, hands `act` a module once it is imported; at once when it is already."""
    if module in sys.modules:
        act(sys.modules[module])
        yield
        return
    finder = _Finder(module, act)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


def import_keras_for_script(framework: str | None = None) -> None:
    """Imports Keras for a script that trains without it.

    Args:
        framework: The framework that the script trains with; None for one that it has loaded.
    """
    loaded = framework or next((name for name in _FRAMEWORKS if name in sys.modules), None)
    if loaded is not None and MODULE not in sys.modules:
        os.environ.setdefault("KERAS_BACKEND", loaded)
    importlib.import_module(MODULE)


def _jax_came_first() -> bool:
    """Whether JAX was imported before TensorFlow, and not by it."""
    first = next((name for name in sys.modules if name in ("jax", "tensorflow")), None)
    return first == "jax"


def _asked_by_tensorflow() -> bool:
    """Whether TensorFlow, while it is imported itself, wants Keras loaded before anyone needs it.

    A script that loads its data with TensorFlow and trains with JAX would otherwise have Keras on
    TensorFlow. TensorFlow does without, and `tf.keras` loads Keras when it is used.
    """
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 (as `inspect` does, without the source)
    while frame is not None:
        file = frame.f_code.co_filename
        if file != __file__ and "importlib" not in file:
            return file.endswith(os.path.join("tensorflow", "__init__.py"))
        frame = frame.f_back
    return False


class _Finder(MetaPathFinder):
    """Finds nothing itself; lets the loader of one module call `act` when it is done."""

    def __init__(self, module: str, act: Callable[[ModuleType], None]) -> None:
        self._module = module
        self._act = act
        self._looking = False

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,  # noqa: ARG002 - the import system's signature
        target: ModuleType | None = None,  # noqa: ARG002
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != self._module or self._looking:
            return None
        if fullname == MODULE and _jax_came_first() and _asked_by_tensorflow():
            raise ModuleNotFoundError(f"{MODULE} is imported when the script does", name=MODULE)
        self._looking = True  # The search below asks this finder again.
        try:
            spec = importlib.util.find_spec(fullname)
        finally:
            self._looking = False
        if spec is None or spec.loader is None:
            return None
        load = spec.loader.exec_module

        def load_and_act(module: ModuleType) -> None:
            load(module)
            self._act(module)

        # On this one loader object, which serves nothing but this module.
        spec.loader.exec_module = load_and_act  # type: ignore[method-assign]
        return spec
