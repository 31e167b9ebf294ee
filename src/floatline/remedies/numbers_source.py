"""Rewrites of one line whose numbers do not fit: literals, the layer made there, what it reads."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from floatline.formats import FORMATS
from floatline.records import Finding
from floatline.remedies.names import (
    bound_within,
    half_format,
    is_container,
    is_entry,
    is_half_format,
    is_number,
)
from floatline.remedies.statement import (
    Edit,
    Statement,
    calls,
    functions,
    name_of,
    root,
    targets,
)

HALF = FORMATS["float16"]

SAFE_EPSILON = "1e-4"
"""In place of a literal that is 0 in float16: above its smallest normal number, 6.1e-5."""

SAFE_BOUND = "3e4"
"""In place of a literal that is infinite in float16: what Keras masks with, half of the range, so
that two of them do not add up to infinity."""

LITERAL_RULES = ("FL104", "FL111", "FL203")
"""Rules of a mask constant and of an epsilon, which may be another number without harm."""

_CLOSE = (ast.Name, ast.Attribute, ast.Call, ast.Subscript, ast.BinOp)
"""Expressions to which a number can be added without parentheses."""

LOG_RULES = ("FL108", "FL203", "FL204", "FL205", "FL305")
"""Rules of numbers that vanish, of which a logarithm may be taken."""

NO_VALUES = ("dtype", "compute_dtype", "variable_dtype", "shape", "ndim", "self")
"""Names and attributes that are no numbers."""

CAST_FUNCTIONS = ("cast", "astype", "convert_to_tensor", "constant", "asarray", "array")
"""What takes a dtype as its last argument or by name."""

TORCH_CASTS = ("to", "type", "tensor", "as_tensor")
"""The same of PyTorch, which takes no dtype by a string."""

TORCH_METHODS = ("half", "bfloat16")
"""Methods of PyTorch's tensors that cast to a half format without being given one."""

_FULL = ("float", "float32", "float64", "double", "int", "bool")
"""Names of dtypes, as they are imported or built in, that no half format hides behind."""

_CASTS = (
    ("ops", 'ops.cast({name}, "float32")'),
    ("keras", 'keras.ops.cast({name}, "float32")'),
    ("tf", "tf.cast({name}, tf.float32)"),
    ("jnp", "{name}.astype(jnp.float32)"),
    ("torch", "{name}.float()"),
)
"""How a cast is written, by a name that the script imports."""


def literals(line: Statement, finding: Finding) -> list[Edit]:
    """Numbers that float16 cannot hold."""
    edits: list[Edit] = []
    if finding.rule not in LITERAL_RULES:
        return edits
    for node in ast.walk(line.node):
        if isinstance(node, ast.Constant) and isinstance(node.value, float):
            if 0 < node.value < HALF.min_subnormal / 2:
                edits.append(line.replacing(node, SAFE_EPSILON))
            elif node.value > HALF.max_finite:
                edits.append(line.replacing(node, SAFE_BOUND))
    return edits


def layer(line: Statement, finding: Finding) -> list[Edit]:
    """The call that makes the layer gets a dtype."""
    made = finding.place.layer_class if finding.place else None
    call = next((c for c in calls(line.node) if made and name_of(c.func) == made), None)
    if call is None or any(keyword.arg == "dtype" for keyword in call.keywords):
        return []
    end = line.at(call)[1] - 1
    given = line.text[:end].rstrip()
    comma = "" if given.endswith(("(", ",")) else ", "
    space = " " if given.endswith(",") else ""
    return [(len(given), end, f'{comma}{space}dtype="float32"')]


def casts(line: Statement, _finding: Finding) -> list[Edit]:
    """What is cast to a half format, or to that of something else, is cast to float32."""
    edits = []
    torch = "torch" in line.imported
    for call in calls(line.node):
        of_torch = torch and name_of(call.func) in TORCH_CASTS
        if of_torch or name_of(call.func) in CAST_FUNCTIONS:
            edits += [
                line.replacing(given, "torch.float32" if of_torch else _float32(line, given))
                for given in _half_dtypes(line, call)
            ]
        elif torch and not call.args and name_of(call.func) in TORCH_METHODS:
            edits += _in_full(line, call.func)
    return edits


