"""Who calls whom, read from the source: each function or class, and the dotted names that it uses.

A method counts as its class, a function inside another as the outer one. `self.x` of a base class
is found because a class uses its bases.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ROOTS = {"finetune": ROOT, "tenants": ROOT, "privatune": ROOT / "platform"}

Graph = dict[str, set[str]]


def read_graph() -> Graph:
    graph: Graph = {}
    for package, root in ROOTS.items():
        for path in sorted((root / package).rglob("*.py")):
            name = ".".join(path.relative_to(root).with_suffix("").parts)
            graph |= _of_module(name.removesuffix(".__init__"), ast.parse(path.read_text()))
    return graph


def _of_module(module: str, tree: ast.Module) -> Graph:
    names = dict(_imports(module, tree))
    owned = [
        node
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
    ]
    names |= {node.name: f"{module}.{node.name}" for node in owned}
    graph = {f"{module}.{node.name}": set(_used(node, names)) for node in owned}
    rest = [node for node in tree.body if node not in owned]
    graph[module] = {use for node in rest for use in _used(node, names)}
    return graph


def _imports(module: str, tree: ast.Module) -> Iterator[tuple[str, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                yield alias.asname or alias.name, f"{node.module}.{alias.name}"
        elif isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.asname or alias.name.split(".")[0], alias.asname or alias.name


def _used(node: ast.AST, names: dict[str, str]) -> Iterator[str]:
    """Dotted names: `artifacts.open_bundle` by its module, and `?.name` for any other attribute."""
    for part in ast.walk(node):
        if isinstance(part, ast.Name) and part.id in names:
            yield names[part.id]
        elif isinstance(part, ast.Attribute):
            dotted = ast.unparse(part)
            first, _, rest = dotted.partition(".")
            yield f"{names[first]}.{rest}" if first in names else f"?.{part.attr}"


def users_of(graph: Graph, *wanted: str) -> set[str]:
    """Who uses one of these names itself."""
    return {name for name, uses in graph.items() if uses & set(wanted) and name not in wanted}


def reaching(graph: Graph, *wanted: str) -> set[str]:
    """Who uses one of these names, itself or by way of others."""
    found = set(wanted)
    while more := {name for name, uses in graph.items() if uses & found} - found:
        found |= more
    return found - set(wanted)
