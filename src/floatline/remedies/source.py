"""What a plan cannot change: the user's own lines, as they stand and as they could read."""

from __future__ import annotations

import ast
import linecache
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from floatline.formats import FORMATS
from floatline.records import Finding, SourceLine
from floatline.repairs import SourceChange

HALF = FORMATS["float16"]

SAFE_EPSILON = "1e-4"
"""In place of a literal that is 0 in float16: above its smallest normal number, 6.1e-5."""

SAFE_BOUND = "3e4"
"""In place of a literal that is infinite in float16: what Keras masks with, half of the range, so
that two of them do not add up to infinity."""

NO_CHANGE = ("FL4", "FL5", "FL6")
"""Families of rules whose fault is not in the numbers of one line."""

LITERAL_RULES = ("FL104", "FL203")
"""Rules of a mask constant and of an epsilon, which may be another number without harm."""

_CASTS = (
    ("ops", 'ops.cast({name}, "float32")'),
    ("keras", 'keras.ops.cast({name}, "float32")'),
    ("tf", "tf.cast({name}, tf.float32)"),
    ("jnp", "{name}.astype(jnp.float32)"),
    ("torch", "{name}.float()"),
)
"""How a cast is written, by a name that the script imports."""


@dataclass(frozen=True, slots=True)
class _Line:
    """A statement of the user's in its file."""

    text: str
    statement: ast.stmt
    imported: frozenset[str]

    def at(self, node: ast.expr | ast.stmt) -> tuple[int, int]:
        """Where a node begins and ends in the text of the whole file."""
        starts = [0]
        for line in self.text.splitlines(keepends=True):
            starts.append(starts[-1] + len(line))
        return (
            starts[node.lineno - 1] + _characters(self.text, node.lineno, node.col_offset),
            starts[(node.end_lineno or node.lineno) - 1]
            + _characters(self.text, node.end_lineno or node.lineno, node.end_col_offset or 0),
        )


Edit = tuple[int, int, str]
"""Replaces the text between two positions."""


def changes(findings: Iterable[Finding]) -> tuple[SourceChange, ...]:
    """A change for each line that failures name, where one is known.

    Args:
        findings: Most likely root cause first.
    """
    made = (_change(finding) for finding in findings if finding.severity == "failure")
    return tuple({(c.file, c.line): c for c in made if c is not None}.values())


def cast_at(place: SourceLine) -> SourceChange | None:
    """A cast of all that a line reads: what it needs once it meets float32, and cannot mix."""
    line = _read(place.file, place.line)
    edits, before = ([], []) if line is None else _operands(line)
    if line is None or not (edits or before):
        return None
    now, then = _applied(line, edits, before)
    return SourceChange(place.file, line.statement.lineno, now, then, "It meets float32 there.")


def _change(finding: Finding) -> SourceChange | None:
    place = finding.place
    if place is None or place.source is None or finding.rule.startswith(NO_CHANGE):
        return None
    line = _read(place.source.file, place.source.line)
    if line is None:
        return None
    for rewrite, reason in _REWRITES:
        edits, before = rewrite(line, finding)
        if edits or before:
            now, then = _applied(line, edits, before)
            return SourceChange(place.source.file, line.statement.lineno, now, then, reason)
    return None


# Three ways to change a statement: edits of its text, and lines to put before it. ---------------


def _literals(line: _Line, finding: Finding) -> tuple[list[Edit], list[str]]:
    """Numbers that float16 cannot hold."""
    edits: list[Edit] = []
    if finding.rule not in LITERAL_RULES:
        return edits, []
    for node in ast.walk(line.statement):
        if isinstance(node, ast.Constant) and isinstance(node.value, float):
            if 0 < node.value < HALF.min_subnormal / 2:
                edits.append((*line.at(node), SAFE_EPSILON))
            elif node.value > HALF.max_finite:
                edits.append((*line.at(node), SAFE_BOUND))
    return edits, []


def _layer(line: _Line, finding: Finding) -> tuple[list[Edit], list[str]]:
    """The call that makes the layer gets a dtype."""
    made = finding.place.layer_class if finding.place else None
    for node in ast.walk(line.statement):
        if made is None or not isinstance(node, ast.Call) or _name_of(node.func) != made:
            continue
        if any(keyword.arg == "dtype" for keyword in node.keywords):
            return [], []
        end = line.at(node)[1] - 1
        given = line.text[: line.at(node)[1] - 1].rstrip()
        comma = "" if given.endswith(("(", ",")) else ", "
        space = " " if given.endswith(",") else ""
        return [(len(given), end, f'{comma}{space}dtype="float32"')], []
    return [], []


