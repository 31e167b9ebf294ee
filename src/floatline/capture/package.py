"""The package that a script is a part of, where Python could not run it by itself."""

from __future__ import annotations

import ast
from importlib.machinery import ModuleSpec
from pathlib import Path

_INIT = "__init__.py"


def root_of(path: Path) -> Path:
    """The folder above the package that a script lies in; else the working folder, or its own.

    Args:
        path: The script.
    """
    own = path.resolve().parent
    root = own
    while (root / _INIT).exists():
        root = root.parent
    working = Path.cwd()
    return working if root == own and working in own.parents else root


def package_spec(path: Path) -> ModuleSpec | None:
    """What `python -m package.script` would know of a script; None for one that runs by itself.

    A script that imports relatively (`from .model import build`) has no other way to run.

    Args:
        path: The script.
    """
    file, root = path.resolve(), root_of(path)
    if root == file.parent or not _imports_relatively(path):
        return None
    name = ".".join(file.relative_to(root).with_suffix("").parts)
    return ModuleSpec(name, None, origin=str(file))


def _imports_relatively(path: Path) -> bool:
    """Whether it does so in any case: what stands in a `try` has another way."""
    try:
        program = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return False
    return any(isinstance(line, ast.ImportFrom) and line.level for line in program.body)
