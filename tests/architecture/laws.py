"""The laws of the source tree as functions of source text, so that each can be shown to fail."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src"
FOUNDATIONS = (
    "records",
    "formats",
    "errors",
    "files",
    "headlines",
    "installed",
    "progress",
    "sources",
)
PRINTERS = ("floatline.cli", "floatline.report")
FRAMEWORKS = ("tensorflow", "jax", "jaxlib", "torch")
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60

Table = Mapping[str, tuple[str, ...]]


def module_of(file: Path) -> str:
    """The name under which a source file is imported."""
    parts = list(file.relative_to(SOURCE).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def source_files() -> list[Path]:
    """Every module of the package."""
    return sorted(SOURCE.rglob("*.py"))


def import_table(markdown: str) -> Table:
    """The table of ARCHITECTURE.md that follows the heading on imports."""
    _, _, after = markdown.partition("## Who may import whom")
    rows = re.findall(r"^\| `(floatline[\w.]*)` \|(.*)\|$", after.split("\n## ")[0], re.M)
    return {who: tuple(re.findall(r"`([\w.]+)`", allowed)) for who, allowed in rows}


def imports(source: str) -> Iterator[tuple[int, str]]:
    """Line and dotted name of everything that a module imports, anywhere in it."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            prefix = "." * node.level + (node.module or "")
            yield from ((node.lineno, f"{prefix}.{alias.name}") for alias in node.names)


def forbidden_imports(module: str, source: str, table: Table) -> list[str]:
    """What a module imports although its row does not allow it."""
    row = _row(module, table)
    if row is None:
        return [f"{module} has no row in the table of ARCHITECTURE.md"]
    allowed = table[row] + tuple(f"floatline.{name}" for name in FOUNDATIONS)
    if row != "floatline":
        allowed += (row,)
    return [
        f"{module}:{line} imports {name}"
        for line, name in imports(source)
        if not _is_standard(name) and not _below(name, allowed)
    ]


def framework_imports(module: str, source: str) -> list[str]:
    """What a module imports of a framework that is not its own folder's."""
    found = [(line, name) for line, name in imports(source) if _below(name, FRAMEWORKS)]
    return [
        f"{module}:{line} imports {name}"
        for line, name in found
        if not _below(module, (f"floatline.backends.{name.partition('.')[0]}",))
    ]


def printing(module: str, source: str) -> list[str]:
    """Where a module that has no business to speaks to people."""
    if _below(module, PRINTERS):
        return []
    return [
        f"{module}:{node.lineno} prints"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call) and _speaks(ast.unparse(node.func))
    ]


def oversized(name: str, source: str) -> list[str]:
    """Files and functions over the limits; a function counts without its docstring."""
    lines = len(source.splitlines())
    found = [f"{name} has {lines} lines"] if lines > MAX_FILE_LINES else []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = _length(node)
            if length > MAX_FUNCTION_LINES:
                found.append(f"{name}:{node.lineno} {node.name} has {length} lines")
    return found


def without_opening_line(name: str, source: str) -> list[str]:
    """Modules that do not open with a docstring whose first line stands for itself."""
    docstring = ast.get_docstring(ast.parse(source), clean=False)
    if not docstring:
        return [f"{name} has no docstring"]
    first, *rest = docstring.split("\n")
    if not first.strip() or (rest and rest[0].strip()):
        return [f"{name}: the first line of the docstring is not a line of its own"]
    return []


def _row(module: str, table: Table) -> str | None:
    """The most specific row; the package's own row is for its `__init__` alone."""
    rows = [
        row for row in table if module == row or (row != "floatline" and _below(module, (row,)))
    ]
    return max(rows, key=len, default=None)


def _below(name: str, prefixes: tuple[str, ...]) -> bool:
    return any(name == prefix or name.startswith(f"{prefix}.") for prefix in prefixes)


def _is_standard(name: str) -> bool:
    return name.partition(".")[0] in sys.stdlib_module_names


def _speaks(function: str) -> bool:
    return function == "print" or re.fullmatch(r"sys\.(stdout|stderr)\.\w+", function) is not None


def _length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    length = (function.end_lineno or function.lineno) - function.lineno + 1
    if ast.get_docstring(function) is None:
        return length
    docstring = function.body[0]
    return length - ((docstring.end_lineno or docstring.lineno) - docstring.lineno + 1)