def operands(line: Statement, _finding: Finding | None = None) -> list[Edit]:
    """Every value that the statement reads is cast to float32 first.

    What is cast already was rounded earlier: then it is cast where it comes from instead.
    """
    cast = _cast(line)
    if cast is None or not isinstance(line.node, ast.Assign | ast.Return | ast.AugAssign):
        return []
    return list(dict.fromkeys(_casts(line, line.node, cast, frozenset())))


def arguments_in_half(line: Statement, method: str) -> list[Edit]:
    """What PyTorch's modules are handed is cast to the half format that their weights are kept in.

    Args:
        line: The statement.
        method: The method of a tensor that casts so.
    """
    handed = [
        argument
        for call in calls(line.node)
        if root(call.func) not in line.imported
        for argument in call.args
        if isinstance(argument, ast.Name)
    ]
    return [line.replacing(argument, f"{argument.id}.{method}()") for argument in handed]


def logarithms(line: Statement, finding: Finding) -> list[Edit]:
    """An epsilon that float16 holds is added to what a logarithm is taken of."""
    if finding.rule not in LOG_RULES:
        return []
    edits = []
    for call in calls(line.node):
        if name_of(call.func) == "log" and call.args:
            begin, end = line.at(call.args[0])
            inner = line.text[begin:end]
            simple = isinstance(call.args[0], _CLOSE)
            if SAFE_EPSILON not in inner:
                text = inner if simple else f"({inner})"
                edits.append((begin, end, f"{text} + {SAFE_EPSILON}"))
    return edits


def _cast(line: Statement) -> str | None:
    return next((form for name, form in _CASTS if name in line.imported), None)


def _casts(line: Statement, node: ast.stmt, cast: str, seen: frozenset[ast.stmt]) -> Iterator[Edit]:
    """Casts of what a statement reads, or of what those values come from."""
    value = getattr(node, "value", None)
    if value is None or node in seen:
        return
    inner = bound_within(value)
    for read in _values_read(value, line):
        if read is value and _unpacks(node):
            continue  # A sequence of values: a cast would make one of them.
        text = ast.unparse(read)
        if is_container(line.tree, text):
            continue
        if text in inner or not (isinstance(read, ast.Name) and line.binds(read.id)):
            if not (_is_cast(node, read) or is_number(line.tree, text)):
                yield line.replacing(read, cast.format(name=text))
            continue
        written = f"{text} = {cast.format(name=text)}"
        earlier = [made for made in line.earlier(text) if made.lineno < node.lineno]
        if earlier and _same(earlier[0], written):
            sources = [e for m in earlier[1:2] for e in _casts(line, m, cast, seen | {node})]
            if sources:
                yield line.without(earlier[0])
                yield from sources
        elif not _same(node, written):
            yield line.before(node, written)


def _unpacks(node: ast.stmt) -> bool:
    """Whether a statement takes its value apart."""
    given = node.targets if isinstance(node, ast.Assign) else []
    return any(isinstance(target, ast.Tuple | ast.List) for target in given)


def _half_dtypes(line: Statement, call: ast.Call) -> Iterator[ast.expr]:
    """What a cast is told that is, or may be, a half format."""
    named = [keyword.value for keyword in call.keywords if keyword.arg == "dtype"]
    for given, says in (*((a, "dtype") for a in call.args[-1:]), *((n, "") for n in named)):
        if _is_half(line, given) or _is_variable(given, says):
            yield given


def _in_full(line: Statement, method: ast.expr) -> list[Edit]:
    """`x.float()` for `x.half()`."""
    if not isinstance(method, ast.Attribute):
        return []
    end = line.at(method)[1]
    return [(end - len(method.attr), end, "float")]


