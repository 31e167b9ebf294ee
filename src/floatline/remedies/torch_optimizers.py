"""The optimizers of PyTorch's that a function can step, and the statements that make them."""

from __future__ import annotations

import ast

from floatline.remedies.statement import (
    Function,
    Scope,
    calls,
    first_argument,
    functions,
    owner_of,
    targets,
)


def method_of(call: ast.Call) -> str | None:
    """The method that is called."""
    return call.func.attr if isinstance(call.func, ast.Attribute) else None


def owner_name(call: ast.Call) -> str:
    """What a method is called of: `self.scaler` in `self.scaler.step(x)`."""
    return ast.unparse(call.func).rpartition(".")[0]


def optimizers_in_sight(tree: ast.Module, function: Scope) -> dict[str, ast.stmt]:
    """Those with a name of their own that is made where the function sees it."""
    made = _optimizers(tree, _imports(tree))
    return {name: node for name, node in made.items() if _is_seen(tree, function, node, name)}


def optimizers_of_object(tree: ast.Module, function: Scope) -> dict[str, ast.stmt]:
    """Those that a method of the same class keeps as an attribute of its object."""
    owner = owner_of(tree, function)
    own = first_argument(function)
    if owner is None or own is None:
        return {}
    made = _optimizers(owner, _imports(tree))
    methods = [m for m in owner.body if isinstance(m, Function) and first_argument(m) == own]
    seen = [node for method in methods for node in method.body]
    return {name: node for name, node in made.items() if name == _kept(name, own) and node in seen}


def optimizers_given(tree: ast.Module, function: Scope) -> dict[str, ast.stmt]:
    """Those that a function is handed: a scaler for them is made where its file begins.

    An argument is taken for one whose `zero_grad` and `step` are called.
    """
    imports = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    if isinstance(function, ast.Module) or not imports:
        return {}
    given = {node.arg for node in ast.walk(function.args) if isinstance(node, ast.arg)}
    cleared = {owner_name(call) for call in calls(function) if method_of(call) == "zero_grad"}
    return dict.fromkeys(given & cleared, imports[-1])


def _kept(name: str, own: str) -> str:
    """An attribute of an object itself, and not of what it holds."""
    return f"{own}.{name.rpartition('.')[2]}"


def _optimizers(scope: ast.AST, origins: dict[str, str]) -> dict[str, ast.stmt]:
    """Names that are assigned once, to an optimizer of `torch.optim`, by what assigns them."""
    assigned: dict[str, list[ast.Assign]] = {}
    for node in ast.walk(scope):
        for target in targets(node) if isinstance(node, ast.Assign) else []:
            assigned.setdefault(ast.unparse(target), []).append(node)  # type: ignore[arg-type]  # (an Assign, as just seen)
    once = {name: nodes[0] for name, nodes in assigned.items() if len(nodes) == 1}
    return {name: node for name, node in once.items() if _makes_optimizer(node.value, origins)}


def _makes_optimizer(value: ast.expr, origins: dict[str, str]) -> bool:
    if not isinstance(value, ast.Call):
        return False
    first, dot, rest = ast.unparse(value.func).partition(".")
    path = f"{origins.get(first, first)}{dot}{rest}"
    return path.startswith("torch.optim.") and "lr_scheduler" not in path


def _imports(tree: ast.Module) -> dict[str, str]:
    """What each imported name stands for, in full."""
    found: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {a.asname: a.name for a in node.names if a.asname}
        elif isinstance(node, ast.ImportFrom):
            found |= {a.asname or a.name: f"{node.module}.{a.name}" for a in node.names}
    return found


def _is_seen(tree: ast.Module, function: Scope, made: ast.stmt, name: str) -> bool:
    """Whether what stands beside a statement is seen where the function steps the optimizer."""
    given = [] if isinstance(function, ast.Module) else list(ast.walk(function.args))
    if not name.isidentifier() or name in {a.arg for a in given if isinstance(a, ast.arg)}:
        return False
    holders = [scope for scope in functions(tree) if made in ast.walk(scope)]
    return all(function in ast.walk(scope) for scope in holders)