def _operands(line: _Line, _finding: Finding | None = None) -> tuple[list[Edit], list[str]]:
    """Every value that the statement reads is cast to float32 first."""
    known = next((form for name, form in _CASTS if name in line.imported), None)
    if known is None or not isinstance(line.statement, ast.Assign | ast.Return | ast.AugAssign):
        return [], []
    value = line.statement.value
    read = list(_values_read(value, line.imported)) if value is not None else []
    names = dict.fromkeys(node.id for node in read if isinstance(node, ast.Name))
    attributes = [node for node in read if isinstance(node, ast.Attribute)]
    edits = [(*line.at(node), known.format(name=ast.unparse(node))) for node in attributes]
    return edits, [f"{name} = {known.format(name=name)}" for name in names]


_REWRITES: Sequence[tuple[Callable[[_Line, Finding], tuple[list[Edit], list[str]]], str]] = (
    (_literals, "float16 cannot hold the number."),
    (_layer, "The layer computes in float32."),
    (
        _operands,
        "The line computes in float32, and hands float32 on: cast what it meets later, too.",
    ),
)


def _values_read(node: ast.expr, imported: frozenset[str]) -> Iterator[ast.Name | ast.Attribute]:
    """Variables and attributes that may hold tensors: no functions, modules, indices, options."""
    if isinstance(node, ast.Name | ast.Attribute):
        if _root(node) not in imported:
            yield node
        return
    for part in _parts(node, imported):
        yield from _values_read(part, imported)


def _parts(node: ast.expr, imported: frozenset[str]) -> Iterator[ast.expr]:
    """What an expression computes with."""
    if isinstance(node, ast.Call):
        method = node.func.value if isinstance(node.func, ast.Attribute) else None
        if method is not None and _root(method) not in {"self", *imported}:
            yield method
        yield from node.args
    elif isinstance(node, ast.Subscript):
        yield node.value
    elif isinstance(node, ast.BinOp | ast.UnaryOp | ast.Tuple | ast.List):
        yield from (child for child in ast.iter_child_nodes(node) if isinstance(child, ast.expr))


def _root(node: ast.expr) -> str | None:
    """The name with which a chain of attributes begins."""
    while isinstance(node, ast.Attribute):
        node = node.value
    return node.id if isinstance(node, ast.Name) else None


def _name_of(node: ast.expr) -> str | None:
    return getattr(node, "id", None) or getattr(node, "attr", None)


# Text. ------------------------------------------------------------------------------------------


def _read(file: str, number: int) -> _Line | None:
    """The innermost simple statement that covers a line of a file."""
    text = "".join(linecache.getlines(file))  # What runs, which may be a change that is tried.
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):
        return None
    simple = (
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.stmt)
        and not hasattr(node, "body")
        and node.lineno <= number <= (node.end_lineno or node.lineno)
    )
    statement = next(simple, None)
    return None if statement is None else _Line(text, statement, _imported(tree))


def _imported(tree: ast.Module) -> frozenset[str]:
    imports = (node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom))
    return frozenset(a.asname or a.name.partition(".")[0] for node in imports for a in node.names)


def _applied(line: _Line, edits: Iterable[Edit], before: Sequence[str]) -> tuple[str, str]:
    """The statement as it stands and as it could read, both from the beginning of its line."""
    start, end = line.at(line.statement)
    begin = line.text.rfind("\n", 0, start) + 1
    then = line.text[begin:end]
    for left, right, text in sorted(edits, reverse=True):
        then = then[: left - begin] + text + then[right - begin :]
    indent = then[: len(then) - len(then.lstrip())]
    then = "".join(f"{indent}{text}\n" for text in before) + then
    return textwrap.dedent(line.text[begin:end]), textwrap.dedent(then)


def _characters(text: str, number: int, offset: int) -> int:
    """A column in characters; the syntax tree counts bytes of UTF-8."""
    return len(text.splitlines()[number - 1].encode()[:offset].decode())