def _is_variable(given: ast.expr, says: str) -> bool:
    """Whether an argument is a name whose dtype only running can tell, and says what it is."""
    return isinstance(given, ast.Name) and says in given.id and given.id not in _FULL


def _is_half(line: Statement, dtype: ast.expr) -> bool:
    """Whether an argument is a half format, or a dtype that only running can tell."""
    if is_half_format(dtype) or half_format(line.tree, ast.unparse(dtype)):
        return True
    return ast.unparse(dtype).endswith((".dtype", ".compute_dtype"))


def _float32(line: Statement, dtype: ast.expr) -> str:
    named = half_format(line.tree, ast.unparse(dtype)) or dtype
    module = ast.unparse(named).rpartition(".")[0]
    return f"{module}.float32" if name_of(named) in ("float16", "bfloat16") else '"float32"'


def _same(node: ast.stmt, text: str) -> bool:
    return ast.unparse(node) == ast.unparse(ast.parse(text))


def _is_cast(node: ast.stmt, read: ast.expr) -> bool:
    """Whether a value is handed to a cast to float32 as it is."""
    text = ast.unparse(read)
    written = ast.unparse(node)
    return any(form.format(name=text).replace('"', "'") in written for _, form in _CASTS)


def _values_read(node: ast.expr, line: Statement) -> Iterator[ast.expr]:
    """What may hold tensors: variables, attributes, results of layers; no functions, no options."""
    if isinstance(node, ast.Name | ast.Attribute):
        if root(node) not in line.imported and name_of(node) not in NO_VALUES:
            yield node
        return
    if is_entry(node):
        yield node  # One of many.
        return
    if isinstance(node, ast.Call) and _calls_a_model(node, line):
        yield node  # It casts what it is given to its own precision, so its result is cast.
        return
    for part in _parts(node, line.imported):
        yield from _values_read(part, line)


def _takes_dtype(call: ast.Call) -> bool:
    """Whether the last argument of a call without names is the dtype that it casts to."""
    name, count = name_of(call.func), len(call.args)
    return name in CAST_FUNCTIONS and count >= (1 if name in ("astype", "to") else 2)


def _calls_a_model(call: ast.Call, line: Statement) -> bool:
    """Whether a layer or a model is called: an object that was made by a class, and no loss."""
    if isinstance(call.func, ast.Name) and call.func.id == "self":
        return True
    called = ast.unparse(call.func)
    if called in {function.name for function in functions(line.tree)}:
        return False
    made = [
        node.value
        for node in ast.walk(line.tree)
        if isinstance(node, ast.Assign)
        and any(ast.unparse(target) == called for target in targets(node))
        and isinstance(node.value, ast.Call)
    ]
    makers = [ast.unparse(value.func) for value in made]
    return bool(makers) and all(
        (maker.rpartition(".")[2][:1].isupper())
        and "losses" not in maker.lower()
        and not maker.endswith(("Crossentropy", "Loss", "Error"))
        for maker in makers
    )


def _parts(node: ast.expr, imported: frozenset[str]) -> Iterator[ast.expr]:
    """What an expression computes with."""
    if isinstance(node, ast.Call):
        method = node.func.value if isinstance(node.func, ast.Attribute) else None
        own = method is not None and root(method) not in {"self", *imported}
        if method is not None and own:
            yield method
        # The last argument of a cast is no value, and neither is a device.
        if not (own and name_of(node.func) in TORCH_CASTS):
            yield from node.args[: -1 if _takes_dtype(node) else None]
    elif isinstance(node, ast.Subscript):
        yield node.value
    elif isinstance(node, ast.GeneratorExp | ast.ListComp):
        yield node.elt
    elif isinstance(node, ast.Lambda):
        yield node.body
    elif isinstance(node, ast.BinOp | ast.UnaryOp | ast.Tuple | ast.List):
        yield from (child for child in ast.iter_child_nodes(node) if isinstance(child, ast.expr))
